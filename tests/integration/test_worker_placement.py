"""A worker among others: it leaves requests to those that have their models, and gives back what it has no room for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy import select
from tests.acceptance.harness import until
from tests.integration.website import Website, serving
from tests.toy import TRANSFORMER, toy_weights

from tintype.catalog.catalogue import Catalogue
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.checkpoints.weights import Weights
from tintype.diffusion.memory.plan import Memory
from tintype.diffusion.memory.residency import Residency
from tintype.engine import Engine
from tintype.errors import StoreUnavailable
from tintype.store.records import CANCELLED, Request, Status
from tintype.store.requests import Requests
from tintype.store.tables import requests
from tintype.telemetry.metrics import STAGE_SECONDS, Stage
from tintype.worker.admission import GIVING_WAY, PATIENCE
from tintype.worker.delivery import Delivery
from tintype.worker.guard import Guard
from tintype.worker.jobs import jobs
from tintype.worker.loop import Worker
from tintype.worker.models import Models
from tintype.worker.pictures import Pictures
from tintype.worker.warming import Warming

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
def models(weights: Path, folder: Callable[..., Path]) -> Models:
    deeper = folder("deeper", "sd3", transformer=("SD3Transformer2DModel", TRANSFORMER | {"num_layers": 3}))
    only = Residency(ENDLESS)
    own = {ONE.slug: Weights(toy_weights("sd3", weights)), OTHER.slug: Weights(deeper)}
    return Models("cpu", "float32", 32, own, memory=Memory(only, only))


@pytest.fixture
def worker(site: Website, models: Models) -> Worker:
    """Looks for requests when it is called, and tells what it has when a picture is done; else never."""
    own, catalogue = site.own, Catalogue([ONE, OTHER])
    leases = Requests(own.db, lease=60, retention=60, warm_wait=0.2)
    warming = Warming("w1", catalogue, models, own.warmups, (), interval=NEVER)
    warming.look()
    delivery = Delivery(leases, own.outputs, Guard(None), with_recipe=False)
    parts = (catalogue, models, Pictures.from_settings(own.settings), delivery, Engine(16), warming)
    return Worker("w1", leases, *parts, max_pictures=4, poll=NEVER, grace=1, warm_wait=0.2)


@pytest.fixture(autouse=True)
def nothing_is_left(site: Website) -> Iterator[None]:
    """For the next test to find."""
    yield
    with site.own.db.read() as view:
        live = view.execute(select(requests.c.id, requests.c.attempt).where(requests.c.ended_at.is_(None))).all()
    for id, _ in live:
        site.own.requests.cancel(id, site.account_id)
    site.own.requests.end_cancelled([(id, attempt) for id, attempt in live])


def submit(site: Website, slug: str) -> Request:
    return site.own.requests.submit(site.key, slug, ONE.validate(ASKED)[0], 1, steps=3)


def found(site: Website, request: Request) -> Request:
    return site.own.requests.find(request.id, site.account_id)


def another(site: Website, *loaded: str, budget: int = ENDLESS) -> None:
    """A second worker that is alive and idle."""
    site.own.workers.beat("w2", "cpu", 0, 0, about={"memory": {"budget": budget}})
    site.own.warmups.note("w2", loaded)


def test_what_was_left_to_another_is_looked_for_again_when_that_had_its_time(site: Website, worker: Worker) -> None:
    """One call, as the bell's, is enough, however seldom it looks by itself."""
    another(site, ONE.slug)
    thread = threading.Thread(target=worker.run)
    thread.start()
    request = submit(site, ONE.slug)
    worker.look()
    until(lambda: found(site, request).ended)
    worker.drain()
    thread.join()
    assert found(site, request).status is Status.COMPLETED
    assert found(site, request).worker == "w1"
    loaded = {slug: [one.loaded for one in site.own.warmups.of(slug, ["w1"])] for slug in (ONE.slug, OTHER.slug)}
    assert loaded == {ONE.slug: [True], OTHER.slug: []}, "told with the result, not some time after it"


def test_what_has_no_room_is_given_to_a_worker_that_is_idle_and_large_enough(
    site: Website, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(worker.admission, "_clock", clock)
    monkeypatch.setattr("tintype.worker.endings.ASKING", 0)
    site.own.workers.forget("w2")
    running, waiting = submit(site, ONE.slug), submit(site, OTHER.slug)
    claim(worker)
    needed = draft(worker, waiting)
    monkeypatch.setattr(worker.models.memory.device, "budget", needed)
    worker.begin()
    assert [bool(task.pictures) for task in worker.tasks.values()] == [True, False]

    another(site)
    worker.endings.pass_on()
    assert waiting.id in worker.tasks, "it may have room here any moment"
    clock.now += PATIENCE + 1
    another(site, budget=needed - 1)
    worker.endings.pass_on()
    assert waiting.id in worker.tasks, "the other could never draw it"
    another(site)
    worker.endings.pass_on()
    assert [*worker.tasks] == [running.id]
    assert (found(site, waiting).status, found(site, waiting).counted) == (Status.QUEUED, 0)

    claim(worker)
    assert [*worker.tasks] == [running.id], "it is the other's, which does not want it"
    clock.now += GIVING_WAY
    claim(worker)
    worker.begin()
    clock.now += PATIENCE + 1
    worker.endings.pass_on()
    assert [*worker.tasks] == [running.id, waiting.id], "once is enough"
    worker.endings.hand_back()


def test_what_met_an_absent_database_is_not_to_blame(site: Website, worker: Worker) -> None:
    request = submit(site, ONE.slug)
    claim(worker)
    worker.endings.give_up(worker.tasks[request.id], StoreUnavailable())
    assert request.id not in worker.tasks
    assert (found(site, request).status, found(site, request).counted) == (Status.QUEUED, 0)
    worker.endings.hand_back()


def test_what_was_cancelled_is_not_worked_on(site: Website, worker: Worker) -> None:
    """Neither begun nor decoded, and no heartbeat has told of it: none beats here."""
    first, second = submit(site, ONE.slug), submit(site, ONE.slug)
    claim(worker)
    site.own.requests.cancel(first.id, site.account_id)
    with torch.inference_mode():
        worker.turn()
        assert [*worker.tasks] == [second.id]
        assert worker.engine.rows == 1
        while worker.engine.rows < 3:
            worker.turn()
            if worker.engine.rows == 2:
                site.own.requests.cancel(second.id, site.account_id)
    assert worker.tasks == {}
    assert STAGE_SECONDS.key(ONE.slug, Stage.DECODE) not in worker.stages.counts()
    ends = [(found(site, one).status, found(site, one).error) for one in (first, second)]
    assert ends == [(Status.FAILED, CANCELLED.error)] * 2


def test_who_is_being_drawn_does_not_wait_for_all_that_are_claimed(
    site: Website, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tintype.worker.loop.TAKING", 0.0)
    submit(site, ONE.slug)
    claim(worker)
    with torch.inference_mode():
        worker.begin()
    waiting = [submit(site, ONE.slug) for _ in range(3)]
    worker.look()
    for claimed in (1, 2, 3):
        assert worker._until_next_look() == 0
        worker.take()
        assert len(waiting) - [found(site, one).status for one in waiting].count(Status.QUEUED) == claimed
    for begun in (2, 3, 4):
        with torch.inference_mode():
            worker.begin()
        assert len(worker.engine.live) == begun
    worker.endings.hand_back()


class Clock:
    """Says what it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def claim(worker: Worker) -> None:
    """Have it look for requests, and wait for their input pictures, of which there are none."""
    worker.look()
    worker.take()
    until(lambda: all(task.fetched.done() for task in worker.tasks.values()))


def draft(worker: Worker, request: Request) -> int:
    """Bytes that a claimed request needs by itself; here it has more than the other, being the deeper one."""
    task = worker.tasks[request.id]
    job = jobs(task.order, None, None)[0]
    return worker.models.get(task.spec).family.demand(job).most
