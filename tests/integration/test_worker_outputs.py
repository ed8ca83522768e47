"""The output steps of a finished request."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import torch

from tintype.core import GenerationParams, Result
from tintype.running import RunningRequest
from tintype.worker.outputs import Outputs, SafetyFilter
from tintype.worker.plan import Running
from tintype.worker.timings import Timings

COUNT = 4


class Together:
    """A storage that stores nothing before it is handed that many images."""

    def __init__(self, images: int) -> None:
        self._all = threading.Barrier(images, timeout=60)

    def put(self, data: bytes, suffix: str) -> str:
        self._all.wait()
        return f"{len(data)}.{suffix}"


def finished(count: int) -> Running:
    """A request of black images, all of them drawn."""
    about: dict[str, Any] = {"slug": "m", "metadata": SimpleNamespace(traceparent=None), "safety": "off"}
    request: Any = SimpleNamespace(id="r", attempt=1, retries=0, steps=4, **about)
    params = GenerationParams(steps=4, guidance=1, seed=7, sampler="euler", count=count, format="png")
    plan: Any = SimpleNamespace(
        warnings=(), size=(8, 8), recipe=None, origin=None, loaded=SimpleNamespace(builtin=False)
    )
    one: Running = RunningRequest(request, params, Future())
    one.wait_for_memory(plan)
    images: Any = [SimpleNamespace(step=4, steps=4, number=number) for number in range(count)]
    one.denoise(images, 0)
    for image in images:
        one.finish(image, torch.zeros(8, 8, 3, dtype=torch.uint8))
    return one


def test_the_images_of_a_request_are_encoded_and_stored_at_the_same_time() -> None:
    results: list[Result] = []
    leases: Any = SimpleNamespace(complete=lambda _id, _attempt, result, _steps: results.append(result) or True)
    storage: Any = Together(COUNT)
    outputs = Outputs(leases, storage, SafetyFilter(None), with_recipe=False)
    outputs.submit(finished(COUNT), 1.0, Timings("w")).result()
    [result] = results
    assert [(one.seed, one.width, one.height) for one in result.outputs] == [(7 + n, 8, 8) for n in range(COUNT)]
    outputs.close()
