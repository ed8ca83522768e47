"""Delivery: finished pixels → files → a completed request, off the engine's thread."""

from __future__ import annotations

import time

import structlog

from tintype.media.outputs import Files
from tintype.store.requests import Requests
from tintype.worker.jobs import to_file
from tintype.worker.task import Task

log = structlog.get_logger()


class Delivery:
    """Writes a task's pictures, then the result that names them."""

    def __init__(self, requests: Requests, outputs: Files) -> None:
        self.requests = requests
        self.outputs = outputs

    def deliver(self, task: Task, seconds: float) -> None:
        """Encode, put and complete; `seconds` is the model's time. Files of a lost attempt expire by themselves."""
        encoding = time.monotonic()
        pictures = [self._put(task, index) for index in range(len(task.pictures))]
        result = {
            "pictures": pictures,
            "format": task.order.format,
            "seed": task.order.seed,
            "inference_time": round(seconds + time.monotonic() - encoding, 4),
        }
        if not self.requests.complete(task.request.id, task.request.attempt, result):
            log.info("result not taken: cancelled, or another worker has it", request=task.request.id)

    def _put(self, task: Task, index: int) -> dict[str, str | int]:
        order = task.order
        encoded = to_file(order, task.pixels[index], order.seeds[index])
        return {
            "name": self.outputs.put(encoded.data, order.format),
            "size": len(encoded.data),
            "width": encoded.width,
            "height": encoded.height,
            "seed": encoded.seed,
        }
