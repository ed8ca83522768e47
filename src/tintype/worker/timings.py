"""What requests spend their time on in a worker: counted for `/metrics`, and one span per stage where traces are on."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from structlog.contextvars import bound_contextvars

from tintype.store.db.records import Request
from tintype.telemetry.metrics import STAGE_RUNS, STAGE_SECONDS, Stage
from tintype.telemetry.traces import NO_TRACES, Tracing

P = ParamSpec("P")
T = TypeVar("T")


class Timings:
    """Stages as the worker's threads measure them: a device may still compute when one has ended."""

    def __init__(self, worker: str, tracing: Tracing = NO_TRACES) -> None:
        self._worker = worker
        self._tracing = tracing
        self._counts: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def counts(self) -> dict[str, float]:
        """Runs and seconds of every stage since the worker's start, by `Sum.key`."""
        with self._lock:
            return dict(self._counts)

    def run(self, request: Request, stage: Stage, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the work of a stage: returns and raises what it does. Its log lines have the request's id."""
        began = time.monotonic()
        try:
            with bound_contextvars(request=request.id):
                result = work(*args, **kwargs)
        except BaseException as error:
            self.note(request, stage, began, time.monotonic(), error)
            raise
        self.note(request, stage, began, time.monotonic())
        return result

    def queued(self, request: Request) -> None:
        """Note how long the request has waited for its first claim; nothing for later ones."""
        if request.attempt == 1 and request.timing.started_at is not None:
            moment = time.monotonic()
            self.note(request, Stage.QUEUE, moment - (request.timing.started_at - request.timing.submitted_at), moment)

    def note(
        self, request: Request, stage: Stage, began: float, ended: float, error: BaseException | None = None
    ) -> None:
        """Count a stage that has ended, and trace it; both moments are `time.monotonic()`'s."""
        with self._lock:
            self._counts[STAGE_RUNS.key(request.slug, stage)] += 1
            self._counts[STAGE_SECONDS.key(request.slug, stage)] += max(0.0, ended - began)
        clock = time.time_ns() - round(time.monotonic() * 1e9)  # nanoseconds of unix time at the monotonic clock's 0
        self._tracing.note(
            stage,
            request.metadata.traceparent,
            clock + round(began * 1e9),
            clock + round(ended * 1e9),
            error,
            request=request.id,
            attempt=request.attempt,
            model=request.slug,
            worker=self._worker,
        )
