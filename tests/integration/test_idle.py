"""What is asked of the database while nobody calls: looks are counted, and that none is spared once there is work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tests.databases import statements
from tests.stores import store_on
from tests.tenants import Tenant
from tests.toy_weights import BUILTIN

from tintype.catalog.models import MODELS, SD35_TURBO_TXT2IMG
from tintype.media.storage import Files
from tintype.store.db.database import Database
from tintype.store.queue.queue import SPARED
from tintype.store.webhooks.outbox import Backoff, Outbox
from tintype.telemetry.logs import ProcessLog
from tintype.testmode import fake_worker
from tintype.testmode.fake_worker import FakeWorker
from tintype.testmode.images import FakeOutputs
from tintype.worker.heartbeat import IDLE, Heartbeat
from tintype.worker.inputs import Inputs
from tintype.worker.loop import Worker, WorkerConfig
from tintype.worker.models import ModelPool
from tintype.worker.outputs import Outputs, SafetyFilter
from tintype.worker.previews import PreviewRenderer


def looks(tenant: Tenant, work: Callable[[], object], times: int) -> int:
    """How many of so many calls ask the database."""
    asked = 0
    for _ in range(times):
        with statements(tenant.db) as said:
            work()
        asked += bool(said)
    return asked


def test_what_is_overdue_is_seldom_looked_for_where_nothing_could_be(tenant: Tenant) -> None:
    look = tenant.store.queue.end_overdue
    assert looks(tenant, look, 1) == 1, "nobody knows yet"
    assert looks(tenant, look, 8 * SPARED) == 8
    tenant.submit()
    assert looks(tenant, look, 5) == 5, "one that was queued here may be overdue at once"
    tenant.store.leases.claim("w", idle=True)
    assert looks(tenant, look, 5) == 5


def test_of_what_another_server_queued_it_learns_by_the_next_look(url: str, tenant: Tenant) -> None:
    look, other = tenant.store.queue.end_overdue, Tenant(store_on(Database(url)))
    looks(tenant, look, SPARED)
    other.submit()
    looks(tenant, look, SPARED)
    assert looks(tenant, look, 5) == 5
    other.db.close()


def test_senders_know_whether_anything_may_be_to_be_told_soon(tenant: Tenant) -> None:
    outbox = Outbox(tenant.db, Backoff(1, 1, 1), lease=60, retention=60)
    assert outbox.expects
    with statements(tenant.db) as said:
        assert outbox.claim() is None
    assert sum("SELECT" in statement and "FROM" in statement for statement, _ in said) == 1, "one question, not two"
    assert not outbox.expects
    tenant.submit()
    assert outbox.claim() is None
    assert outbox.expects


class Moving(threading.Event):
    """An event for which nobody waits: a clock moves on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = 1e6

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.moment += 0 if self.is_set() else timeout
        return self.is_set()


def test_a_fake_worker_that_has_accepted_nothing_looks_seldom(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    moment, woken = [1e6], threading.Event()
    monkeypatch.setattr(fake_worker.time, "monotonic", lambda: moment[0])
    outputs: Any = None  # nothing is to be drawn
    fake_outputs = FakeOutputs(lambda _: None, outputs, 0)
    fake = FakeWorker(tenant.store.leases, MODELS, fake_outputs, heartbeat=60, accepted=woken)

    def turn() -> None:
        moment[0] += fake_worker.POLL / 8
        fake.turn()

    assert looks(tenant, turn, 80) == 10
    woken.set()
    assert looks(tenant, turn, 9) == 2


def test_a_worker_with_nothing_in_hand_has_few_heartbeats_and_tells_its_news_soon(
    tenant: Tenant, tmp_path: Path
) -> None:
    store, safety, nothing = tenant.store, SafetyFilter(None), cast(Inputs, None)
    outputs = Outputs(store.leases, Files(tmp_path, 60), safety, with_recipe=False)
    config = WorkerConfig(id="w1", max_images=1, max_rows=1, poll=1, grace=1, heartbeat=0.5)
    worker = Worker(store, ModelPool("cpu", "float32", 32, {}, catalogue=BUILTIN), nothing, outputs, config)
    heart = Heartbeat(worker, PreviewRenderer(store.queue.previews, safety), ProcessLog())
    worker.news = heart._done = clock = Moving()

    def beat() -> float:
        """Seconds until the next one, which is sent."""
        began = clock.moment
        assert not heart._rested()
        heart.send()
        return clock.moment - began

    heart.send()
    assert [beat(), beat()] == [IDLE, IDLE]
    params = SD35_TURBO_TXT2IMG.validate({"prompt": "a fox"})[0]
    request = tenant.submit(SD35_TURBO_TXT2IMG.slug, params=params)
    worker.timer.wake()
    worker.claim()
    assert [beat(), beat(), beat()] == [0.5, 0.5, 0.5]
    assert store.ops.workers.alive(60)[0].state(0) == "working"
    worker.requests.forget(worker.running[request.id])
    assert [beat(), beat(), beat()] == [0.5, IDLE, IDLE]
    assert store.ops.workers.alive(60)[0].state(0) == "idle"
    worker.outputs.breaker.on_recovery()
    assert [beat(), beat()] == [0.5, IDLE]
    assert (looks(tenant, worker.preloader.poll, 3), looks(tenant, worker.preloader.poll, 3)) == (1, 0)
    worker.told()
    assert looks(tenant, worker.preloader.poll, 3) == 1
    assert [beat(), beat()] == [0.5, IDLE]
