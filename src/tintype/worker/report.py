"""What a worker tells of itself at each heartbeat: what it runs, what it has counted, how much memory it takes."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tintype.core import WorkerReport
from tintype.engine import Engine
from tintype.media.breaker import StorageBreaker
from tintype.telemetry.metrics import PROMPT_CACHE, TRANSACTION_SECONDS, TRANSACTIONS, Transactions
from tintype.worker.models import Models
from tintype.worker.stages import Stages
from tintype.worker.task import RunningRequest

STATM = Path("/proc/self/statm")


class Reporter:
    """Reads on the heart's thread what the engine's keeps anyway: it waits for no device, and holds up no step."""

    def __init__(
        self,
        tasks: Mapping[str, RunningRequest],
        engine: Engine,
        models: Models,
        stages: Stages,
        breaker: StorageBreaker,
        transactions: Transactions,
    ) -> None:
        self._tasks = tasks
        self._engine = engine
        self._models = models
        self._stages = stages
        self._breaker = breaker
        self._transactions = transactions
        #: What of them was told: only with new passes, or an idle worker's own signs of life would write sums.
        self._told: dict[str, float] = {}
        #: Forward passes, rows and seconds at the last report in which there was a new pass; and what came of it.
        self._before = (0, 0, 0.0)
        self._lately: dict[str, float] = {}

    def report(self) -> dict[str, Any]:
        """All of it, as `Workers.beat` takes it."""
        engine, models = self._engine, self._models
        lately = self._rates()
        return {
            "step_seconds": engine.seconds,
            "cold_starts": models.cold_starts,
            "cold_seconds": models.cold_seconds,
            "max_rows": engine.max_rows,
            "counts": self._stages.counts() | _prompts(models) | self._told,
            "report": WorkerReport.from_json(
                {
                    "tasks": [_running(task) for task in list(self._tasks.values())],
                    "models": models.slugs,
                    "memory": memory(models.device) | _weights(models),
                    "lately": lately,
                    **({"storage": why} if (why := self._breaker.open) else {}),
                }
            ),
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


def _prompts(models: Models) -> dict[str, float]:
    """How often a prompt's encoding was there already, and how often not."""
    return {PROMPT_CACHE.key("hit"): models.prompts.hits, PROMPT_CACHE.key("miss"): models.prompts.misses}


def _weights(models: Models) -> dict[str, int]:
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
