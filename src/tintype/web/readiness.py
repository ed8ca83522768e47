"""Readiness: whether this process reaches its database and its storage, and whether a worker takes requests.

Calls need no key and have no limit: each part is probed by one thread, and the result is cached for a short time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from tintype.errors import StorageUnavailable, StoreUnavailable
from tintype.media.storage import Storage
from tintype.store.ops.processes import WorkerRow
from tintype.store.store import Store
from tintype.web.shutdown import Shutdown

T = TypeVar("T")

#: Seconds that a call waits for a probe: Kubernetes' own time out after one.
PROBE_TIMEOUT = 0.7
#: TTL in seconds of a probe: of the database, of the storage, which may write, and of one that found something
#: missing, for whose return callers wait.
TTL, STORAGE_TTL, MISSING_TTL = 1.0, 3.0, 0.2
#: Seconds for which a result is valid longer while the next probe runs: on a busy machine, a late one is no failure.
LATE = 3.0
#: Timeout in seconds of the probed storage.
STORAGE_TIMEOUT = 2.0


class Probe(Generic[T]):
    """Caches the result of a check, for all callers. ttl: its seconds, by the result.

    For the event loop's own thread.
    """

    def __init__(self, ttl: Callable[[T], float]) -> None:
        self._ttl = ttl
        self._thread = CapacityLimiter(1)
        self._running: asyncio.Task[None] | None = None
        self._found: T | None = None
        self._expires = -math.inf

    async def result(self, check: Callable[[], T]) -> T | None:
        """The latest result; None where the check failed, or a new one takes too long."""
        if self._running is None and time.monotonic() >= self._expires:
            self._running = asyncio.create_task(self._renew(check))
        if (running := self._running) is not None:
            await asyncio.wait({running}, timeout=PROBE_TIMEOUT)
            if not running.done() and time.monotonic() >= self._expires + LATE:
                return None
        return self._found

    async def _renew(self, check: Callable[[], T]) -> None:
        found: T | None = None
        try:
            found = await run_sync(check, limiter=self._thread)
        except (StoreUnavailable, StorageUnavailable):
            pass  # that is the result; calls that meet it log it
        finally:
            self._found, self._running = found, None
            self._expires = time.monotonic() + (MISSING_TTL if found is None else self._ttl(found))


@dataclass(frozen=True)
class DatabaseState:
    """What a probe of the database found."""

    paused: bool
    worker: bool
    #: Whether the last regular write succeeded.
    writable: bool


@dataclass(frozen=True)
class ReadinessState:
    """What is ready; None for what is unknown while the database is away."""

    worker: bool | None
    database: bool
    storage: bool
    stopping: bool
    paused: bool | None


class Readiness:
    """The readiness of one web process."""

    def __init__(self, store: Store, storage: Storage, shutdown: Shutdown, heartbeat: float) -> None:
        """heartbeat: seconds between two of a worker."""
        self._store = store
        self._alive_within = max(5.0, 10 * heartbeat)
        self._storage = storage
        self._shutdown = shutdown
        self._writable = True
        self._database: Probe[DatabaseState] = Probe(lambda found: TTL if found.worker else MISSING_TTL)
        self._storage_probe: Probe[bool] = Probe(lambda _: STORAGE_TTL)

    async def state(self) -> ReadinessState:
        """Takes at most PROBE_TIMEOUT."""
        found, storage = await asyncio.gather(
            self._database.result(self._check_database),
            self._storage_probe.result(self._check_storage),
        )
        return ReadinessState(
            # Heartbeats are written: where nothing can be, it is unknown.
            worker=found.worker if found and found.writable else None,
            database=found is not None and found.writable,
            storage=storage is not None,
            stopping=self._shutdown.draining,
            paused=found.paused if found else None,
        )

    def workers(self) -> list[WorkerRow]:
        """The workers that are alive and take requests."""
        return [worker for worker in self._alive() if worker.takes]

    def paused_workers(self) -> list[WorkerRow]:
        """Those that are alive, and would take requests if their storage could be used."""
        return [worker for worker in self._alive() if worker.paused and worker.drain_at is None]

    def keep_samples(self, *, force: bool = False) -> None:
        """Write the next sample of the time series, and note whether it could be written."""
        try:
            self._store.ops.time_series.measure(force=force)
        except StoreUnavailable:
            self._writable = False
            raise
        self._writable = True

    def _alive(self) -> list[WorkerRow]:
        return self._store.ops.workers.alive(self._alive_within)

    def _check_database(self) -> DatabaseState:
        # Before the next sample is due: a call may just have found the database unwritable, and callers wait for it.
        if not self._writable or self._store.db.read_only:
            with suppress(StoreUnavailable):
                self.keep_samples(force=True)
        paused = self._store.queue.paused_since() is not None
        return DatabaseState(paused=paused, worker=bool(self.workers()), writable=self._writable)

    def _check_storage(self) -> bool:
        self._storage.probe()
        return True
