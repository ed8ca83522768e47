"""Which task may begin: one whose pictures have room in memory, in the order of the claims, within reason."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from tintype.diffusion.memory.estimate import MemoryEstimate

#: Seconds that a task without room lets smaller ones pass it: then everybody waits until it has begun.
PATIENCE = 5.0
#: Seconds in which a worker that gave such a task back claims nothing: it is for a worker that is idle.
GIVING_WAY = 2.0


class Admission:
    """Knows what the tasks under way still need, and lets others join them while there is room for all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._granted: dict[str, MemoryEstimate] = {}
        #: Who has waited longest for room, and since when.
        self._first: tuple[str, float] | None = None
        #: Until when claims are others' to make.
        self._gives_way = -math.inf

    @property
    def overdue(self) -> str | None:
        """Who has waited so long that no other may begin before it."""
        if self._first is None or self._clock() - self._first[1] <= PATIENCE:
            return None
        return self._first[0]

    @property
    def closed(self) -> bool:
        """Whether nothing more is to be claimed: it would only wait here, or is another worker's."""
        return self.overdue is not None or self._clock() < self._gives_way

    def may_begin(self, task: str, estimate: MemoryEstimate) -> bool:
        """Whether the task's pictures have room now, which is then theirs until it leaves.

        Raises NoRoom if they would have none if there was nothing else.
        """
        if not estimate.fits():
            raise estimate.error()
        if self.overdue not in (None, task):
            return False
        if not estimate.fits(self._granted.values()):
            self._first = self._first or (task, self._clock())
            return False
        self._granted[task] = estimate
        self._forget(task)
        return True

    def leave(self, task: str) -> None:
        """The task needs nothing any more; it need not have begun."""
        self._granted.pop(task, None)
        self._forget(task)

    def give_way(self) -> None:
        """Claim nothing for a moment: another worker is to have what was given back."""
        self._gives_way = self._clock() + GIVING_WAY

    def _forget(self, task: str) -> None:
        if self._first is not None and self._first[0] == task:
            self._first = None
