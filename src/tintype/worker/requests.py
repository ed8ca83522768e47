"""The requests that a worker holds: when it claims them, which of them start, and how each of them leaves."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import structlog
import torch

from tintype.diffusion.memory.component import MemoryEstimate, out_of_memory
from tintype.engine import Engine
from tintype.errors import NoRoom, StoreUnavailable
from tintype.media.storage import StorageBreaker
from tintype.running import Phase, fail
from tintype.store.db.records import LeaseStatus
from tintype.store.queue.queue import Leases
from tintype.worker.plan import Running

log = structlog.get_logger()

#: Seconds for which smaller requests pass one that has no room; after that none starts before it.
OVERDUE_AFTER = 5.0
#: Seconds for which a worker that handed such a request back claims nothing: an idle worker is to have it.
GIVE_WAY = 2.0
#: Seconds between questions whether another worker is idle.
ASK_AGAIN = 1.0


class ClaimTimer:
    """When a worker polls the queue: when it is woken, and otherwise every `poll` seconds.

    warm_wait: seconds after which it polls again, for requests that were left to another worker until then.
    """

    def __init__(self, poll: float, warm_wait: float) -> None:
        self._poll = poll
        self._warm_wait = warm_wait
        #: Also set when something else arrives that ends a rest.
        self.arrived = threading.Event()
        self._polled = self._woken = 0.0

    def wake(self) -> None:
        """Poll immediately: there may be a request, or room for one. From any thread."""
        self._woken = time.monotonic()
        self.arrived.set()

    def polls(self) -> None:
        """It polls now."""
        self._polled = time.monotonic()

    def until_next(self) -> float:
        """Seconds until the next poll."""
        moments = (self._woken, self._woken + self._warm_wait, self._polled + self._poll)
        return max(0.0, min(moment for moment in moments if moment > self._polled) - time.monotonic())

    def rest(self, *, claiming: bool) -> None:
        """Sleep until something arrives, or it is time to poll."""
        self.arrived.wait(self.until_next() if claiming else self._poll)
        self.arrived.clear()


class InHand(NamedTuple):
    """What of a request decides how many more are claimed."""

    account_id: str
    images: int
    #: Whether it shares the worker with nothing.
    alone: bool
    #: Whether its input image is being fetched.
    fetching: bool

    @classmethod
    def of(cls, one: Running) -> InHand:
        """A running request."""
        return cls(one.request.account_id, one.params.count, one.alone, not one.fetched.done())


class Admission:
    """Counts the images of a worker's requests, and the memory that the started ones still need."""

    def __init__(self, max_images: int, max_rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        """max_images: at the same time, or one request's more. max_rows: of a forward pass."""
        self._max_images = max_images
        #: Concurrent images of one account, or one request's more: a quarter is left to other accounts, but an account
        #: that is alone here fills its forward passes.
        self._share = max(max_images * 3 // 4, max_rows)
        self._clock = clock
        self._granted: dict[str, MemoryEstimate] = {}
        #: The request that has waited longest for room, and since when; no other is noted meanwhile.
        self._first: dict[str, float] = {}
        #: Until when other workers claim.
        self._gives_way = -math.inf

    def can_claim(self, in_hand: Collection[InHand]) -> bool:
        """Whether one more request may be claimed; never next to a retry, nor while one is overdue."""
        if self.closed or any(one.alone for one in in_hand):
            return False
        return sum(min(images, self._share) for images in _images(in_hand).values()) < self._max_images

    def full_accounts(self, in_hand: Collection[InHand]) -> list[str]:
        """Accounts that have reached their share, or with half of `max_images` whose input images are being fetched."""
        fetching = _images(one for one in in_hand if one.fetching)
        all_images = _images(in_hand).items()
        return [one for one, images in all_images if images >= self._share or fetching[one] >= self._max_images / 2]

    @property
    def overdue(self) -> str | None:
        """The request that has waited so long that no other may start before it."""
        return next((id for id, since in self._first.items() if self._clock() - since > OVERDUE_AFTER), None)

    @property
    def closed(self) -> bool:
        """Whether nothing more is to be claimed: it would only wait here, or is for another worker."""
        return self.overdue is not None or self._clock() < self._gives_way

    def may_start(self, id: str, estimate: MemoryEstimate) -> bool:
        """Whether the request's images have room now, which is reserved until it leaves.

        Raises NoRoom if they would have none on an idle worker.
        """
        if not estimate.fits():
            raise estimate.error()
        if self.overdue not in (None, id):
            return False
        if not estimate.fits(self._granted.values()):
            self._first = self._first or {id: self._clock()}
            return False
        self._granted[id] = estimate
        self._first.pop(id, None)
        return True

    def leave(self, id: str) -> None:
        """The request needs no memory any more; it need not have started."""
        self._granted.pop(id, None)
        self._first.pop(id, None)

    def give_way(self) -> None:
        """Claim nothing for GIVE_WAY seconds."""
        self._gives_way = self._clock() + GIVE_WAY


def _images(in_hand: Iterable[InHand]) -> Counter[str]:
    """Images by account."""
    images: Counter[str] = Counter()
    for one in in_hand:
        images[one.account_id] += one.images
    return images


class RunningRequests:
    """The requests that a worker has claimed, in the order of their claims; only here they are removed.

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
        #: By id: the loop adds what it claims; other threads iterate over a copy.
        self.running: dict[str, Running] = {}
        #: When it was last asked whether another worker is idle.
        self._asked = 0.0

    def drop(self) -> None:
        """Drop what a heartbeat found cancelled or lost to another worker; files of a dropped upload expire."""
        leases = [(one, one.lease) for one in self.running.values()]
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
        held = [one for one in self.running.values() if uploading or one.phase is not Phase.UPLOADING]
        self._let_go(held, self._leases.hand_all_back)

    def make_way(self) -> None:
        """Hand back the request that has waited too long for room, uncounted, if another worker could start it now.

        Once at most: that puts it behind others, and the next worker may have no room for it either.
        """
        one = self.running.get(self._admission.overdue or "")
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
        del self.running[one.request.id]
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
