"""The worker's main loop."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

import structlog
import torch

from tintype.catalog.catalogue import Catalogue
from tintype.diffusion.image_state import ImageState
from tintype.engine import Engine
from tintype.errors import PictureNotFinite, StoreUnavailable, TintypeError
from tintype.media.decoder import Decoded
from tintype.store.db.records import Request
from tintype.store.queue.requests import Requests
from tintype.telemetry.metrics import Stage
from tintype.telemetry.traces import NO_TRACES, Tracing
from tintype.worker.admission import Admission
from tintype.worker.drafts import draft
from tintype.worker.endings import Endings
from tintype.worker.inputs import Inputs
from tintype.worker.models import ModelPool
from tintype.worker.outputs import Outputs
from tintype.worker.preload import Preloader
from tintype.worker.task import RunningRequest
from tintype.worker.timings import Timings

log = structlog.get_logger()


#: Seconds for which what is being drawn waits while further requests are claimed, and while they are begun.
TAKING = 0.05
#: Seconds that pictures which are being delivered have, once a stopping worker's grace is over.
PARTING = 2.0


class Worker:
    """Takes requests, steps them together, retires each when its pictures are done."""

    def __init__(
        self,
        worker_id: str,
        requests: Requests,
        catalogue: Catalogue,
        models: ModelPool,
        pictures: Inputs,
        delivery: Outputs,
        engine: Engine,
        warming: Preloader,
        *,
        max_pictures: int,
        poll: float,
        grace: float,
        warm_wait: float = 0.0,
        tracing: Tracing = NO_TRACES,
    ) -> None:
        self.id = worker_id
        self.requests = requests
        self.catalogue = catalogue
        self.models = models
        self.pictures = pictures
        self.delivery = delivery
        self.outlet = delivery.outlet
        self.engine = engine
        self.warming = warming
        self.admission = Admission()
        self.max_pictures = max_pictures
        self.poll = poll
        #: Seconds after which a request that was left to another worker may be claimed here.
        self.warm_wait = warm_wait
        self.grace = grace
        self.stages = Timings(worker_id, tracing)
        self.tasks: dict[str, RunningRequest] = {}
        self.endings = Endings(requests, self.tasks, engine, self.admission, self.outlet, freed=self.look)
        self.outlet.when_opened(self.look)
        self._delivering = ThreadPoolExecutor(4, thread_name_prefix="deliver")
        self._wake = threading.Event()
        #: When it last looked for requests, and when it was last called to look.
        self._looked = self._called = 0.0
        self._taking = True
        #: When the worker must have left.
        self._deadline = math.inf

    def stop(self) -> None:
        """Take nothing more; go on with what is running for at most `grace` seconds, then hand it back."""
        self._deadline = min(self._deadline, time.monotonic() + self.grace)
        self.drain()

    def signalled(self) -> None:
        """Stop as a signal asks; at a second one, hand back at once what is running."""
        if self._deadline < math.inf:
            self.grace = 0.0
        self.stop()

    def drain(self) -> None:
        """Take nothing more; go on with what is running until it has ended."""
        self._taking = False
        self._wake.set()

    def look(self) -> None:
        """Look for requests at once: there may be one, or room for one."""
        self._called = time.monotonic()
        self._wake.set()

    def run(self) -> None:
        """Work until stopped or drained."""
        with torch.inference_mode():
            while self._going():
                self.turn()
                self._rest()
            self._part()

    def turn(self) -> None:
        """Bring everything one step further."""
        self.take()
        self.endings.spare([task for task in self._ready() if task.draft is None])
        self.endings.drop()
        self.begin()
        self.endings.pass_on()
        ended = self.engine.step()
        self.endings.spare([task for task in self.tasks.values() if not {*task.pictures}.isdisjoint(ended)])
        self.retire(ended)
        self.land()
        if self.outlet.shut:  # for workers whose way to the storage is open, or for later
            self.endings.hand_back()
        self.warming.look()
        self._stand_still()

    def take(self) -> None:
        """Claim requests while there is room, and start fetching their pictures."""
        if not self._taking or self._until_next_look() > 0:
            return
        self._looked = time.monotonic()
        if self.outlet.shut:
            return
        try:
            while self._has_room() and (request := self._claim()):
                self._accept(request)
                if self.engine.live and time.monotonic() > self._looked + TAKING:
                    self.look()
                    break
        except StoreUnavailable:
            pass  # it looks again

    def begin(self) -> None:
        """Let the tasks whose input picture has arrived join the engine, as far as there is room for them."""
        drawing, began = bool(self.engine.live), time.monotonic()
        for task in self._ready():
            self._begin(task)
            if drawing and time.monotonic() > began + TAKING:
                break

    def retire(self, ended: list[ImageState]) -> None:
        """Decode finished pictures; deliver the tasks whose last picture this was."""
        moment = time.monotonic()
        for picture in ended:
            task = next((task for task in self.tasks.values() if picture in task.pictures), None)
            if task is None:
                continue  # a sibling failed in this very step, or nobody wants it any more
            self.stages.note(task.request, Stage.DENOISE, task.joined, moment, picture.error)
            try:
                self._retire(task, picture)
            except PictureNotFinite as error:
                self.endings.once_more(task, error)
            except Exception as error:  # noqa: BLE001 - one request's failure is that request's alone
                self.endings.give_up(task, error)

    def land(self) -> None:
        """Let go of the tasks whose result is written."""
        for task in list(self.tasks.values()):
            if task.delivery is None or not task.delivery.done():
                continue
            if error := task.delivery.exception():
                self.endings.give_up(task, error)
            self.endings.forget(task)

    def _part(self) -> None:
        """Hand back what is left, also what waits for a storage: whoever stops this worker won't wait for that."""
        wait([task.delivery for task in self.tasks.values() if task.delivery], PARTING)
        self.land()
        self.endings.hand_back(delivering=True)
        self._delivering.shutdown(wait=False, cancel_futures=True)

    def _claim(self) -> Request | None:
        return self.requests.claim(
            self.id, idle=not self.tasks, loaded=self.warming.loaded, passing_over=self._passed_over()
        )

    def _passed_over(self) -> list[str]:
        """Accounts that have their share in hand, or input images in half of it, which take their time."""
        waiting = self._in_hand(task for task in self.tasks.values() if not task.fetched.done())
        return [
            account
            for account, pictures in self._in_hand(self.tasks.values()).items()
            if pictures >= self._share or waiting[account] >= self.max_pictures / 2
        ]

    def _in_hand(self, tasks: Iterable[RunningRequest]) -> Counter[str]:
        """Pictures by account."""
        pictures: Counter[str] = Counter()
        for task in tasks:
            pictures[task.request.account_id] += task.order.count
        return pictures

    @property
    def _share(self) -> int:
        """Pictures that one account has in hand at most, or one request's more.

        A quarter of the places is for who comes next; but nobody alone here shall have forward passes that aren't full.
        """
        return max(self.max_pictures * 3 // 4, self.engine.max_rows)

    def _accept(self, request: Request) -> None:
        try:
            task = RunningRequest(request, self.catalogue.find(request.slug))
        except (TintypeError, KeyError, TypeError) as error:
            self.endings.not_understood(request, error)
            return
        self.stages.queued(request)
        task.fetched = self._fetched(task)
        task.fetched.add_done_callback(lambda _: self._wake.set())
        self.tasks[request.id] = task

    def _fetched(self, task: RunningRequest) -> Future[Decoded | None]:
        """Its input image on the way; there already where it has none: text-to-image waits for nobody's."""
        request, order = task.request, task.order
        if not order.source:
            nothing: Future[Decoded | None] = Future()
            nothing.set_result(self.stages.run(request, Stage.FETCH, lambda: None))
            return nothing
        limit = partial(self.requests.pixel_limit, request.key_id)
        run = partial(self.stages.run, request, Stage.FETCH)
        return self.pictures.submit(order, request.account_id, limit, task.cancellation, partial(self._using, run))

    def _using(self, run: Callable[[Callable[[], Decoded]], Decoded], work: Callable[[], Decoded]) -> Decoded:
        """An input picture may lie in the storage too."""
        with self.outlet.used():
            return run(work)

    def _ready(self) -> list[RunningRequest]:
        return [task for task in self.tasks.values() if not task.pictures and task.fetched.done()]

    def _begin(self, task: RunningRequest) -> None:
        try:
            if task.draft is None:
                self.delivery.guard.expect(task)
                task.draft = draft(task, self.models)
                self._stand_still(task)
            if self.admission.may_begin(task.request.id, task.draft.demand):
                task.began = time.monotonic()
                task.pictures = [task.loaded.family.begin(job) for job in task.draft.jobs]
                for picture in task.pictures:
                    self.engine.add(picture, alone=task.order.exact)
                self._stand_still(task)
                task.joined = time.monotonic()
                self.stages.note(task.request, Stage.ENCODE, task.began, task.joined)
        except Exception as error:  # noqa: BLE001 - one request's failure is that request's alone
            self.endings.give_up(task, error)

    def _stand_still(self, loaded_for: RunningRequest | None = None) -> float:
        """Nobody pays by the second for weights that were loaded since this was last asked; returns those seconds."""
        seconds, moment = self.models.waited(), time.monotonic()
        if loaded_for is not None and seconds:
            loaded_for.cold_start += seconds
            self.stages.note(loaded_for.request, Stage.LOAD, moment - seconds, moment)
        for one in self.tasks.values():
            one.began += seconds
            one.joined += seconds
        return seconds

    def _retire(self, task: RunningRequest, picture: ImageState) -> None:
        if picture.latents is None:
            raise picture.error or RuntimeError("a picture ended without latents")
        began = time.monotonic()
        task.pixels[task.pictures.index(picture)] = picture.family.finish(picture.latents)
        began += self._stand_still(task)
        self.stages.note(task.request, Stage.DECODE, began, time.monotonic())
        if task.finished:
            seconds = time.monotonic() - task.began
            self.admission.leave(task.request.id)
            self.warming.tell()  # before anybody can know that this is done, and ask for the next
            task.delivery = self._delivering.submit(
                self.stages.run, task.request, Stage.DELIVER, self.delivery.deliver, task, seconds
            )
            task.delivery.add_done_callback(lambda _: self._wake.set())

    def _has_room(self) -> bool:
        waits = self.admission.closed or any(task.alone for task in self.tasks.values())
        pictures = self._in_hand(self.tasks.values()).values()
        return not waits and sum(min(of_account, self._share) for of_account in pictures) < self.max_pictures

    def _going(self) -> bool:
        return self._taking or (bool(self.tasks) and time.monotonic() < self._deadline)

    def _rest(self) -> None:
        """Sleep while there is nothing to step, until something arrives or it is time to look again."""
        if not self.engine.live:
            self._wake.wait(self._until_next_look() if self._taking else self.poll)
            self._wake.clear()

    def _until_next_look(self) -> float:
        """Seconds until it looks: when called, again when what it left to others then is anybody's, and by itself."""
        moments = (self._called, self._called + self.warm_wait, self._looked + self.poll)
        return max(0.0, min(moment for moment in moments if moment > self._looked) - time.monotonic())
