"""The autoscaler of a Ray fleet: reads the store, decides how many workers are wanted, asks Ray for as many actors.

It holds no state that matters: actors are found by their names, workers in the store. It may die at any moment, as Ray
kills its drivers when its head dies, and the next one continues.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol

import structlog

from tintype.fleet.scaling import (
    Cooldown,
    ScalingPolicy,
    Slot,
    actor_name,
    find_slots,
    needed_workers,
    scale_down_candidates,
)
from tintype.fleet.supervisor import RestartBackoff
from tintype.store.ops.autoscaler import LeaderLease
from tintype.store.queue.eta import Demand
from tintype.store.store import Store
from tintype.telemetry.logs import Outage

log = structlog.get_logger()

#: Seconds that an actor may take to start on a node that has room for it.
START_TIMEOUT = 10.0


class Cluster(Protocol):
    """Where actors run: Ray."""

    def names(self) -> Sequence[str]:
        """Actors that run, or wait for a node; the first call connects."""

    def start(self, name: str) -> None:
        """Start an actor with a worker in it, unless it exists; it waits for a node where there is no room."""

    def end(self, name: str) -> None:
        """End an actor immediately, if it exists."""

    def unplaced(self, names: Iterable[str]) -> Sequence[str]:
        """Those of them that have no node yet."""

    def capacity(self) -> str:
        """What one actor needs of a node, and what the cluster has, in words."""


class Autoscaler:
    """Keeps as many workers as `policy` wants, while it holds the leader lease."""

    def __init__(self, store: Store, lease: LeaderLease, cluster: Cluster, policy: ScalingPolicy) -> None:
        self._store = store
        self._lease = lease
        self._cluster = cluster
        self._policy = policy
        #: None while another leads.
        self._cooldown: Cooldown | None = None
        #: Workers wanted, as last logged and stored.
        self._wanted: int | None = None
        #: By actor: one that dies immediately must not be started every second.
        self._backoffs: dict[str, RestartBackoff] = {}
        #: By actor without a node: since when.
        self._unplaced_since: dict[str, float] = {}
        #: Whether the store says that actors wait for a node; None if unknown.
        self._reported_waits: bool | None = None
        self._crowded = Outage("workers wait for a node that has room: `ray status`", "no worker waits for a node")

    def reconcile(self) -> int | None:
        """Start, drain and end actors as wanted now; how many there were, None while another leads.

        Raises StoreUnavailable, and Ray's own errors when the cluster is unreachable.
        """
        if not self._lease.take():
            self._cooldown = None
            return None
        slots = self._slots()
        self._report_waits(slots)
        for slot in slots:
            if slot.drained:
                self._clear(slot)
        serving = [slot for slot in slots if slot.serves]
        demand = self._store.queue.demand()
        wanted = self._decide(demand, len(serving), reserved=sum(slot.drained_by_operator for slot in slots))
        if len(serving) > wanted:
            self._scale_down(slots, len(serving) - wanted, demand)
        elif not demand.paused and not _storage_refuses(serving):
            self._scale_up(wanted - len(serving), {slot.number for slot in slots})
        return sum(slot.has_actor for slot in slots)

    def _slots(self) -> list[Slot]:
        moment, workers = self._store.ops.workers.shown()
        return find_slots(self._cluster.names(), workers, moment)

    def _report_waits(self, slots: list[Slot]) -> None:
        """Log and store why actors have waited for longer than a start takes: a machine comes later, or never."""
        unplaced = self._cluster.unplaced([slot.name for slot in slots if slot.has_actor and slot.starting])
        self._unplaced_since = {name: self._unplaced_since.get(name, time.monotonic()) for name in unplaced}
        late = [name for name, since in self._unplaced_since.items() if time.monotonic() - since >= START_TIMEOUT]
        why = f"{', '.join(late)}: {self._cluster.capacity()}" if late else ""
        if why:
            self._crowded.failed(why)
        elif not unplaced:
            self._crowded.succeeded()
        if self._reported_waits is not bool(why):
            self._lease.set_waits(why)
            self._reported_waits = bool(why)

    def _decide(self, demand: Demand, serving: int, reserved: int) -> int:
        """Workers wanted now; a new leader counts those that serve as wanted until now.

        reserved: slots that stay empty, as an operator drained them.
        """
        if self._cooldown is None:
            self._cooldown, self._wanted = Cooldown(self._policy.cooldown), None
            self._cooldown.wanted(time.monotonic(), serving)
        wanted = self._cooldown.wanted(time.monotonic(), needed_workers(demand, self._policy))
        wanted = max(0, min(wanted, self._policy.max_workers - reserved))
        if wanted != self._wanted:
            log.info("workers wanted", wanted=wanted, there=serving, queued=demand.queued, running=demand.busy)
            self._lease.set_wanted(wanted)
            self._wanted = wanted
        return wanted

    def _scale_up(self, number: int, taken: Iterable[int]) -> None:
        """Start actors in the first free slots: a second autoscaler would ask for the same ones."""
        free = (actor_name(one) for one in range(1, self._policy.max_workers + 1) if one not in taken)
        for name in islice(free, number):
            backoff = self._backoffs.setdefault(name, RestartBackoff())
            if backoff.elapsed:
                backoff.start()
                log.info("starting a worker", actor=name)
                self._cluster.start(name)

    def _scale_down(self, slots: list[Slot], number: int, demand: Demand) -> None:
        """Have `number` workers finish their requests and leave; an actor without a worker is ended immediately."""
        for slot in scale_down_candidates(slots, self._store.ops.preloads.warm(demand.slugs))[:number]:
            log.info("letting a worker go", actor=slot.name, worker=slot.worker and slot.worker.id)
            if slot.worker and not slot.starting:
                self._store.ops.workers.release(slot.worker.id)
            else:
                self._end(slot)

    def _clear(self, slot: Slot) -> None:
        """End the actor of a worker that has left; the row of one that an operator drained stays for a recall."""
        self._end(slot)
        if slot.worker and not slot.drained_by_operator:
            self._store.ops.workers.remove(slot.worker.id)

    def _end(self, slot: Slot) -> None:
        if slot.has_actor:
            log.info("ending an actor", actor=slot.name)
            self._cluster.end(slot.name)
            self._backoffs.pop(slot.name, None)


def _storage_refuses(serving: Sequence[Slot]) -> bool:
    """Whether the storage refuses every live worker: another one would take a machine, and fail at its start."""
    states = [slot.state for slot in serving if not slot.starting]
    return bool(states) and set(states) == {"paused"}
