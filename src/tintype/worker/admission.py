"""When a worker claims requests, whose, and which of them start: a share for each account, room in memory for all."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from tintype.diffusion.memory.component import MemoryEstimate
from tintype.worker.request import Running

#: Seconds for which smaller requests pass one that has no room; after that none starts before it.
OVERDUE_AFTER = 5.0
#: Seconds for which a worker that handed such a request back claims nothing: an idle worker is to have it.
GIVE_WAY = 2.0


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
        #: The request that has waited longest for room, and since when.
        self._first: tuple[str, float] | None = None
        #: Until when other workers claim.
        self._gives_way = -math.inf

    def can_claim(self, running: Collection[Running]) -> bool:
        """Whether one more request may be claimed; never next to a retry, nor while one is overdue."""
        if self.closed or any(one.alone for one in running):
            return False
        return sum(min(images, self._share) for images in _images(running).values()) < self._max_images

    def full_accounts(self, running: Collection[Running]) -> list[str]:
        """Accounts that have reached their share, or with half of `max_images` whose input images are being fetched."""
        fetching = _images(one for one in running if not one.fetched.done())
        running_images = _images(running).items()
        return [one for one, images in running_images if images >= self._share or fetching[one] >= self._max_images / 2]

    @property
    def overdue(self) -> str | None:
        """The request that has waited so long that no other may start before it."""
        if self._first is None or self._clock() - self._first[1] <= OVERDUE_AFTER:
            return None
        return self._first[0]

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
            self._first = self._first or (id, self._clock())
            return False
        self._granted[id] = estimate
        self._forget(id)
        return True

    def leave(self, id: str) -> None:
        """The request needs no memory any more; it need not have started."""
        self._granted.pop(id, None)
        self._forget(id)

    def give_way(self) -> None:
        """Claim nothing for GIVE_WAY seconds."""
        self._gives_way = self._clock() + GIVE_WAY

    def _forget(self, id: str) -> None:
        if self._first is not None and self._first[0] == id:
            self._first = None


def _images(running: Iterable[Running]) -> Counter[str]:
    """Images by account."""
    images: Counter[str] = Counter()
    for one in running:
        images[one.request.account_id] += one.params.count
    return images
