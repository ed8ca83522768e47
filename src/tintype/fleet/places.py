"""A Ray fleet's places: numbered actors, each with the worker that it holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tintype.store.ops.processes import State, WorkerRow

#: How actors are called, before their number. No machine is called so: a host's name has no colon.
PREFIX = "ray:"


@dataclass(frozen=True)
class Place:
    """One number of the fleet: an actor, a worker that it held lately, or both."""

    number: int
    #: Whether Ray has the actor, running or waiting for a node.
    actor: bool
    #: The latest worker that was known of it, and what that does; None before the first.
    worker: WorkerRow | None = None
    state: State | None = None

    @property
    def name(self) -> str:
        """What its actor is called."""
        return actor_name(self.number)

    @property
    def serves(self) -> bool:
        """Whether it takes requests, or will once its worker is there or is back."""
        return self.actor and self.state not in ("draining", "drained")

    @property
    def starting(self) -> bool:
        """Whether there is no live worker in it."""
        return self.state in (None, "silent")

    @property
    def vacant(self) -> bool:
        """Whether an operator drained its worker, so that it is to stay empty until that is recalled."""
        return self.worker is not None and self.worker.drain_at is not None and not self.worker.released

    @property
    def over(self) -> bool:
        """Whether its worker was told to leave, and has left."""
        return self.state == "drained"


def actor_name(number: int) -> str:
    """What the actor with this number is called."""
    return f"{PREFIX}{number}"


def worker_prefix(name: str) -> str:
    """How the names of the workers of an actor begin."""
    return f"{name}-"


def survey(actors: Iterable[str], workers: Iterable[WorkerRow], moment: float) -> list[Place]:
    """All the places there are, by number; `workers` come in the order in which they started, `moment` is now."""
    there = {_number(name) for name in actors if name.startswith(PREFIX)}
    latest = {_number(one.id.partition("-")[0]): one for one in workers if one.id.startswith(PREFIX)}
    numbers = sorted({*there, *(number for number, one in latest.items() if one.drain_at is not None)})
    return [
        Place(number, number in there, one := latest.get(number), one.state(moment) if one else None)
        for number in numbers
    ]


def dispensable(places: Iterable[Place], warm: Collection[str]) -> list[Place]:
    """Places that serve, those first that are missed least: without a worker, idle, cold for what is asked, youngest.

    warm: workers that have a model loaded that is asked for.
    """

    def missed(place: Place) -> tuple[bool, bool, bool, int]:
        id = place.worker.id if place.worker else ""
        return not place.starting, place.state == "working", id in warm, -place.number

    return sorted((place for place in places if place.serves), key=missed)


def _number(name: str) -> int:
    return int(name.removeprefix(PREFIX))
