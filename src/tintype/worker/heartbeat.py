"""The heartbeat: a thread that renews a worker's leases, reports what it does, and learns of cancellations."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tintype.engine import Engine
from tintype.errors import StoreUnavailable
from tintype.media.outlet import Outlet
from tintype.store.ops.workers import Told, Workers
from tintype.store.queue.requests import Requests
from tintype.telemetry.metrics import PROMPT_CACHE, TRANSACTION_SECONDS, TRANSACTIONS
from tintype.telemetry.transactions import Transactions
from tintype.worker.models import ModelPool
from tintype.worker.previews import PreviewRenderer
from tintype.worker.task import RunningRequest
from tintype.worker.timings import Timings


class Heartbeat:
    """Beats every `interval` seconds, also while a forward pass or a load takes longer than a lease."""

    def __init__(
        self,
        worker_id: str,
        device: str,
        requests: Requests,
        workers: Workers,
        tasks: Mapping[str, RunningRequest],
        engine: Engine,
        looker: PreviewRenderer,
        report: Callable[[], Told],
        interval: float,
        parent: int | None,
        stop: Callable[[], None],
        drain: Callable[[], None],
    ) -> None:
        self.worker_id = worker_id
        self.device = device
        self.requests = requests
        self.workers = workers
        self.tasks = tasks
        self.engine = engine
        self.looker = looker
        self.report = report
        self.interval = interval
        #: Process without which this worker has no business; None for one that was started by hand.
        self.parent = parent
        self.stop = stop
        self.drain = drain
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> Heartbeat:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.looker.close()
        with suppress(StoreUnavailable):  # then it is silent from now on; it leaves as it was told, all the same
            self._tell()  # what it counted since the last beat; without renewing anything
            self.workers.leave(self.worker_id)

    def beat(self) -> None:
        """Renew every lease, take in what the store says of each, and say that this worker lives and what it does."""
        # These very tasks: by the time of the answer, the worker may have claimed one of the requests anew.
        renewed = list(self.tasks.values())
        verdicts = self.requests.renew([task.mark for task in renewed])
        for task in renewed:
            task.verdict = verdicts[task.request.id]
        self._tell()
        self.looker.beat(renewed)

    def _tell(self) -> None:
        counts = (self.engine.forward_passes, self.engine.rows)
        if self.workers.beat(self.worker_id, self.device, *counts, **self.report()):
            self.drain()

    def _run(self) -> None:
        try:
            while not self._done.wait(self.interval):
                self._turn()
        finally:
            # Without a heart the worker would go on to work for nothing: its successor starts with a clean one.
            if not self._done.is_set():
                self.stop()

    def _turn(self) -> None:
        if self.parent is not None and os.getppid() != self.parent:
            self.stop()
        # While the database is away leases run on; if they run out, the attempt number keeps our late writes away.
        with suppress(StoreUnavailable):
            self.beat()


STATM = Path("/proc/self/statm")


class Reporter:
    """Reads on the heart's thread what the engine's keeps anyway: it waits for no device, and holds up no step."""

    def __init__(
        self,
        tasks: Mapping[str, RunningRequest],
        engine: Engine,
        models: ModelPool,
        stages: Timings,
        outlet: Outlet,
        transactions: Transactions,
    ) -> None:
        self._tasks = tasks
        self._engine = engine
        self._models = models
        self._stages = stages
        self._outlet = outlet
        self._transactions = transactions
        #: What of them was told: only with new passes, or an idle worker's own signs of life would write sums.
        self._told: dict[str, float] = {}
        #: Forward passes, rows and seconds at the last report in which there was a new pass; and what came of it.
        self._before = (0, 0, 0.0)
        self._lately: dict[str, float] = {}

    def report(self) -> Told:
        """All of it, as `Workers.beat` takes it."""
        engine, models = self._engine, self._models
        lately = self._rates()
        return {
            "step_seconds": engine.seconds,
            "cold_starts": models.cold_starts,
            "cold_seconds": models.cold_seconds,
            "max_rows": engine.max_rows,
            "counts": self._stages.counts() | _prompts(models) | self._told,
            "about": {
                "tasks": [_running(task) for task in list(self._tasks.values())],
                "models": models.slugs,
                "memory": memory(models.device) | _weights(models),
                "lately": lately,
                **({"storage": shut} if (shut := self._outlet.shut) else {}),
            },
        }

    def _rates(self) -> dict[str, float]:
        """Rows per forward pass, and seconds of one, since the last report; as they were then, if there was none."""
        counts = (self._engine.forward_passes, self._engine.rows, self._engine.seconds)
        passes, rows, seconds = (now - before for now, before in zip(counts, self._before, strict=True))
        if passes:
            self._before = counts
            self._lately = {"rows": rows / passes, "step_seconds": seconds / passes}
            self._told = _database(self._transactions)
        return self._lately


def memory(device: torch.device) -> dict[str, int]:
    """Bytes: of this process; and on a GPU what tensors take, what torch holds for them, and what there is at all."""
    own = {"process": _resident()}
    if device.type != "cuda":
        return own
    return own | {
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "total": torch.cuda.get_device_properties(device).total_memory,
    }


def _database(transactions: Transactions) -> dict[str, float]:
    number, waited, took = transactions.sums()
    return {
        TRANSACTIONS.key(): number,
        TRANSACTION_SECONDS.key("wait"): waited,
        TRANSACTION_SECONDS.key("transaction"): took,
    }


def _prompts(models: ModelPool) -> dict[str, float]:
    """How often a prompt's encoding was there already, and how often not."""
    return {PROMPT_CACHE.key("hit"): models.prompts.hits, PROMPT_CACHE.key("miss"): models.prompts.misses}


def _weights(models: ModelPool) -> dict[str, int]:
    """Bytes that weights take, and those that they and work may take."""
    own = models.memory.device.report()
    return {"weights": own.used, "budget": own.budget}


def _resident() -> int:
    """Bytes of memory that this process takes; where the kernel doesn't say, the most that it ever took."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _running(task: RunningRequest) -> dict[str, Any]:
    mark = task.mark
    about = {"request_id": mark.id, "model": task.spec.slug, "pictures": task.order.count}
    return about | {"step": mark.step, "steps": mark.steps}
