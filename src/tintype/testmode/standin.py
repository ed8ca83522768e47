"""The stand-in: a worker without weights, in every web process, that alone claims the requests of test keys."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Self
from uuid import uuid4

import structlog

from tintype.catalog.models import find_model
from tintype.catalog.order import STORED, Order, order
from tintype.catalog.samples import sample_path
from tintype.errors import StoreUnavailable, TintypeError
from tintype.media.images import check
from tintype.media.made import encoded, output_size
from tintype.media.outputs import Files
from tintype.media.samples import draw as draw_sample
from tintype.settings import Settings
from tintype.store.records import CANCELLED, Mark, Request, Verdict
from tintype.store.requests import Requests
from tintype.testmode.outcomes import TRIED_AGAIN
from tintype.testmode.picture import draw
from tintype.testmode.script import Script, parse

log = structlog.get_logger()

#: Requests begun in one turn: a flood of them must not keep the leases from being renewed.
AT_ONCE = 16
#: The size that an input picture elsewhere is taken to have: it is not downloaded.
ELSEWHERE = (1024, 1024)


@dataclass
class Act:
    """A claimed request, played as its script says."""

    request: Request
    order: Order
    script: Script
    #: When it ends, on this machine's monotonic clock.
    until: float
    verdict: Verdict = Verdict.KEEP

    @classmethod
    def of(cls, request: Request) -> Self:
        """From the moment of its claim; its delays count from its arrival, so that a restart adds nothing to them."""
        wanted = order(find_model(request.slug), request.params)
        script = parse(wanted.prompt)
        waited = (request.started_at or request.submitted_at) - request.submitted_at
        left = max(0.0, script.queued + script.processing - waited) if script.processing else 0.0
        return cls(request, wanted, script, time.monotonic() + left)

    @property
    def mark(self) -> Mark:
        """As many of the steps as there has been of its time."""
        left = max(0.0, self.until - time.monotonic())
        done = 1 - min(1.0, left / self.script.processing) if self.script.processing else 0.0
        return Mark(self.request.id, self.request.attempt, int(done * self.request.steps), self.request.steps)

    @property
    def over(self) -> bool:
        """Whether it is time for its end."""
        return self.verdict is not Verdict.KEEP or time.monotonic() >= self.until


class StandIn:
    """Plays test requests; `turn` is to be called many times a second, and `stop` at the end."""

    def __init__(self, requests: Requests, inputs: Files, outputs: Files, settings: Settings) -> None:
        self._requests = requests
        self._inputs = inputs
        self._outputs = outputs
        self._heartbeat = settings.heartbeat
        self._max_pixels = settings.max_picture_pixels
        self._id = f"stand-in-{uuid4().hex[:8]}"
        self._acts: dict[str, Act] = {}
        self._renewed = time.monotonic()
        #: A turn may be under way in its thread while the server stops.
        self._lock = threading.Lock()
        self._stopped = False

    def turn(self) -> None:
        """Renew what is being played, begin what is due, end what is over."""
        with self._lock:
            try:
                self._renew()
                self._take()
                for act in [act for act in self._acts.values() if act.over]:
                    self._finish(act)
                    self._renew()  # large pictures take their time
            except StoreUnavailable as error:
                # Nothing is lost: what is in hand is tried again in the next turn, or claimed by another stand-in.
                log.warning("store unavailable", cause=str(error.__cause__))

    def stop(self) -> None:
        """Begin nothing more, and hand back what is not over, uncounted: another stand-in goes on where it was."""
        self._stopped = True
        with self._lock:
            for request in [act.request for act in self._acts.values()]:
                self._requests.hand_back(request.id, request.attempt)
            self._acts.clear()

    def _renew(self) -> None:
        if time.monotonic() < self._renewed + self._heartbeat:
            return
        self._renewed = time.monotonic()
        verdicts = self._requests.renew([act.mark for act in self._acts.values()])
        for id, verdict in verdicts.items():
            self._acts[id].verdict = verdict
        # Another stand-in's by now, or ended: nothing is left to be written.
        self._acts = {id: act for id, act in self._acts.items() if act.verdict is not Verdict.LOST}

    def _take(self) -> None:
        for _ in range(0 if self._stopped else AT_ONCE):
            request = self._requests.claim(self._id, idle=True, test=True)
            if request is None:
                return
            self._begin(request)

    def _begin(self, request: Request) -> None:
        try:
            self._acts[request.id] = Act.of(request)
        except (TintypeError, KeyError, TypeError) as error:
            # Submitted by another version, whose catalogue or prompts differ from ours.
            log.warning("request not understood", request=request.id, exc_info=error)
            self._requests.fail(request.id, request.attempt, "this server no longer runs that request", 500)

    def _finish(self, act: Act) -> None:
        if self._stopped:
            return
        own = act.request.id, act.request.attempt
        try:
            self._end(act, *own)
        except StoreUnavailable:
            raise
        except TintypeError as error:
            self._requests.fail(*own, error.message, error.status)
        except Exception as error:
            log.exception("the stand-in failed", request=act.request.id, error=type(error).__name__)
            self._requests.retry(*own, TRIED_AGAIN)
        self._acts.pop(act.request.id, None)

    def _end(self, act: Act, id: str, attempt: int) -> None:
        """As a worker ends a request: every way out is the store's own."""
        failing = act.script.failing
        if act.verdict is Verdict.CANCEL:
            self._requests.fail(id, attempt, CANCELLED.error, CANCELLED.status)
        elif act.request.counted <= act.script.retries:
            self._requests.retry(id, attempt, TRIED_AGAIN)
        elif failing is None:
            self._requests.complete(id, attempt, self._result(act))
        elif failing.tried:
            self._requests.retry(id, attempt, failing.error)
        else:
            self._requests.fail(id, attempt, failing.error, failing.status)

    def _result(self, act: Act) -> dict[str, Any]:
        """Files, and the result that names them; without a recipe, as there is nothing to make again."""
        wanted, slug = act.order, act.request.slug
        size = output_size(wanted, self._source_size(wanted.image))
        drawn = ((draw(slug, wanted.prompt, seed, *size), seed) for seed in wanted.seeds)
        pictures = [encoded(wanted, picture, seed).keep(self._outputs, wanted.format) for picture, seed in drawn]
        made = {"pictures": pictures, "format": wanted.format, "seed": wanted.seed, "recipe": None}
        # The scripted time: what is measured would differ from run to run.
        return made | {"inference_time": act.script.processing}

    def _source_size(self, image: str) -> tuple[int, int] | None:
        """Width and height of the input picture; None when the order has none."""
        if image.startswith(STORED):
            return check(self._inputs.get(image.removeprefix(STORED)), self._max_pixels)
        if sample := sample_path(image):
            return _sample_size(sample)
        return ELSEWHERE if image else None


@cache
def _sample_size(path: str) -> tuple[int, int]:
    """Of a sample; kept, as drawing one takes a third of a second."""
    data = draw_sample(path)
    return check(data, len(data) * 8)
