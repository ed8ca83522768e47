"""Delivery: finished pixels → checked → files → a completed request, off the engine's thread."""

from __future__ import annotations

import time
from typing import Any

import structlog

from tintype.catalog.builtin import BUILTIN
from tintype.core import Result
from tintype.errors import StoreUnavailable
from tintype.media.breaker import StorageBreaker
from tintype.media.storage import Storage
from tintype.store.queue.queue import Leases
from tintype.worker.guard import Guard
from tintype.worker.jobs import to_file
from tintype.worker.task import RunningRequest

log = structlog.get_logger()

#: Seconds between attempts to write a result.
PAUSES = (0.5, 1.0, 2.0, 4.0)


class Delivery:
    """Writes a task's pictures, then the result that names them."""

    def __init__(self, requests: Leases, outputs: Storage, guard: Guard, *, with_recipe: bool) -> None:
        self.requests = requests
        self.outputs = outputs
        self.breaker = StorageBreaker(outputs)
        self.guard = guard
        self.with_recipe = with_recipe

    def deliver(self, task: RunningRequest, seconds: float) -> None:
        """Check, encode, put and complete; `seconds` is the model's time. Files of a lost attempt expire by themselves.

        Raises what the check raises: nothing is written then.
        """
        warnings = task.warnings + self.guard.check(task)
        encoding = time.monotonic()  # from here on: nobody pays by the second for being checked
        pictures = [self._put(task, index) for index in range(len(task.pictures))]
        result: dict[str, Any] = {
            "pictures": pictures,
            "format": task.order.format,
            "seed": task.order.seed,
            "recipe": task.recipe.json(),
            "inference_time": round(seconds + time.monotonic() - encoding, 4),
        }
        if warnings:
            result["warnings"] = warnings
        if task.loaded.builtin:
            result["weights"] = BUILTIN
        if task.cold_start:
            result["cold_start"] = round(task.cold_start, 4)
        if not self._complete(task, Result.from_json(result)):
            log.info("result not taken: it has ended, or another worker has it", request=task.request.id)

    def _complete(self, task: RunningRequest, result: Result) -> bool:
        """Write the result; the picture is made, so a database that is away for a moment is waited for."""
        for pause in PAUSES:
            try:
                return self.requests.complete(task.request.id, task.request.attempt, result, task.mark.steps)
            except StoreUnavailable:
                if pause == PAUSES[0]:  # once for all tries
                    log.warning("the result can't be written yet; trying again", request=task.request.id)
                time.sleep(pause)
        return self.requests.complete(task.request.id, task.request.attempt, result, task.mark.steps)

    def _put(self, task: RunningRequest, index: int) -> dict[str, Any]:
        order = task.order
        seed = order.seeds[index]
        how = task.recipe.of(seed) if self.with_recipe else None
        made = to_file(order, task.pixels[index], task.size, seed, how)
        with self.breaker.guarding():
            return made.store(self.outputs, order.format).to_json()
