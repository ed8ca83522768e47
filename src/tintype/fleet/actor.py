"""What runs in a Ray actor: not the worker itself, but the process that keeps one alive."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from tintype.fleet.places import worker_prefix
from tintype.fleet.slots import worker_slots
from tintype.store.db.database import shown_url
from tintype.telemetry.logs import log_start, set_up_logs


@dataclass(frozen=True)
class Orders:
    """What a worker is started with, wherever that is."""

    #: The data folder, under the same path on every node.
    data: str
    #: The store's URL.
    database: str = field(repr=False)
    #: Seconds that a worker may take to stop.
    grace: float
    #: Settings and keys: what a node's own environment lacks.
    env: Mapping[str, str] = field(repr=False)


class WorkerActor:
    """Keeps one worker alive from its making until its process ends, and that ends the worker too."""

    def __init__(self, name: str, orders: Orders) -> None:
        set_up_logs(process=f"fleet {name}")
        # Ray ends it with SIGKILL: its end is in the keeper's log, and in its worker's.
        log_start(actor=name, database=shown_url(orders.database), data=orders.data)
        command = [sys.executable, "-m", "tintype", "worker", "--data", orders.data, "--parent", str(os.getpid())]
        # Ray says in its process's environment which GPUs the worker may use, and has set its CPU share there.
        env = {**os.environ, **orders.env}
        self._running = ExitStack()
        self._running.enter_context(
            worker_slots([command], env, orders.grace, orders.database, prefix=worker_prefix(name))
        )
