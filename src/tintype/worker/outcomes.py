"""How requests leave a worker: completed, failed, cancelled, lost, handed back or to be retried."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import structlog
import torch

from tintype.diffusion.memory.component import out_of_memory
from tintype.engine import Engine
from tintype.errors import NoRoom, StoreUnavailable
from tintype.media.storage import StorageBreaker
from tintype.running import Phase, fail
from tintype.store.db.records import LeaseStatus
from tintype.store.queue.queue import Leases
from tintype.worker.admission import Admission, ClaimTimer
from tintype.worker.request import Running

log = structlog.get_logger()

#: Seconds between questions whether another worker is idle.
ASK_AGAIN = 1.0


class RunningRequests:
    """The requests that a worker has claimed, in the order of their claims; only here they are added and removed.

    What becomes of them is written to the queue. Where the store is away, nothing is lost: leases expire, and other
    workers claim the requests.
    """

    def __init__(
        self, leases: Leases, engine: Engine, admission: Admission, breaker: StorageBreaker, timer: ClaimTimer
    ) -> None:
        """breaker: of the outputs' storage. timer: is woken whenever a request has left."""
        self._leases = leases
        self._engine = engine
        self._admission = admission
        self._breaker = breaker
        self._timer = timer
        self._running: dict[str, Running] = {}
        #: By id, for readers on any thread.
        self.running: Mapping[str, Running] = MappingProxyType(self._running)
        #: When it was last asked whether another worker is idle.
        self._asked = 0.0

    def add(self, one: Running) -> None:
        """It was claimed."""
        self._running[one.request.id] = one

    def drop(self) -> None:
        """Drop what a heartbeat found cancelled or lost to another worker; files of a dropped upload expire."""
        leases = [(one, one.lease) for one in self._running.values()]
        for one, lease in leases:
            if lease is LeaseStatus.LOST:
                self.forget(one)
        self._let_go([one for one, lease in leases if lease is LeaseStatus.CANCEL], self._leases.end_cancelled)

    def drop_unwanted(self, running: Sequence[Running]) -> None:
        """Drop those of them that were cancelled since the last heartbeat: work is about to be spent on them."""
        if not running:
            return
        try:
            unwanted = self._leases.cancelled([one.request.id for one in running])
        except StoreUnavailable:
            return
        self._let_go([one for one in running if one.request.id in unwanted], self._leases.end_cancelled)

    def hand_back(self, *, uploading: bool = False) -> None:
        """Return running requests to the queue, uncounted.

        uploading: also those that upload; a result that arrives after that is of a lost attempt.
        """
        held = [one for one in self._running.values() if uploading or one.phase is not Phase.UPLOADING]
        self._let_go(held, self._leases.hand_all_back)

    def make_way(self) -> None:
        """Hand back the request that has waited too long for room, uncounted, if another worker could start it now.

        Once at most: that puts it behind others, and the next worker may have no room for it either.
        """
        one = self._running.get(self._admission.overdue or "")
        if one is None or one.request.lease.hand_backs or time.monotonic() < self._asked + ASK_AGAIN:
            return
        self._asked = time.monotonic()
        try:
            if not self._leases.idle_elsewhere(one.request.lease.worker or "", one.plan.estimate.peak):
                return
        except StoreUnavailable:
            return
        log.info("no room; handed back for a worker that is idle", request=one.request.id)
        self._admission.give_way()
        self._let_go([one], self._leases.hand_all_back)

    def fail(self, one: Running, error: BaseException) -> None:
        """FAILED for a reason that a retry won't change; else to be retried, alone."""
        self.forget(one)
        if isinstance(error, torch.AcceleratorError):
            # Nothing runs on this device until the process is a new one; it ends as if it had been killed.
            raise error
        if one.alone and out_of_memory(error):
            error = NoRoom()  # even one row at a time, with the device to itself
        self._write([one], partial(fail, self._leases, one, error, storage_shut=bool(self._breaker.open)))

    def forget(self, one: Running) -> None:
        """Remove it, whatever becomes of it."""
        del self._running[one.request.id]
        one.end()
        self.withdraw(one)
        self._timer.wake()

    def withdraw(self, one: Running) -> None:
        """Out of the engine, and out of memory."""
        self._admission.leave(one.request.id)
        for image in one.images:
            if image in self._engine.live:
                self._engine.drop(image)

    def _let_go(self, running: Sequence[Running], write: Callable[[Sequence[tuple[str, int]]], object]) -> None:
        """Several, for one reason, in one transaction."""
        for one in running:
            self.forget(one)
        if running:
            self._write(running, partial(write, [one.held for one in running]))

    def _write(self, running: Sequence[Running], write: Callable[[], object]) -> None:
        try:
            write()
        except StoreUnavailable:
            for one in running:
                log.warning("what became of it can't be written; its lease runs out", request=one.request.id)
