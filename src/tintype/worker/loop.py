"""The worker's main loop: claim, drop, start, step, finish, release."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog
import torch

from tintype.core import GenerationParams
from tintype.diffusion.image_state import ImageState
from tintype.engine import Engine
from tintype.errors import PictureNotFinite, StoreUnavailable, TintypeError
from tintype.media.network import Cancellation
from tintype.running import Phase, RunningRequest, refuse
from tintype.store.db.records import Request
from tintype.store.queue.claim import MAX_BUNCH, Claim
from tintype.store.store import Store
from tintype.telemetry.metrics import Stage
from tintype.telemetry.traces import NO_TRACES, Tracing
from tintype.worker.inputs import Images, Inputs
from tintype.worker.models import ModelPool, Preloader
from tintype.worker.outputs import Outputs
from tintype.worker.plan import Running, plan
from tintype.worker.requests import Admission, ClaimTimer, InHand, RunningRequests
from tintype.worker.timings import Timings

log = structlog.get_logger()

#: Seconds for which running images wait while further requests are claimed, and while they are started.
MAX_PAUSE = 0.05
#: What reading the parameters of another version's request raises.
UNREADABLE = (TintypeError, KeyError, TypeError)
#: Min seconds between polls for models to load.
PRELOADS = 2.0
#: Seconds for the last uploads, once a stopping worker's grace is over.
LAST_UPLOADS = 2.0


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """Its name, its limits, and its times in seconds."""

    id: str
    #: At the same time, or one request's more.
    max_images: int
    #: Of a forward pass.
    max_rows: int
    #: Between polls of the queue, unless woken.
    poll: float
    #: For what runs when it is stopped.
    grace: float
    #: Between heartbeats while anything is in hand.
    heartbeat: float = 5.0
    #: After which a request that was left to another worker may be claimed here.
    warm_wait: float = 0.0
    #: Slugs of models that are loaded at the start.
    pinned: frozenset[str] = frozenset()
    #: Process without which this worker ends; None for one that was started by hand.
    parent: int | None = None


class Worker:
    """Claims requests, steps them together, and uploads each when its images are finished."""

    def __init__(
        self,
        store: Store,
        models: ModelPool,
        inputs: Inputs,
        outputs: Outputs,
        config: WorkerConfig,
        tracing: Tracing = NO_TRACES,
    ) -> None:
        self.store = store
        self.models = models
        self.inputs = inputs
        self.outputs = outputs
        self.config = config
        self.engine = Engine(config.max_rows)
        self.admission = Admission(config.max_images, config.max_rows)
        self.timings = Timings(config.id, tracing)
        #: Set when there is something to report that the last heartbeat didn't: a claim, say.
        self.news = threading.Event()
        seconds = max(PRELOADS, config.heartbeat)
        self.preloader = Preloader(
            config.id, models, store.ops.preloads, config.pinned, interval=seconds, on_change=self.news.set
        )
        self.timer = ClaimTimer(config.poll, config.warm_wait)
        self.requests = RunningRequests(store.leases, self.engine, self.admission, outputs.breaker, self.timer)
        #: Requests by id; other threads iterate over a copy.
        self.running = self.requests.running
        self._claiming = True
        #: When the worker must have left.
        self._deadline = math.inf
        outputs.breaker.on_recovery = self._recovered

    def stop(self, grace: float | None = None) -> None:
        """Claim no more; finish what runs within `grace` seconds, the configured ones unless given; hand back the rest.

        Stopped again, the earlier end counts.
        """
        self._deadline = min(self._deadline, time.monotonic() + (self.config.grace if grace is None else grace))
        self.drain()

    def signalled(self) -> None:
        """Stop; at a second signal, hand back immediately what runs."""
        self.stop(None if self._deadline == math.inf else 0.0)

    def drain(self) -> None:
        """Claim no more, and finish what runs."""
        self._claiming = False
        self.timer.arrived.set()

    def told(self) -> None:
        """Learn soon whether it is to leave, or to load a model. From any thread."""
        self.news.set()
        self.preloader.wake()
        self.timer.arrived.set()

    def run(self) -> None:
        """Work until stopped or drained."""
        with torch.inference_mode():
            while self._claiming or (self.running and time.monotonic() < self._deadline):
                self.turn()
                if not self.engine.live:
                    self.timer.rest(claiming=self._claiming)
            self._leave()

    def _recovered(self) -> None:
        """The storage can be used again."""
        self.news.set()
        self.timer.wake()

    def turn(self) -> None:
        """Bring everything one step further."""
        fetched = [one for one in self.running.values() if one.can_plan]
        self.claim()
        self.requests.drop_unwanted(fetched)  # what was claimed just now is wanted
        self.requests.drop()
        self.start()
        self.requests.make_way()
        self.finish(self.engine.step())
        self.release()
        self.preloader.poll()
        self._exclude_loads()

    def claim(self) -> None:
        """Claim requests while there is room, and fetch their input images."""
        if not self._claiming or self.timer.until_next() > 0:
            return
        began = time.monotonic()
        self.timer.polls()
        if self.outputs.breaker.open:
            return
        try:
            claimed = MAX_BUNCH
            while claimed == MAX_BUNCH:
                in_hand = [*map(InHand.of, self.running.values())]
                bunch = self.store.leases.claim_bunch(partial(self._next_claim, in_hand, began))
                claimed = len(bunch)
                for request in bunch:
                    self._accept(request)
                if self._paused_since(began):
                    self.timer.wake()
                    break
        except StoreUnavailable:
            pass  # it polls again

    def _next_claim(self, in_hand: list[InHand], began: float, last: Request | None) -> Claim | None:
        """What to claim next; None without room, and where running images have waited long enough.

        in_hand: what runs, to which the bunch's last request is added.
        """
        if last is not None:
            in_hand.append(self._as_in_hand(last))
        if not self.admission.can_claim(in_hand) or (last and self._paused_since(began)):
            return None
        return Claim(
            worker=self.config.id,
            idle=not in_hand,
            loaded=frozenset(self.preloader.loaded),
            passing_over=self.admission.full_accounts(in_hand),
        )

    def _as_in_hand(self, request: Request) -> InHand:
        """A request that isn't running yet; one that can't be read will be refused."""
        try:
            params = self._params(request)
            return InHand(request.account_id, params.count, request.retries > 0, fetching=bool(params.inputs))
        except Exception:  # noqa: BLE001 - raised here, it would undo the claim: an attempt that no one counts
            return InHand(request.account_id, 0, alone=False, fetching=False)

    def _params(self, request: Request) -> GenerationParams:
        """Raises UNREADABLE for a request of another version, whose models or parameters differ from this one's."""
        spec = self.models.catalogue.find(request.slug)
        return request.generation or spec.read(request.params)

    def _paused_since(self, began: float) -> bool:
        """Whether running images have waited since then for as long as they may."""
        return bool(self.engine.live) and time.monotonic() > began + MAX_PAUSE

    def start(self) -> None:
        """Plan the requests whose input images are there; start those for which memory has room."""
        drawing, began = bool(self.engine.live), time.monotonic()
        for one in list(self.running.values()):
            if one.can_plan or one.phase is Phase.WAITING_FOR_MEMORY:
                self._start(one)
                if drawing and time.monotonic() > began + MAX_PAUSE:
                    break

    def finish(self, ended: Sequence[ImageState]) -> None:
        """Decode finished images; upload the requests whose last image this was."""
        self.requests.drop_unwanted([one for one in self.running.values() if not {*one.images}.isdisjoint(ended)])
        moment = time.monotonic()
        for image in ended:
            one = next((one for one in self.running.values() if image in one.images), None)
            if one is None:
                continue  # it was cancelled, or another image of it failed in this very step
            self.timings.note(one.request, Stage.DENOISE, one.joined, moment, image.error)
            try:
                self._finish(one, image)
            except PictureNotFinite as error:
                self._start_over(one, error)
            except Exception as error:  # noqa: BLE001 - one request's failure is that request's alone
                self.requests.fail(one, error)

    def release(self) -> None:
        """Let go of the requests whose result is written; and of all that isn't uploading where the storage is shut."""
        for one in list(self.running.values()):
            if one.uploaded and one.uploaded.done():
                if error := one.uploaded.exception():
                    self.requests.fail(one, error)
                else:
                    self.requests.forget(one)
        if self.outputs.breaker.open:  # for workers whose storage answers, or for later
            self.requests.hand_back()

    def _accept(self, request: Request) -> None:
        try:
            params = self._params(request)
        except UNREADABLE as error:
            with suppress(StoreUnavailable):  # its lease runs out, then
                refuse(self.store.leases, request, error)
            self.timer.wake()  # there is room for another
            return
        self.timings.queued(request)
        cancellation = Cancellation()
        fetched = self._fetch(request, params, cancellation)
        fetched.add_done_callback(lambda _: self.timer.arrived.set())
        self.running[request.id] = RunningRequest(request, params, fetched, cancellation)
        self.news.set()

    def _fetch(self, request: Request, params: GenerationParams, cancellation: Cancellation) -> Future[Images]:
        """Its input images; without any, done immediately: text to image waits for no other request's."""
        if not params.inputs:
            nothing: Future[Images] = Future()
            nothing.set_result(self.timings.run(request, Stage.FETCH, lambda: {}))
            return nothing

        def run(work: Callable[[], Images]) -> Images:
            with self.outputs.breaker.guarding():  # an input image may lie in the storage, too
                return self.timings.run(request, Stage.FETCH, work)

        limit = partial(self.store.leases.pixel_limit, request.key_id)
        return self.inputs.submit(params, request.account_id, limit, cancellation, run)

    def _start(self, one: Running) -> None:
        try:
            if one.phase is Phase.FETCHING:
                self.outputs.safety.expect(one.request.safety)
                self.outputs.marker.expect()
                one.wait_for_memory(plan(one, self.models))
                self._exclude_loads(one)
            if self.admission.may_start(one.request.id, one.plan.estimate):
                began = time.monotonic()
                one.denoise(one.plan.begin(), began)
                for image in one.images:
                    self.engine.add(image, exact=one.params.exact)
                self._exclude_loads(one)
                one.join(time.monotonic())
                self.timings.note(one.request, Stage.ENCODE, one.began, one.joined)
        except Exception as error:  # noqa: BLE001 - one request's failure is that request's alone
            self.requests.fail(one, error)

    def _finish(self, one: Running, image: ImageState) -> None:
        if image.latents is None:
            raise image.error or RuntimeError("an image ended without latents")
        began = time.monotonic()
        complete = one.finish(image, image.family.autoencoder.decode(image.latents, exact=image.exact))
        began += self._exclude_loads(one)
        self.timings.note(one.request, Stage.DECODE, began, time.monotonic())
        if complete:
            seconds = time.monotonic() - one.began
            self.admission.leave(one.request.id)
            self.preloader.tell()  # before any caller can know that this is done, and send the next
            uploaded = self.outputs.submit(one, seconds, self.timings)
            one.upload(uploaded)
            uploaded.add_done_callback(lambda _: self.timer.arrived.set())

    def _start_over(self, one: Running, error: PictureNotFinite) -> None:
        """Once more in float32, whose sums overflow later; if it was in float32, it fails."""
        if one.in_float32 or one.plan.loaded.dtype == "float32":
            self.requests.fail(one, error)
            return
        log.warning("not finite; beginning again in float32", request=one.request.id)
        self.requests.withdraw(one)
        one.start_over()

    def _exclude_loads(self, loaded_for: Running | None = None) -> float:
        """Exclude the seconds spent on loading weights since the last call from billing; returns them."""
        seconds, moment = self.models.waited(), time.monotonic()
        if loaded_for is not None and seconds:
            self.timings.note(loaded_for.request, Stage.LOAD, moment - seconds, moment)
        for one in self.running.values():
            one.exclude(seconds, own=one is loaded_for)
        return seconds

    def _leave(self) -> None:
        """Hand back what runs, and after LAST_UPLOADS what waits for a storage."""
        wait([one.uploaded for one in self.running.values() if one.uploaded], LAST_UPLOADS)
        self.release()
        self.requests.hand_back(uploading=True)
        self.outputs.close()
