"""Cancellation of work that blocks in a thread: the work says what ends it, whoever gives it up says when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager


class Cancellation:
    """Set once, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        #: What ends the blocking calls under way.
        self._interrupts: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """End what is under way, and whatever begins later."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            for interrupt in self._interrupts:
                interrupt()

    def check(self) -> None:
        """Raise CancelledError if it is cancelled."""
        if self._cancelled:
            raise CancelledError

    @contextmanager
    def interrupting(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """Have `interrupt` called, at most once, when cancelled inside the block; raises CancelledError after it.

        `interrupt` must not block or raise: shutting a socket, killing a process.
        """
        with self._lock:
            self.check()
            self._interrupts.append(interrupt)
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.remove(interrupt)
            self.check()
