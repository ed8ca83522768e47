"""A Ray cluster, as its driver sees it: the only module that imports Ray, which the extra `ray` brings."""

from __future__ import annotations

from contextlib import suppress

import ray

from tintype.fleet.actor import Orders, WorkerActor


class RayCluster:
    """The named, detached actors of one namespace: they outlive the driver that asked for them.

    address: `auto`, `host:port` or `ray://host:port`. gpus, cpus: what one actor takes of its node. Everything raises
    Ray's own errors when the cluster is away; Ray may end the whole process instead.
    """

    def __init__(self, address: str, namespace: str, gpus: float, cpus: float, orders: Orders) -> None:
        self._address = address
        self._namespace = namespace
        self._share = {"num_gpus": gpus, "num_cpus": cpus}
        self._orders = orders

    def names(self) -> list[str]:
        """Those that run, or wait for a node."""
        self._connect()
        return list(ray.util.list_named_actors())

    def start(self, name: str) -> None:
        """Have one with a worker in it; Ray starts it again elsewhere when its node dies."""
        lasting = {"name": name, "lifetime": "detached", "get_if_exists": True, "max_restarts": -1}
        # The orders have passwords in them: as an argument they are in none of Ray's lists, as a runtime_env would be.
        ray.remote(WorkerActor).options(**lasting, **self._share).remote(name, self._orders)

    def end(self, name: str) -> None:
        """End one, whatever it does, if it is there."""
        with suppress(ValueError):
            ray.kill(ray.get_actor(name), no_restart=True)

    def close(self) -> None:
        """Leave the cluster; the actors stay."""
        ray.shutdown()

    def _connect(self) -> None:
        if not ray.is_initialized():
            ray.init(address=self._address, namespace=self._namespace, logging_level="WARNING", log_to_driver=False)
