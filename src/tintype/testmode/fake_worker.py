"""The fake worker: in every web process, without weights, it alone claims the requests of test keys."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import structlog

from tintype.catalog.spec import Catalogue
from tintype.core import Result
from tintype.errors import MODEL_FAILED, StoreUnavailable, TintypeError
from tintype.running import Phase, RunningRequest, fail, refuse
from tintype.store.db.records import LeaseStatus, Request
from tintype.store.queue.claim import MAX_BUNCH, Claim
from tintype.store.queue.queue import Leases
from tintype.telemetry.logs import Outage
from tintype.testmode.images import FakeOutputs
from tintype.testmode.scenario import Scenario, parse

log = structlog.get_logger()

#: Seconds between polls for what no wake-up told of: what other servers accepted, or left behind.
POLL = 4.0
#: Seconds until it tries again while the database is away.
AWAY = 0.5


class FakeImage:
    """An image whose steps are done as its scenario's time passes."""

    def __init__(self, steps: int, seconds: float, until: float) -> None:
        """until: when all are done, by the monotonic clock."""
        self.steps = steps
        self._seconds = seconds
        self.until = until

    @property
    def step(self) -> int:
        """As many of the steps as there has been of its time."""
        left = max(0.0, self.until - time.monotonic())
        return int((1 - min(1.0, left / self._seconds)) * self.steps) if self._seconds else 0


#: Its pixels are drawn when they are encoded, so that a request's images aren't all in memory.
Running = RunningRequest[Scenario, FakeImage, None]


class FakeWorker:
    """Runs test requests from `start` to `stop`, on a thread of its own.

    heartbeat: seconds between renewals of the leases. accepted: set when a request has been accepted.
    """

    def __init__(
        self,
        leases: Leases,
        catalogue: Catalogue,
        outputs: FakeOutputs,
        heartbeat: float,
        accepted: threading.Event,
        poll: float = POLL,
    ) -> None:
        self._leases = leases
        self._catalogue = catalogue
        self._outputs = outputs
        self._heartbeat = heartbeat
        self._accepted = accepted
        self._poll = poll
        #: When it polls next, by the monotonic clock.
        self._polls = -math.inf
        self._id = f"stand-in-{uuid4().hex[:8]}"
        self._running: dict[str, Running] = {}
        self._renewed = time.monotonic()
        #: A turn may be under way in its thread while the server stops.
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake worker", daemon=True)

    def start(self) -> None:
        """Take turns: when a request is accepted, when something is due, and when it is time to poll."""
        self._thread.start()

    def _run(self) -> None:
        failing = Outage("test mode fails", "test mode goes on")
        while not self._stopped.is_set():
            self._accepted.wait(self._rest)
            try:
                self.turn()
            except StoreUnavailable:
                self._stopped.wait(AWAY)  # what runs is finished then, or claimed by another fake worker
            except Exception as error:
                if not failing.lasts:
                    log.exception("test mode failed", error=type(error).__name__)
                failing.failed(type(error).__name__)
                self._stopped.wait(AWAY)
            else:
                failing.succeeded()

    def turn(self) -> None:
        """Renew the leases of what runs, start what is due, finish what has had its time; raises StoreUnavailable."""
        if self._rest > 0 and not self._accepted.is_set():
            return
        with self._lock:
            self._renew()
            self._claim()
            for one in [one for one in self._running.values() if _due(one)]:
                if one.phase is not Phase.DONE:
                    self._finish(one)
                    self._renew()  # large images take their time

    def stop(self) -> None:
        """Start no more, and hand back what runs, uncounted: another fake worker goes on where it was."""
        self._stopped.set()
        self._accepted.set()
        self._outputs.breaker.stop()
        with self._lock:
            try:
                self._leases.hand_all_back([one.held for one in self._running.values()])
            except StoreUnavailable:
                log.warning("what is in hand can't be handed back; leases run out", requests=len(self._running))
            for one in self._running.values():
                one.end()
            self._running.clear()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def _rest(self) -> float:
        """Seconds until there is something to do, unless a request is accepted."""
        running = [*self._running.values()]  # which `stop`, in another thread, may empty
        due = [self._renewed + self._heartbeat, *map(_due_at, running)] if running else []
        return max(0.0, min([self._polls, *due]) - time.monotonic())

    def _renew(self) -> None:
        if time.monotonic() < self._renewed + self._heartbeat:
            return
        self._renewed = time.monotonic()
        leases = self._leases.renew([one.progress for one in self._running.values()])
        for id, lease in leases.items():
            self._running[id].renewed(lease)
            if lease is LeaseStatus.LOST:  # another fake worker's by now, or ended: there is nothing to write
                self._running.pop(id).end()

    def _claim(self) -> None:
        self._polls = time.monotonic() + self._poll
        self._accepted.clear()
        if self._stopped.is_set() or self._outputs.breaker.open:
            return
        asked = Claim(worker=self._id, idle=True, test=True)
        bunch = self._leases.claim_bunch(lambda _: asked)
        for request in bunch:
            self._start(request)
        if len(bunch) == MAX_BUNCH:  # there may be more
            self._accepted.set()
        elif (due := self._leases.test_due()) is not None:
            self._polls = min(self._polls, time.monotonic() + due)

    def _start(self, request: Request) -> None:
        """Its delays count from its submission, so that a restart adds nothing to them."""
        try:
            spec = self._catalogue.find(request.slug)
            params = request.generation or spec.read(request.params)
            scenario = parse(params.prompt)
        except (TintypeError, KeyError, TypeError) as error:
            with suppress(StoreUnavailable):  # its lease runs out, then
                refuse(self._leases, request, error)
            return
        timing = request.timing
        waited = (timing.started_at or timing.submitted_at) - timing.submitted_at
        left = max(0.0, scenario.queued + scenario.processing - waited) if scenario.processing else 0.0
        one: Running = RunningRequest(request, params, _done())
        one.wait_for_memory(scenario)
        began = time.monotonic()
        image = partial(FakeImage, request.steps, scenario.processing, began + left)
        one.denoise([image() for _ in range(params.count)], began)
        self._running[request.id] = one

    def _finish(self, one: Running) -> None:
        if self._stopped.is_set():
            return
        try:
            self._end(one)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one request's failure is that request's alone
            fail(self._leases, one, error, storage_shut=bool(self._outputs.breaker.open))
        self._running.pop(one.request.id).end()
        self._accepted.set()  # it may be to be retried

    def _end(self, one: Running) -> None:
        """As a worker ends a request: each way out is the store's own."""
        scenario, failing = one.plan, one.plan.failing
        if one.lease is LeaseStatus.CANCEL:
            self._leases.end_cancelled([one.held])
        elif one.request.retries < scenario.retries:
            self._leases.retry(*one.held, MODEL_FAILED)
        elif failing is None:
            self._complete(one)
        elif failing.retried:
            self._leases.retry(*one.held, failing.after(self._leases.max_attempts))
        else:
            self._leases.fail(*one.held, failing.error, failing.status, failing.kind)

    def _complete(self, one: Running) -> None:
        if one.phase is Phase.DENOISING:  # else the store went away when the result was to be written
            for image in one.images:
                one.finish(image, None)
            one.upload(_done())
        outputs, warnings = self._outputs.store(one.request, one.params)
        result = Result(
            outputs=outputs,
            format=one.params.format,
            seed=one.params.seed,
            # The scripted time: a measured one would differ from run to run.
            inference_time=one.plan.processing,
            warnings=warnings,
        )
        self._leases.complete(*one.held, result)


def _done() -> Future[Any]:
    """What a worker waits for, and a fake worker doesn't."""
    nothing: Future[Any] = Future()
    nothing.set_result(None)
    return nothing


def _due_at(one: Running) -> float:
    """When it has had its time, by the monotonic clock; its caller may end it earlier."""
    return one.images[0].until if one.lease is LeaseStatus.KEEP else 0.0


def _due(one: Running) -> bool:
    return time.monotonic() >= _due_at(one)
