"""A read of the database that serves for a moment: 1,000 polls in a second cost no more than two of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

from tintype.store.db.database import Database

#: Seconds for which what was found serves: what other processes change is seen after them.
MAX_AGE = 0.5

T = TypeVar("T")


class _Found(NamedTuple, Generic[T]):
    """What a read found: when, and after which of this process's changes."""

    what: T
    at: float
    change: object


class Recent(Generic[T]):
    """A read of the database that serves for MAX_AGE, unless this process changes something; for any thread.

    lasts: whether what was found serves although this process has changed something since.
    """

    def __init__(self, db: Database, read: Callable[[Connection], T], lasts: Callable[[T], bool] = lambda _: False):
        self._db = db
        self._read = read
        self._lasts = lasts
        self._lock = Lock()
        self._found: _Found[T] | None = None

    def read(self, *, again: bool = False) -> T:
        """What was found lately, or else now. again: now in any case. Raises StoreUnavailable."""
        found = self._found
        if not again and found is not None and self._serves(found):
            return found.what
        # One thread reads, and others use what it finds; a database that doesn't answer doesn't have them queue.
        mine = self._lock.acquire(timeout=MAX_AGE)
        try:
            if self._found is found or self._found is None or not self._serves(self._found):
                change, at = self._db.last_change, time.monotonic()
                with self._db.read() as view:
                    self._found = _Found(self._read(view), at, change)
            return self._found.what
        finally:
            if mine:
                self._lock.release()

    def _serves(self, found: _Found[T]) -> bool:
        if time.monotonic() - found.at > MAX_AGE:
            return False
        return found.change is self._db.last_change or self._lasts(found.what)
