"""Which task may begin: one whose pictures have room in memory, in the order of the claims, within reason."""

from __future__ import annotations

import time
from collections.abc import Callable

from tintype.diffusion.memory.demand import Demand

#: Seconds that a task without room lets smaller ones pass it: then everybody waits until it has begun.
PATIENCE = 5.0


class Admission:
    """Knows what the tasks under way still need, and lets others join them while there is room for all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._granted: dict[str, Demand] = {}
        #: Who has waited longest for room, and since when.
        self._first: tuple[str, float] | None = None

    @property
    def closed(self) -> bool:
        """Whether one has waited so long that no other may begin before it: more claims would only wait here."""
        return self._first is not None and self._clock() - self._first[1] > PATIENCE

    def may_begin(self, task: str, demand: Demand) -> bool:
        """Whether the task's pictures have room now, which is then theirs until it leaves.

        Raises NoRoom if they would have none if there was nothing else.
        """
        if not demand.fits():
            raise demand.error()
        if self._must_wait(task):
            return False
        if not demand.fits(self._granted.values()):
            self._first = self._first or (task, self._clock())
            return False
        self._granted[task] = demand
        self._forget(task)
        return True

    def leave(self, task: str) -> None:
        """The task needs nothing any more; it need not have begun."""
        self._granted.pop(task, None)
        self._forget(task)

    def _must_wait(self, task: str) -> bool:
        """Whether another has waited too long for this one to pass it."""
        return self.closed and self._first is not None and task != self._first[0]

    def _forget(self, task: str) -> None:
        if self._first is not None and self._first[0] == task:
            self._first = None
