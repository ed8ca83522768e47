"""A worker among others: it leaves requests to those that have their models, and gives back what it has no room for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select
from tests.acceptance.harness import until
from tests.databases import asked, statements
from tests.integration.website import Website, serving
from tests.stores import new_request, store_on
from tests.toy_weights import TRANSFORMER, toy_weights

from tintype.catalog.models import SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.catalog.spec import Catalogue
from tintype.checkpoints.weights import WeightsSpec
from tintype.core import WorkerReport
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.errors import StorageUnavailable, StoreUnavailable
from tintype.media.storage import Storage
from tintype.running import Phase
from tintype.store.accounts.keys import Key
from tintype.store.db.records import CANCELLED, LeaseStatus, Request, Status
from tintype.store.db.tables import requests
from tintype.telemetry.metrics import STAGE_SECONDS, Stage
from tintype.worker.inputs import PLACES, Inputs
from tintype.worker.loop import Worker, WorkerConfig
from tintype.worker.models import ModelPool
from tintype.worker.outputs import Outputs, SafetyFilter
from tintype.worker.plan import image_specs
from tintype.worker.requests import GIVE_WAY, OVERDUE_AFTER, Admission

ONE = SD35_TURBO_TXT2IMG
#: The same, with weights of its own.
OTHER = replace(ONE, slug="another")
ASKED = {"prompt": "a fox", "width": 128, "height": 128, "steps": 3, "guidance_scale": 1}
ENDLESS = 2**40
NEVER = 3600.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("placement")) as website:
        yield website


@pytest.fixture(scope="module")
def models(weights: Path, folder: Callable[..., Path]) -> ModelPool:
    deeper = folder("deeper", "sd3", transformer=("SD3Transformer2DModel", TRANSFORMER | {"num_layers": 3}))
    own = {ONE.slug: WeightsSpec(toy_weights("sd3", weights)), OTHER.slug: WeightsSpec(deeper)}
    return ModelPool("cpu", "float32", 32, own, memory=DeviceMemory(ENDLESS))


@pytest.fixture
def worker(site: Website, models: ModelPool) -> Iterator[Worker]:
    """Looks for requests when it is called, and tells what it has when a picture is done; else never."""
    own, models.catalogue = site.own, Catalogue([ONE, OTHER])
    store = store_on(own.store.db, lease=60, retention=60, warm_wait=0.2)
    outputs = Outputs(store.leases, own.files.outputs, SafetyFilter(None), with_recipe=False)
    times = {"poll": NEVER, "heartbeat": NEVER, "grace": 1.0, "warm_wait": 0.2}
    config = WorkerConfig(id="w1", max_images=4, max_rows=16, **times)
    with Inputs.from_settings(own.runtime.settings) as inputs:
        one = Worker(store, models, inputs, outputs, config)
        one.preloader.poll()
        yield one


@pytest.fixture(autouse=True)
def nothing_is_left(site: Website) -> Iterator[None]:
    """For the next test to find."""
    yield
    with site.own.store.db.read() as view:
        columns = requests.c.id, requests.c.account_id, requests.c.attempt
        live = view.execute(select(*columns).where(requests.c.ended_at.is_(None))).all()
    for id, account, _ in live:
        site.own.store.queue.cancel(id, account)
    site.own.store.leases.end_cancelled([(id, attempt) for id, _, attempt in live])


def submit(site: Website, slug: str, key: Key | None = None, **params: int) -> Request:
    return site.own.store.queue.submit(new_request(key or site.key, slug, ONE.validate(ASKED | params)[0], 1, steps=3))


def found(site: Website, request: Request) -> Request:
    return site.own.store.queue.find(request.id, site.account_id)


def another(site: Website, *loaded: str, budget: int = ENDLESS) -> None:
    """A second worker that is alive and idle."""
    site.own.store.ops.workers.heartbeat("w2", "cpu", 0, 0, report=WorkerReport(memory={"budget": budget}))
    site.own.store.ops.preloads.note("w2", loaded)


def test_what_was_left_to_another_is_looked_for_again_when_that_had_its_time(site: Website, worker: Worker) -> None:
    """One call, as the bell's, is enough, however seldom it looks by itself."""
    another(site, ONE.slug)
    thread = threading.Thread(target=worker.run)
    thread.start()
    request = submit(site, ONE.slug)
    worker.timer.wake()
    until(lambda: found(site, request).ended)
    worker.drain()
    thread.join()
    assert found(site, request).status is Status.COMPLETED
    assert found(site, request).lease.worker == "w1"
    loaded = {
        slug: [one.loaded for one in site.own.store.ops.preloads.of(slug, ["w1"])] for slug in (ONE.slug, OTHER.slug)
    }
    assert loaded == {ONE.slug: [True], OTHER.slug: []}, "told with the result, not some time after it"


def test_whether_it_was_cancelled_is_asked_before_it_is_decoded_and_not_just_after_its_claim(
    site: Website, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    ask = worker.store.leases.cancelled
    monkeypatch.setattr(worker.store.leases, "cancelled", lambda ids: asked.append(ids) or ask(ids))
    request = submit(site, ONE.slug)
    worker.timer.wake()
    with torch.inference_mode():
        worker.turn()
        assert (worker.running[request.id].phase, asked) == (Phase.DENOISING, [])
        until(lambda: worker.turn() or found(site, request).ended)
    assert asked == [[request.id]]


def test_what_has_no_room_is_given_to_a_worker_that_is_idle_and_large_enough(
    site: Website, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(worker.admission, "_clock", clock)
    monkeypatch.setattr("tintype.worker.requests.ASK_AGAIN", 0)
    site.own.store.ops.workers.remove("w2")
    running, waiting = submit(site, ONE.slug), submit(site, OTHER.slug)
    claim(worker)
    needed = draft(worker, waiting)
    monkeypatch.setattr(worker.models.memory, "budget", needed)
    worker.start()
    assert [bool(task.images) for task in worker.running.values()] == [True, False]

    another(site)
    worker.requests.make_way()
    assert waiting.id in worker.running, "it may have room here any moment"
    clock.now += OVERDUE_AFTER + 1
    another(site, budget=needed - 1)
    worker.requests.make_way()
    assert waiting.id in worker.running, "the other could never draw it"
    another(site)
    worker.requests.make_way()
    assert [*worker.running] == [running.id]
    assert (found(site, waiting).status, found(site, waiting).attempts) == (Status.QUEUED, 0)

    claim(worker)
    assert [*worker.running] == [running.id], "it is the other's, which does not want it"
    clock.now += GIVE_WAY
    claim(worker)
    worker.start()
    clock.now += OVERDUE_AFTER + 1
    worker.requests.make_way()
    assert [*worker.running] == [running.id, waiting.id], "once is enough"
    worker.requests.hand_back()


def test_what_met_an_absent_database_is_not_to_blame(site: Website, worker: Worker) -> None:
    request = submit(site, ONE.slug)
    claim(worker)
    worker.requests.fail(worker.running[request.id], StoreUnavailable())
    assert request.id not in worker.running
    assert (found(site, request).status, found(site, request).attempts) == (Status.QUEUED, 0)
    worker.requests.hand_back()


def test_input_images_that_take_their_time_fill_half_of_a_worker(site: Website, worker: Worker) -> None:
    """However many one account asks for, and not with its text-to-image; and they stop with their requests."""
    while left := site.own.store.leases.claim("w0", idle=True):  # by other tests
        site.own.store.leases.fail(left.id, left.attempt, "cancelled", 499)
    begun, over = threading.Semaphore(0), threading.Event()

    def slow(_: ExitStack) -> None:
        begun.release()
        over.wait(60)

    for _ in range(PLACES // 2):
        worker.inputs._fetching.submit(site.account_id, slow)
        begun.acquire()
    other = site.own.store.accounts.create("two", 1_000_000).id
    key, _ = site.own.store.accounts.keys.create(other, "key")
    worker.models.catalogue = Catalogue([ONE, OTHER, SD15_IMG2IMG])
    asked = SD15_IMG2IMG.validate({"prompt": "a fox", "image": "/sd-img2img-input.jpeg"})[0]
    images = [
        site.own.store.queue.submit(new_request(site.key, SD15_IMG2IMG.slug, asked, 1, steps=3)) for _ in range(4)
    ]
    worker.timer.wake()
    worker.claim()
    assert [*worker.running] == [image.id for image in images[:2]]
    text = site.own.store.queue.submit(new_request(key, ONE.slug, ONE.validate(ASKED)[0], 1, steps=3))
    worker.timer.wake()
    worker.claim()
    assert [*worker.running] == [images[0].id, images[1].id, text.id]
    assert [task.fetched.done() for task in worker.running.values()] == [False, False, True]
    futures = [task.fetched for task in worker.running.values()]
    worker.requests.hand_back()
    assert [future.cancelled() for future in futures] == [True, True, False]
    over.set()
    for request in images:
        site.own.store.queue.cancel(request.id, site.account_id)
    site.own.store.queue.cancel(text.id, other)


def test_what_was_cancelled_is_not_worked_on(site: Website, worker: Worker) -> None:
    """Neither begun nor decoded, and no heartbeat has told of it: none beats here."""
    first, second = submit(site, ONE.slug), submit(site, ONE.slug)
    claim(worker)
    site.own.store.queue.cancel(first.id, site.account_id)
    with torch.inference_mode():
        worker.turn()
        assert [*worker.running] == [second.id]
        assert worker.engine.rows == 1
        while worker.engine.rows < 3:
            worker.turn()
            if worker.engine.rows == 2:
                site.own.store.queue.cancel(second.id, site.account_id)
    assert worker.running == {}
    assert STAGE_SECONDS.key(ONE.slug, Stage.DECODE) not in worker.timings.counts()
    ends = [(found(site, one).status, found(site, one).error) for one in (first, second)]
    assert ends == [(Status.FAILED, CANCELLED.error)] * 2


def test_who_is_being_drawn_does_not_wait_for_all_that_are_claimed(
    site: Website, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tintype.worker.loop.MAX_PAUSE", 0.0)
    submit(site, ONE.slug)
    claim(worker)
    with torch.inference_mode():
        worker.start()
    waiting = [submit(site, ONE.slug) for _ in range(3)]
    worker.timer.wake()
    for claimed in (1, 2, 3):
        assert worker.timer.until_next() == 0
        worker.claim()
        assert len(waiting) - [found(site, one).status for one in waiting].count(Status.QUEUED) == claimed
    for begun in (2, 3, 4):
        with torch.inference_mode():
            worker.start()
        assert len(worker.engine.live) == begun
    worker.requests.hand_back()


def test_a_request_that_a_worker_can_do_nothing_with_has_an_attempt_less(
    site: Website, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong when its parameters are read: else it would always be the first in the queue."""
    clear(site)
    request, _ = submit(site, ONE.slug), submit(site, ONE.slug)

    def fail(_: Request) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker, "_params", fail)
    with pytest.raises(ZeroDivisionError):
        claim(worker)
    assert found(site, request).attempt == 1


def test_a_worker_with_room_claims_several_in_one_transaction(site: Website, worker: Worker) -> None:
    clear(site)
    waiting = [submit(site, ONE.slug) for _ in range(6)]
    with statements(worker.store.db) as said:
        claim(worker)
    assert [*worker.running] == [one.id for one in waiting[:4]]
    assert len(asked(said)) == 1 + 3 * 4
    assert len([one for one, _ in said if one.startswith("BEGIN IMMEDIATE")]) == 1
    worker.requests.hand_back()


class Clock:
    """Says what it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def claim(worker: Worker) -> None:
    """Have it look for requests, and wait for their input pictures, of which there are none."""
    worker.timer.wake()
    worker.claim()
    until(lambda: all(task.fetched.done() for task in worker.running.values()))


def draft(worker: Worker, request: Request) -> int:
    """Bytes that a claimed request needs by itself; here it has more than the other, being the deeper one."""
    params = worker.running[request.id].params
    [spec, *_], _ = image_specs(params, {}, (params.width, params.height), None)
    return worker.models.get(worker.models.catalogue.find(request.slug)).family.estimate(spec).peak


@pytest.mark.parametrize(("rows", "count", "own", "left"), [(4, 1, 6, 2), (16, 1, 8, 0), (4, 3, 6, 2), (4, 5, 10, 2)])
def test_one_account_leaves_places_to_others(
    site: Website, worker: Worker, rows: int, count: int, own: int, left: int
) -> None:
    """A quarter of them, unless its forward passes could not be full then."""
    clear(site)
    worker.admission = Admission(8, rows)
    stranger, _ = site.own.store.accounts.keys.create(site.own.store.accounts.create("two", 1_000_000).id, "key")
    for _ in range(10):
        submit(site, ONE.slug, batch_size=count)
    claim(worker)
    assert sum(task.params.count for task in worker.running.values()) == own
    others = [submit(site, ONE.slug, stranger) for _ in range(4)]
    claim(worker)
    assert len(worker.running) == own // count + left
    assert sum(request.id in worker.running for request in others) == left
    worker.requests.hand_back()


def clear(site: Website) -> None:
    """Cancel what other tests have left in the queue."""
    with site.own.store.db.read() as view:
        left = view.execute(select(requests.c.id, requests.c.account_id).where(requests.c.ended_at.is_(None))).all()
    for one in left:
        site.own.store.queue.cancel(one.id, one.account_id)


class Hindered:
    """Where pictures are put: `put` does what it is told to first."""

    def __init__(self, place: Storage, first: Callable[[], object]) -> None:
        self._place = place
        self._first = first

    def put(self, data: bytes, suffix: str) -> str:
        self._first()
        return self._place.put(data, suffix)


def refuse() -> None:
    raise StorageUnavailable.because("it answers 413 (EntityTooLarge)")


def test_a_picture_that_alone_is_refused_fails_after_three_attempts(site: Website, worker: Worker) -> None:
    """It would hold up everybody, if its worker paused for it; and be drawn for ever, if that weren't counted."""
    hindered: Any = Hindered(site.own.files.outputs, refuse)
    worker.outputs.storage = hindered
    request = submit(site, ONE.slug)
    until(lambda: turned(worker) and found(site, request).ended)
    ended = found(site, request)
    assert (ended.status, ended.attempt, ended.failure.status) == (Status.FAILED, 3, 500)
    assert ended.error == "the storage of pictures did not take this one"
    assert worker.outputs.breaker.open == ""
    assert site.own.store.accounts.account(site.account_id).held == 0


def test_a_request_is_over_when_it_is_cancelled_however_long_its_storage_says_nothing(
    site: Website, worker: Worker
) -> None:
    answers = threading.Event()
    hindered: Any = Hindered(site.own.files.outputs, lambda: answers.wait(60))
    worker.outputs.storage = hindered
    many = [submit(site, ONE.slug) for _ in range(4)]
    until(lambda: turned(worker) and [bool(task.uploaded) for task in worker.running.values()] == [True] * 4)
    deliveries = [task.uploaded for task in worker.running.values()]
    site.own.store.queue.cancel(many[0].id, site.account_id)
    worker.running[many[0].id].renewed(LeaseStatus.CANCEL)
    worker.turn()
    assert found(site, many[0]).error == CANCELLED.error
    assert many[0].id not in worker.running
    answers.set()
    until(lambda: turned(worker) and all(found(site, one).ended for one in many))
    assert [found(site, one).status for one in many] == [Status.FAILED, *[Status.COMPLETED] * 3]
    until(lambda: all(delivery and delivery.done() for delivery in deliveries))
    assert site.own.store.accounts.account(site.account_id).held == 0


def test_a_worker_that_stops_does_not_wait_for_a_storage_that_says_nothing(
    site: Website, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tintype.worker.loop.LAST_UPLOADS", 0.01)
    answers = threading.Event()
    hindered: Any = Hindered(site.own.files.outputs, lambda: answers.wait(60))
    worker.outputs.storage = hindered
    request = submit(site, ONE.slug)
    until(lambda: turned(worker) and [task for task in worker.running.values() if task.uploaded])
    [delivery] = [task.uploaded for task in worker.running.values() if task.uploaded]
    worker.stop(grace=0)
    worker.run()
    left = found(site, request)
    assert (left.status, left.lease.hand_backs, left.retries) == (Status.QUEUED, 1, 0)
    assert not delivery.done()
    answers.set()
    delivery.result(60)
    assert found(site, request).status is Status.QUEUED, "what arrives late changes nothing"


def turned(worker: Worker) -> bool:
    """Look for requests, and bring everything one step further."""
    worker.timer.wake()
    worker.turn()
    return True
