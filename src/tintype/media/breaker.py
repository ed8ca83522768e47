"""The storage's circuit breaker: while the storage fails, no work begins whose results it would have to store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, repeat

import structlog

from tintype.errors import StorageUnavailable
from tintype.media.storage import Storage
from tintype.telemetry.logs import Outage

log = structlog.get_logger()

#: Seconds between two tests whether the storage works again; the last one repeats.
PAUSES = (2.5, 5.0, 10.0, 15.0)


class StorageBreaker:
    """Opens when a call and the storage's own test fail; a call that fails alone doesn't open it. Closes by itself.

    on_recovery: called each time it closes.
    """

    def __init__(
        self, storage: Storage, on_recovery: Callable[[], None] = lambda: None, pauses: Sequence[float] = PAUSES
    ) -> None:
        self.on_recovery = on_recovery
        self._storage = storage
        self._pauses = pauses
        self._error: StorageUnavailable | None = None
        self._outage = Outage(
            "paused: the storage of pictures can't be used", "the storage of pictures can be used; work goes on"
        )
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def open(self) -> str:
        """Why it is open, for the operator; empty while it is closed, so that calls go through."""
        return self._error.why if self._error else ""

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Around calls to the storage; raises StorageUnavailable, immediately while it is open.

        If an error opens it, which takes some seconds, it is open before that error is raised.
        """
        if error := self._error:
            raise StorageUnavailable.because(error.why) from error
        try:
            yield
        except StorageUnavailable:
            self._test_after_failure()
            raise

    def stop(self) -> None:
        """Stop testing."""
        self._stopped.set()

    def _test_after_failure(self) -> None:
        with self._lock:
            if not self._error and not self._works():
                threading.Thread(target=self._test_until_it_works, name="breaker", daemon=True).start()

    def _test_until_it_works(self) -> None:
        for pause in chain(self._pauses, repeat(self._pauses[-1])):
            if self._stopped.wait(pause):
                return
            try:
                if self._works():
                    self.on_recovery()
                    return
            except Exception as error:  # an unexpected one must not leave it open for good
                log.exception("the storage of pictures could not be tried", error=type(error).__name__)

    def _works(self) -> bool:
        try:
            self._storage.self_test()
        except StorageUnavailable as error:
            self._error = error
            self._outage.failed(error.why)
            return False
        self._error = None
        self._outage.succeeded()
        return True
