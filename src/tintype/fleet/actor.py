"""What runs in a Ray actor: not the worker itself, but a process that supervises one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from tintype.fleet.scaling import worker_prefix
from tintype.fleet.supervisor import run_workers
from tintype.settings import overlaid
from tintype.store.db.database import shown_url
from tintype.telemetry.logs import log_start, set_up_logs


@dataclass(frozen=True)
class WorkerLaunch:
    """What a worker is started with, on any node."""

    #: The data folder, under the same path on every node.
    data: str
    #: The store's URL.
    database: str = field(repr=False)
    #: Seconds that a worker may take to stop.
    grace: float
    #: Settings and keys: they take precedence over a node's own.
    env: Mapping[str, str] = field(repr=False)


#: Its name in actors that earlier versions started: Ray restarts them on nodes that were upgraded since.
Orders = WorkerLaunch


class WorkerActor:
    """Supervises one worker from its construction until its process ends; the worker then ends too."""

    def __init__(self, name: str, launch: WorkerLaunch) -> None:
        set_up_logs(process=f"fleet {name}")
        # Ray ends it with SIGKILL: its end is in the autoscaler's log, and in its worker's.
        log_start(actor=name, database=shown_url(launch.database), data=launch.data)
        command = [sys.executable, "-m", "tintype", "worker", "--data", launch.data, "--parent", str(os.getpid())]
        # Ray sets in its process's environment which GPUs the worker may use, and its CPU share.
        env = overlaid(os.environ, launch.env)
        self._running = ExitStack()
        self._running.enter_context(
            run_workers([command], env, launch.grace, launch.database, prefix=worker_prefix(name))
        )
