"""The way of finished pictures out of a process: shut while the storage refuses them."""

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

#: Seconds between two looks whether the storage takes pictures again; the last one is kept to.
PAUSES = (2.5, 5.0, 10.0, 15.0)


class Outlet:
    """Whether a storage can be used at all: where something fails, a trial tells whether that alone is at fault.

    While it is shut, nothing should be begun that ends in the storage. It opens by itself. opened: told of that.
    """

    def __init__(
        self, place: Storage, opened: Callable[[], None] = lambda: None, pauses: Sequence[float] = PAUSES
    ) -> None:
        self._place = place
        self._opened = opened
        self._pauses = pauses
        self._trouble: StorageUnavailable | None = None
        self._outage = Outage(
            "paused: the storage of pictures can't be used", "the storage of pictures can be used; work goes on"
        )
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def shut(self) -> str:
        """Why it is shut, for the operator; empty while it is open."""
        return self._trouble.why if self._trouble else ""

    def when_opened(self, call: Callable[[], None]) -> None:
        """Call that each time when it opens."""
        self._opened = call

    @contextmanager
    def used(self) -> Iterator[None]:
        """Something is to be done with the storage; raises StorageUnavailable, at once while it is shut.

        It may shut by that, after some seconds: it is then before the error arrives.
        """
        if trouble := self._trouble:
            raise StorageUnavailable.because(trouble.why) from trouble
        try:
            yield
        except StorageUnavailable:
            self._doubt()
            raise

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _doubt(self) -> None:
        with self._lock:
            if not self._trouble and not self._works():
                threading.Thread(target=self._watch, name="outlet", daemon=True).start()

    def _watch(self) -> None:
        for pause in chain(self._pauses, repeat(self._pauses[-1])):
            if self._closed.wait(pause):
                return
            try:
                if self._works():
                    self._opened()
                    return
            except Exception as error:  # of nobody's foresight: it is looked at again, and never left shut
                log.exception("the storage of pictures could not be tried", error=type(error).__name__)

    def _works(self) -> bool:
        try:
            self._place.prove()
        except StorageUnavailable as error:
            self._trouble = error
            self._outage.failed(error.why)
            return False
        self._trouble = None
        self._outage.succeeded()
        return True
