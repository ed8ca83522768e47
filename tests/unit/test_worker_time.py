"""Seconds that a request is charged for: the model's work, and never a load of weights, its own or another's."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.worker.guard import Guard
from tintype.worker.loop import Worker
from tintype.worker.task import Task

LOAD = 40.0


class Slow:
    """Weights that take LOAD seconds to load, on a clock that stands still otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def get(self, *_: object) -> Any:
        self.now += LOAD
        family = SimpleNamespace(begin=lambda job: job)
        return SimpleNamespace(family=family, fingerprint="f", dtype="float32", t5_tokens=1, native_size=None)


def task() -> Task:
    params = SD35_TURBO_TXT2IMG.validate({"prompt": "a fox"})[0]
    request: Any = SimpleNamespace(slug=SD35_TURBO_TXT2IMG.slug, params=params)
    made = Task(request, SD35_TURBO_TXT2IMG)
    made.fetched.set_result(None)
    return made


def test_loading_is_nobodys_time(monkeypatch: pytest.MonkeyPatch) -> None:
    models: Any = Slow(monkeypatch)
    engine: Any = SimpleNamespace(add=lambda *_, **__: None, live=[])
    nothing: Any = None
    delivery: Any = SimpleNamespace(guard=Guard(None))
    worker = Worker("w", nothing, nothing, models, nothing, delivery, engine, max_pictures=4, poll=1, grace=1)
    running, fresh = task(), task()
    running.pictures = [nothing]
    worker.tasks = {"running": running, "fresh": fresh}
    models.now += 3
    worker.begin()
    assert (models.now - running.began, models.now - fresh.began) == (3, 0)
