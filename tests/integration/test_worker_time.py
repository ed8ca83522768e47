"""Seconds that a request is charged for: the model's work, and never a load of weights, its own or another's."""

from __future__ import annotations

import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from tintype.catalog.models import MODELS, SD35_TURBO_TXT2IMG
from tintype.diffusion.text import Lengths
from tintype.media.provenance.marker import NO_MARKS
from tintype.media.storage import StorageBreaker
from tintype.running import RunningRequest
from tintype.telemetry.metrics import STAGE_SECONDS, Stage
from tintype.worker.loop import Worker, WorkerConfig
from tintype.worker.outputs import SafetyFilter
from tintype.worker.plan import Running

LOAD = 40.0


class Slow:
    """Weights that take LOAD seconds to load when a picture begins, on a clock that stands still otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.told = 0.0
        self.loaded = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    catalogue = MODELS

    def get(self, *_: object, refined: bool) -> Any:
        assert not refined
        fits = SimpleNamespace(fits=lambda *_: True)
        family = SimpleNamespace(begin=self.load, estimate=lambda _: fits, lengths=lambda _: Lengths(1, 1))
        return SimpleNamespace(family=family, fingerprint="f", dtype="float32", t5_tokens=1, native_size=None)

    def load(self, job: object, *_inputs: object) -> object:
        self.now += LOAD
        self.loaded += LOAD
        return job

    def waited(self) -> float:
        since, self.told = self.loaded - self.told, self.loaded
        return since


def running(id: str) -> Running:
    spec = SD35_TURBO_TXT2IMG
    request: Any = SimpleNamespace(
        id=id, slug=spec.slug, attempt=1, retries=0, metadata=SimpleNamespace(traceparent=None), safety="off"
    )
    fetched: Future[Any] = Future()
    fetched.set_result({})
    return RunningRequest(request, spec.parse({"prompt": "a fox"}).params, fetched)


def test_loading_is_nobodys_time(monkeypatch: pytest.MonkeyPatch) -> None:
    models: Any = Slow(monkeypatch)
    nothing: Any = SimpleNamespace()
    store: Any = SimpleNamespace(leases=nothing, ops=SimpleNamespace(preloads=nothing))
    outputs: Any = SimpleNamespace(safety=SafetyFilter(None), marker=NO_MARKS, breaker=StorageBreaker(nothing))
    worker = Worker(store, models, nothing, outputs, WorkerConfig(id="w", max_images=4, max_rows=4, poll=1, grace=1))
    monkeypatch.setattr(worker.engine, "add", lambda *_, **__: None)
    earlier, fresh = running("earlier"), running("fresh")
    earlier.wait_for_memory(nothing)
    earlier.denoise([nothing], models.now)
    worker.running.update(earlier=earlier, fresh=fresh)
    models.now += 3
    worker.start()
    assert (models.now - earlier.began, models.now - fresh.began) == (3, 0)
    assert (earlier.cold_start, fresh.cold_start) == (0, LOAD)
    counts = worker.timings.counts()
    seconds = {stage: counts[STAGE_SECONDS.key(SD35_TURBO_TXT2IMG.slug, stage)] for stage in (Stage.LOAD, Stage.ENCODE)}
    assert seconds == {Stage.LOAD: LOAD, Stage.ENCODE: 0}, "what is spent on loading is no other stage's"
