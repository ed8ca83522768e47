"""How many workers a Ray fleet needs, and which of its slots go first: pure functions, without clock and database."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil

from tintype.store.ops.processes import WorkerRow, WorkerState
from tintype.store.queue.eta import Demand

#: Actors' names are this and a slot's number. No worker of another kind begins so: a host's name has no colon.
PREFIX = "ray:"


@dataclass(frozen=True)
class ScalingPolicy:
    """An operator's settings; `FleetSettings` has the reasons."""

    min_workers: int
    max_workers: int
    #: Seconds within which all current work should be done.
    target_wait: float
    #: Seconds for which fewer workers must have been enough before the fleet scales down.
    cooldown: float


def needed_workers(demand: Demand, policy: ScalingPolicy) -> int:
    """Workers that the current work needs: its seconds over the target wait, and one for any work at all.

    Queued requests don't count while the queue is paused.
    """
    seconds = demand.running + (0 if demand.paused else demand.waiting)
    requests = demand.busy + (0 if demand.paused else demand.queued)
    return min(max(ceil(seconds / policy.target_wait), min(1, requests), policy.min_workers), policy.max_workers)


class Cooldown:
    """The maximum of what was needed in the last `seconds`: scales up immediately, down only after all of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: Moments and what was needed, each less than the one before: a later, larger one replaces those before it.
        self._recent: deque[tuple[float, int]] = deque()

    def wanted(self, moment: float, needed: int) -> int:
        """Workers wanted at `moment` (seconds of a monotonic clock), when `needed` are."""
        while self._recent and self._recent[-1][1] <= needed:
            self._recent.pop()
        self._recent.append((moment, needed))
        while self._recent[0][0] < moment - self._seconds:
            self._recent.popleft()
        return self._recent[0][1]


@dataclass(frozen=True)
class Slot:
    """One number of a Ray fleet: an actor, a worker that it held lately, or both."""

    number: int
    #: Whether Ray has the actor, running or waiting for a node.
    has_actor: bool
    #: Its latest worker in the store, and that worker's state; None before the first.
    worker: WorkerRow | None = None
    state: WorkerState | None = None

    @property
    def name(self) -> str:
        """Its actor's."""
        return actor_name(self.number)

    @property
    def serves(self) -> bool:
        """Whether it takes requests, or will once its worker has started or reconnected."""
        return self.has_actor and self.state not in ("draining", "drained")

    @property
    def starting(self) -> bool:
        """Whether it has no live worker."""
        return self.state in (None, "silent")

    @property
    def drained_by_operator(self) -> bool:
        """Whether it stays empty until an operator recalls its worker."""
        return self.worker is not None and self.worker.drain_at is not None and not self.worker.released

    @property
    def drained(self) -> bool:
        """Whether its worker was drained, by an operator or by the autoscaler, and has left."""
        return self.state == "drained"


def actor_name(number: int) -> str:
    """Name of the actor of a slot."""
    return f"{PREFIX}{number}"


def worker_prefix(actor: str) -> str:
    """What the ids of an actor's workers begin with."""
    return f"{actor}-"


def find_slots(actors: Iterable[str], workers: Iterable[WorkerRow], moment: float) -> list[Slot]:
    """All slots, by number. workers: in the order in which they started. moment: now, by the store's clock."""
    present = {_number(name) for name in actors if name.startswith(PREFIX)}
    latest = {_number(row.id.partition("-")[0]): row for row in workers if row.id.startswith(PREFIX)}
    numbers = sorted({*present, *(number for number, row in latest.items() if row.drain_at is not None)})
    return [
        Slot(number, number in present, row := latest.get(number), row.state(moment) if row else None)
        for number in numbers
    ]


def scale_down_candidates(slots: Iterable[Slot], warm: Collection[str]) -> list[Slot]:
    """Slots that serve, cheapest to lose first: without a worker, idle, cold for the requested models, youngest.

    warm: ids of the workers that have a requested model loaded.
    """

    def cost(slot: Slot) -> tuple[bool, bool, bool, int]:
        id = slot.worker.id if slot.worker else ""
        return not slot.starting, slot.state == "working", id in warm, -slot.number

    return sorted((slot for slot in slots if slot.serves), key=cost)


def _number(name: str) -> int:
    return int(name.removeprefix(PREFIX))
