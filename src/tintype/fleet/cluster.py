"""A Ray cluster, seen from its driver: the only module that imports Ray, which the extra `ray` installs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import ray
import structlog

from tintype.fleet.actor import WorkerActor, WorkerLaunch
from tintype.fleet.scaling import PREFIX
from tintype.settings.groups import FleetSettings

log = structlog.get_logger()


class RayCluster:
    """The named, detached actors of one fleet, which outlive the driver that started them.

    name: the database's own, part of its actors' names, since several tintypes may share a cluster. Every method raises
    Ray's own errors when the cluster is unreachable; Ray may end the whole process instead.
    """

    def __init__(self, settings: FleetSettings, name: str, launch: WorkerLaunch) -> None:
        self._address = settings.ray_address
        self._namespace = settings.ray_namespace
        self._prefix = f"tintype-{name}:"
        self._share = {"num_gpus": settings.ray_gpus, "num_cpus": settings.ray_cpus}
        self._launch = launch
        #: By actor without a node, as far as is known: the call that returns once it has one.
        self._pending: dict[str, Any] = {}
        self._warned = False

    def names(self) -> list[str]:
        """Actors that run, or wait for a node."""
        self._connect()
        found = ray.util.list_named_actors()
        self._warn_of_unnamed([name for name in found if name.startswith(PREFIX)])
        return [name.removeprefix(self._prefix) for name in found if name.startswith(self._prefix)]

    def unplaced(self, names: Iterable[str]) -> list[str]:
        """Those of them that have no node, or have not started on theirs."""
        self._pending = {name: self._pending.get(name) or self._ready_call(name) for name in names}
        calls = [call for call in self._pending.values() if call]
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0) if calls else ([], [])
        return [name for name, call in self._pending.items() if call and call not in ready]

    def capacity(self) -> str:
        """What one actor takes, and what the cluster has, in words."""
        needs = _in_words({"GPU": self._share["num_gpus"], "CPU": self._share["num_cpus"]})
        has, free = _in_words(ray.cluster_resources()), _in_words(ray.available_resources())
        return f"one needs {needs}; all nodes together have {has}, of which {free} are free"

    def start(self, name: str) -> None:
        """Start an actor with a worker in it; Ray restarts it elsewhere when its node dies."""
        lasting = {"name": self._prefix + name, "lifetime": "detached", "get_if_exists": True, "max_restarts": -1}
        # The launch has passwords in it: as an argument it is in none of Ray's lists, as a runtime_env would be.
        ray.remote(WorkerActor).options(**lasting, **self._share).remote(name, self._launch)

    def end(self, name: str) -> None:
        """End an actor immediately, if it exists."""
        with suppress(ValueError):
            ray.kill(ray.get_actor(self._prefix + name), no_restart=True)

    def close(self) -> None:
        """Disconnect; the actors stay."""
        ray.shutdown()

    def _connect(self) -> None:
        if not ray.is_initialized():
            ray.init(address=self._address, namespace=self._namespace, logging_level="WARNING", log_to_driver=False)

    def _ready_call(self, name: str) -> Any:
        with suppress(ValueError):  # it has gone
            return ray.get_actor(self._prefix + name).__ray_ready__.remote()
        return None

    def _warn_of_unnamed(self, actors: list[str]) -> None:
        """Log once that earlier versions' actors are left alone: their names don't say whose they are."""
        if actors and not self._warned:
            words = "actors of an earlier tintype are left alone; its own `tintype fleet --down` ends them"
            log.warning(words, actors=actors, namespace=self._namespace)
        self._warned = bool(actors)


def _in_words(resources: Mapping[str, float]) -> str:
    return f"{resources.get('GPU', 0):g} GPU and {resources.get('CPU', 0):g} CPU"
