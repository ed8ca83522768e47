"""Whether this process reaches its database and its storage, and whether anybody draws: asked by who routes calls.

Anybody may ask, as often as they like: each part is looked at now and then, by one thread, for all who ask meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from tintype.errors import StorageUnavailable, StoreUnavailable
from tintype.media.storage import Storage
from tintype.store.store import Store
from tintype.web.shutdown import Shutdown

T = TypeVar("T")

#: Seconds that whoever asks waits for a look: Kubernetes' probes give up after one.
PATIENCE = 0.7
#: Seconds for which a look counts: at the database, at the storage, which may have to write, and one that found
#: something missing, since somebody waits for it.
FRESH, STORAGE_FRESH, MISSING_FRESH = 1.0, 3.0, 0.2
#: Seconds more for which a look counts while the next is under way: a busy machine is no reason to send calls away.
LATE = 3.0
#: Seconds that a storage is tried for when it is looked at.
TRIAL = 2.0


class Probe(Generic[T]):
    """Looks at something now and then, however many ask: for how long a look counts, `fresh` says of what it found.

    For the event loop's own thread.
    """

    def __init__(self, fresh: Callable[[T], float]) -> None:
        self._fresh = fresh
        self._thread = CapacityLimiter(1)
        self._looking: asyncio.Task[None] | None = None
        self._found: T | None = None
        self._until = -math.inf

    async def found(self, look: Callable[[], T]) -> T | None:
        """What the latest look found; None where that failed, or the next takes long."""
        if self._looking is None and time.monotonic() >= self._until:
            self._looking = asyncio.create_task(self._renew(look))
        if (looking := self._looking) is not None:
            await asyncio.wait({looking}, timeout=PATIENCE)
            if not looking.done() and time.monotonic() >= self._until + LATE:
                return None
        return self._found

    async def _renew(self, look: Callable[[], T]) -> None:
        found: T | None = None
        try:
            found = await run_sync(look, limiter=self._thread)
        except (StoreUnavailable, StorageUnavailable):
            pass  # which is what was to be found out; whoever meets it at work logs it
        finally:
            self._found, self._looking = found, None
            self._until = time.monotonic() + (MISSING_FRESH if found is None else self._fresh(found))


@dataclass(frozen=True)
class Seen:
    """What the database says."""

    paused: bool
    worker: bool
    #: Whether what is written regularly anyway could be written the last time.
    writable: bool


@dataclass(frozen=True)
class State:
    """How everything stands; what can't be known while the database is away is None."""

    worker: bool | None
    database: bool
    storage: bool
    stopping: bool
    paused: bool | None


class Readiness:
    """One web process's."""

    def __init__(self, store: Store, storage: Storage, shutdown: Shutdown) -> None:
        self._store = store
        self._storage = storage
        self._shutdown = shutdown
        self._writable = True
        self._of_database: Probe[Seen] = Probe(lambda seen: FRESH if seen.worker else MISSING_FRESH)
        self._of_storage: Probe[bool] = Probe(lambda _: STORAGE_FRESH)

    async def state(self, has_worker: Callable[[], bool]) -> State:
        """How everything stands; takes PATIENCE at most. has_worker: whether any worker takes requests."""
        seen, storage = await asyncio.gather(
            self._of_database.found(partial(self._look_at_database, has_worker)),
            self._of_storage.found(self._look_at_storage),
        )
        return State(
            # Signs of life are written: where nothing can be, nobody knows.
            worker=seen.worker if seen and seen.writable else None,
            database=seen is not None and seen.writable,
            storage=storage is not None,
            stopping=self._shutdown.draining,
            paused=seen.paused if seen else None,
        )

    def keep_samples(self, *, anew: bool = False) -> None:
        """Write down how the server does, as it is done every few seconds, and note whether it could be written."""
        try:
            self._store.ops.time_series.measure(force=anew)
        except StoreUnavailable:
            self._writable = False
            raise
        self._writable = True

    def _look_at_database(self, has_worker: Callable[[], bool]) -> Seen:
        # Not only at its time: a call may have found just now that nothing can be written, and callers wait for word
        # that all is well again.
        if not self._writable or self._store.db.read_only:
            with suppress(StoreUnavailable):
                self.keep_samples(anew=True)
        paused = self._store.queue.paused_since() is not None
        return Seen(paused=paused, worker=has_worker(), writable=self._writable)

    def _look_at_storage(self) -> bool:
        self._storage.probe()
        return True
