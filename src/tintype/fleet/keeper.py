"""The keeper of a Ray fleet: looks at the store, decides how many workers are wanted, and asks Ray for as many actors.

It keeps nothing that matters in memory: actors are found by their names, workers in the store. It may die at any
moment, as Ray kills those who are connected when its head dies, and the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol

import structlog

from tintype.fleet.backoff import Backoff
from tintype.fleet.places import Place, actor_name, dispensable, survey
from tintype.fleet.rule import Bounds, Cooldown, needed
from tintype.store.ops.autoscaler import LeaderLease
from tintype.store.queue.eta import Demand
from tintype.store.store import Store
from tintype.telemetry.logs import Outage

log = structlog.get_logger()

#: Seconds that an actor may take to begin on a node that has room for it.
PATIENCE = 10.0


class Cluster(Protocol):
    """Where actors are: Ray."""

    def names(self) -> Sequence[str]:
        """Those that run, or wait for a node; it is connected to when this is first asked."""

    def start(self, name: str) -> None:
        """Have one with a worker in it; it waits for a node where there is no room. One that is there is left alone."""

    def end(self, name: str) -> None:
        """End one, whatever it does, if it is there."""

    def unplaced(self, names: Iterable[str]) -> Sequence[str]:
        """Those of them that have no node yet."""

    def room(self) -> str:
        """What one needs of a node, and what there is, in words."""


class Keeper:
    """Keeps as many workers as `bounds` want, while it has the lead."""

    def __init__(self, store: Store, lead: LeaderLease, cluster: Cluster, bounds: Bounds) -> None:
        self._store = store
        self._lead = lead
        self._cluster = cluster
        self._bounds = bounds
        #: None while another leads.
        self._cooldown: Cooldown | None = None
        self._told: int | None = None
        #: By actor, since one that dies at once must not be started every second.
        self._pauses: dict[str, Backoff] = {}
        #: Since when actors have waited for a node.
        self._waits: dict[str, float] = {}
        #: Whether the store has been told that they do.
        self._waiting: bool | None = None
        self._crowded = Outage("workers wait for a node that has room: `ray status`", "no worker waits for a node")

    def look(self) -> int | None:
        """One look at everything, and what is to be done at once; how many actors there were, None while another leads.

        Raises StoreUnavailable, and whatever Ray raises when it is away.
        """
        if not self._lead.take():
            self._cooldown = None
            return None
        places = self._survey()
        self._tell_of_waits(places)
        for place in places:
            if place.over:
                self._clear(place)
        serving = [place for place in places if place.serves]
        demand = self._store.queue.demand()
        wanted = self._wanted(demand, len(serving), vacant=sum(place.vacant for place in places))
        if len(serving) > wanted:
            self._let_go(places, len(serving) - wanted, demand)
        elif not demand.paused and not _storage_refuses(serving):
            self._start(wanted - len(serving), {place.number for place in places})
        return sum(place.actor for place in places)

    def _survey(self) -> list[Place]:
        moment, known = self._store.ops.workers.shown()
        return survey(self._cluster.names(), known, moment)

    def _tell_of_waits(self, places: list[Place]) -> None:
        """Say why, where actors have waited longer than one takes that has room: machines come later, or never."""
        unplaced = self._cluster.unplaced([place.name for place in places if place.actor and place.starting])
        self._waits = {name: self._waits.get(name, time.monotonic()) for name in unplaced}
        late = [name for name, since in self._waits.items() if time.monotonic() - since >= PATIENCE]
        why = f"{', '.join(late)}: {self._cluster.room()}" if late else ""
        if why:
            self._crowded.failed(why)
        elif not unplaced:
            self._crowded.succeeded()
        if self._waiting is not bool(why):
            self._lead.set_waits(why)
            self._waiting = bool(why)

    def _wanted(self, demand: Demand, serving: int, vacant: int) -> int:
        """Workers wanted now; whoever takes the lead takes those that are there to have been wanted until now."""
        if self._cooldown is None:
            self._cooldown, self._told = Cooldown(self._bounds.cooldown), None
            self._cooldown.wanted(time.monotonic(), serving)
        wanted = self._cooldown.wanted(time.monotonic(), needed(demand, self._bounds))
        wanted = max(0, min(wanted, self._bounds.most - vacant))
        if wanted != self._told:
            log.info("workers wanted", wanted=wanted, there=serving, queued=demand.queued, running=demand.busy)
            self._lead.set_wanted(wanted)
            self._told = wanted
        return wanted

    def _start(self, number: int, taken: Iterable[int]) -> None:
        """Have so many more actors, each under the first number that is free: a doubled keeper would name the same."""
        free = (actor_name(one) for one in range(1, self._bounds.most + 1) if one not in taken)
        for name in islice(free, number):
            pause = self._pauses.setdefault(name, Backoff())
            if pause.over:
                pause.start()
                log.info("starting a worker", actor=name)
                self._cluster.start(name)

    def _let_go(self, places: list[Place], number: int, demand: Demand) -> None:
        """Have so many workers finish what they have and leave; an actor without one is ended at once."""
        for place in dispensable(places, self._store.ops.preloads.warm(demand.slugs))[:number]:
            log.info("letting a worker go", actor=place.name, worker=place.worker and place.worker.id)
            if place.worker and not place.starting:
                self._store.ops.workers.release(place.worker.id)
            else:
                self._end(place)

    def _clear(self, place: Place) -> None:
        """End the actor of a worker that has left; an operator's word that its place stay empty outlives it."""
        self._end(place)
        if place.worker and not place.vacant:
            self._store.ops.workers.remove(place.worker.id)

    def _end(self, place: Place) -> None:
        if place.actor:
            log.info("ending an actor", actor=place.name)
            self._cluster.end(place.name)
            self._pauses.pop(place.name, None)


def _storage_refuses(serving: Sequence[Place]) -> bool:
    """Whether every worker that could tell says so: a further one would have a machine come, and end at its start."""
    told = [place.state for place in serving if not place.starting]
    return bool(told) and set(told) == {"paused"}
