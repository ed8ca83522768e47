"""How many workers there should be: a pure rule over the work there is, with no clock and no database of its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil

from tintype.store.queue.eta import Demand


@dataclass(frozen=True)
class Bounds:
    """An operator's wishes; settings.py has the reasons."""

    least: int
    most: int
    #: Seconds after which all the work there is should be done.
    wait: float
    #: Seconds for which fewer must have been enough before some are let go.
    cooldown: float


def needed(demand: Demand, bounds: Bounds) -> int:
    """Workers that the work at this moment needs: its seconds over the wanted wait, and one for any work at all.

    While the queue is paused what waits doesn't count, as nobody may begin it.
    """
    seconds = demand.running + (0 if demand.paused else demand.waiting)
    requests = demand.busy + (0 if demand.paused else demand.queued)
    return min(max(ceil(seconds / bounds.wait), min(1, requests), bounds.least), bounds.most)


class Cooldown:
    """The most that was needed at any moment of the last `seconds`: more at once, fewer only after all of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: Moments and what was needed, each less than the one before it: what a later, larger one covers is gone.
        self._lately: deque[tuple[float, int]] = deque()

    def wanted(self, moment: float, needed: int) -> int:
        """Workers wanted at a moment, in seconds of a clock that never goes back, at which so many are needed."""
        while self._lately and self._lately[-1][1] <= needed:
            self._lately.pop()
        self._lately.append((moment, needed))
        while self._lately[0][0] < moment - self._seconds:
            self._lately.popleft()
        return self._lately[0][1]
