"""Seconds that a request is charged for: the model's work, and never a load of weights, its own or another's."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.diffusion.conditioning import Lengths
from tintype.media.outlet import Outlet
from tintype.telemetry.metrics import STAGE_SECONDS, Stage
from tintype.worker.loop import Worker
from tintype.worker.outputs import SafetyFilter
from tintype.worker.task import RunningRequest

LOAD = 40.0


class Slow:
    """Weights that take LOAD seconds to load when a picture begins, on a clock that stands still otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.told = 0.0
        self.loaded = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def get(self, *_: object) -> Any:
        fits = SimpleNamespace(fits=lambda *_: True)
        family = SimpleNamespace(begin=self.load, demand=lambda _: fits, lengths=lambda _: Lengths(1, 1))
        return SimpleNamespace(family=family, fingerprint="f", dtype="float32", t5_tokens=1, native_size=None)

    def load(self, job: object) -> object:
        self.now += LOAD
        self.loaded += LOAD
        return job

    def waited(self) -> float:
        since, self.told = self.loaded - self.told, self.loaded
        return since


def task() -> RunningRequest:
    params = SD35_TURBO_TXT2IMG.validate({"prompt": "a fox"})[0]
    request: Any = SimpleNamespace(id="r", slug=SD35_TURBO_TXT2IMG.slug, params=params, attempt=1, traceparent=None)
    made = RunningRequest(request, SD35_TURBO_TXT2IMG)
    made.fetched.set_result(None)
    return made


def test_loading_is_nobodys_time(monkeypatch: pytest.MonkeyPatch) -> None:
    models: Any = Slow(monkeypatch)
    engine: Any = SimpleNamespace(add=lambda *_, **__: None, live=[])
    nothing: Any = None
    delivery: Any = SimpleNamespace(guard=SafetyFilter(None), outlet=Outlet(nothing))
    worker = Worker("w", nothing, nothing, models, nothing, delivery, engine, nothing, max_pictures=4, poll=1, grace=1)
    running, fresh = task(), task()
    running.pictures = [nothing]
    worker.tasks = {"running": running, "fresh": fresh}
    models.now += 3
    worker.begin()
    assert (models.now - running.began, models.now - fresh.began) == (3, 0)
    assert (running.cold_start, fresh.cold_start) == (0, LOAD)
    counts = worker.stages.counts()
    seconds = {stage: counts[STAGE_SECONDS.key(SD35_TURBO_TXT2IMG.slug, stage)] for stage in (Stage.LOAD, Stage.ENCODE)}
    assert seconds == {Stage.LOAD: LOAD, Stage.ENCODE: 0}, "what is spent on loading is no other stage's"
