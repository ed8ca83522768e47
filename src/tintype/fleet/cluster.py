"""A Ray cluster, as its driver sees it: the only module that imports Ray, which the extra `ray` brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import ray
import structlog

from tintype.fleet.actor import Orders, WorkerActor
from tintype.fleet.places import PREFIX

log = structlog.get_logger()


class RayCluster:
    """The named, detached actors of one fleet: they outlive the driver that asked for them.

    address: `auto`, `host:port` or `ray://host:port`. fleet: the database's own name, which stands before those of its
    actors, since several tintypes may share a cluster. gpus, cpus: what one actor takes of its node. Everything raises
    Ray's own errors when the cluster is away; Ray may end the whole process instead.
    """

    def __init__(self, address: str, namespace: str, fleet: str, gpus: float, cpus: float, orders: Orders) -> None:
        self._address = address
        self._namespace = namespace
        self._before = f"tintype-{fleet}:"
        self._share = {"num_gpus": gpus, "num_cpus": cpus}
        self._orders = orders
        #: Actors that have no node yet, as far as is known: what answers once they have.
        self._asked: dict[str, Any] = {}
        self._told = False

    def names(self) -> list[str]:
        """Those that run, or wait for a node."""
        self._connect()
        there = ray.util.list_named_actors()
        self._tell_of_nameless([name for name in there if name.startswith(PREFIX)])
        return [name.removeprefix(self._before) for name in there if name.startswith(self._before)]

    def unplaced(self, names: Iterable[str]) -> list[str]:
        """Those of them that no node has room for, or that have not begun there."""
        self._asked = {name: self._asked.get(name) or self._ask(name) for name in names}
        asked = [one for one in self._asked.values() if one]
        begun, _ = ray.wait(asked, num_returns=len(asked), timeout=0) if asked else ([], [])
        return [name for name, one in self._asked.items() if one and one not in begun]

    def room(self) -> str:
        """What one actor takes, and what there is, in words."""
        needs = _in_words({"GPU": self._share["num_gpus"], "CPU": self._share["num_cpus"]})
        has, free = _in_words(ray.cluster_resources()), _in_words(ray.available_resources())
        return f"one needs {needs}; all nodes together have {has}, of which {free} are free"

    def start(self, name: str) -> None:
        """Have one with a worker in it; Ray starts it again elsewhere when its node dies."""
        lasting = {"name": self._before + name, "lifetime": "detached", "get_if_exists": True, "max_restarts": -1}
        # The orders have passwords in them: as an argument they are in none of Ray's lists, as a runtime_env would be.
        ray.remote(WorkerActor).options(**lasting, **self._share).remote(name, self._orders)

    def end(self, name: str) -> None:
        """End one, whatever it does, if it is there."""
        with suppress(ValueError):
            ray.kill(ray.get_actor(self._before + name), no_restart=True)

    def close(self) -> None:
        """Leave the cluster; the actors stay."""
        ray.shutdown()

    def _connect(self) -> None:
        if not ray.is_initialized():
            ray.init(address=self._address, namespace=self._namespace, logging_level="WARNING", log_to_driver=False)

    def _ask(self, name: str) -> Any:
        with suppress(ValueError):  # it has gone
            return ray.get_actor(self._before + name).__ray_ready__.remote()
        return None

    def _tell_of_nameless(self, actors: list[str]) -> None:
        """Earlier versions' have no database's name, so that nobody knows whose they are: once, they are told of."""
        if actors and not self._told:
            words = "actors of an earlier tintype are left alone; its own `tintype fleet --down` ends them"
            log.warning(words, actors=actors, namespace=self._namespace)
        self._told = bool(actors)


def _in_words(resources: Mapping[str, float]) -> str:
    return f"{resources.get('GPU', 0):g} GPU and {resources.get('CPU', 0):g} CPU"
