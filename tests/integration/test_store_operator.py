"""What operators see and do, in the store: the queue's pause, drained workers, samples over time; on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select
from tests.databases import ended_of, statements
from tests.stores import a_result, store_on
from tests.tenants import Tenant

from tintype.core import WorkerReport
from tintype.errors import BadRequest, WorkerUnknown
from tintype.store.db.database import Database, read_clock
from tintype.store.db.measurements import BUCKET
from tintype.store.db.records import Progress
from tintype.store.db.tables import samples
from tintype.store.ops.metrics import TTL, Bucket, TimeSeries
from tintype.store.queue.eta import Eta

ABOUT = {"tasks": [], "models": ["a"], "memory": {"process": 300, "reserved": 50}, "lately": {}}


@pytest.fixture
def tenant(db: Database) -> Tenant:
    return Tenant(store_on(db), asks={"slug": "a", "price": 1, "steps": 4, "speed_key": "a 18 1"})


@pytest.fixture
def time_series(db: Database) -> TimeSeries:
    return TimeSeries(db)


def end(tenant: Tenant, status: int = 0) -> None:
    """A request that comes to this end: an error's status, or 0 for COMPLETED."""
    tenant.submit()
    if status:
        claimed = tenant.claim()
        tenant.store.leases.fail(claimed.id, claimed.attempt, "why", status)
    else:
        tenant.complete(inference_time=1.0)


def beat(tenant: Tenant, id: str = "w1", passes: int = 0, rows: int = 0, **told: Any) -> bool:
    return tenant.beat(id, passes, rows, max_rows=16, report=WorkerReport.from_json(ABOUT), **told)


def state(tenant: Tenant, id: str) -> str | None:
    moment, known = tenant.workers.shown()
    return next((worker.state(moment) for worker in known if worker.id == id), None)


def total(tenant: Tenant) -> Bucket:
    """The last hour in one stretch."""
    [one] = TimeSeries(tenant.db).series(3600, limit=1)[2]
    return one


def test_a_paused_queue_takes_requests_and_gives_none(tenant: Tenant) -> None:
    beat(tenant)
    end(tenant)
    since = tenant.store.queue.pause()
    assert tenant.store.queue.pause() == tenant.store.queue.paused_since() == since
    first, _, test = tenant.submit(), tenant.submit(), tenant.submit(test=True)
    assert tenant.store.leases.claim("w1", idle=True) is None
    stand_ins = tenant.claim(test=True)
    assert stand_ins.id == test.id
    assert tenant.eta(first) == Eta(1, None, "resume")
    assert tenant.eta(tenant.submit(test=True)).obstacle is None
    assert tenant.store.queue.depth()[:2] == (2, 0)
    tenant.store.queue.resume()
    assert tenant.store.queue.paused_since() is None
    assert tenant.eta(first) == Eta(1, 1.0)
    claimed = tenant.claim()
    assert claimed.id == first.id


def test_a_pause_holds_back_what_a_dead_worker_left_but_not_what_runs_or_is_cancelled(tenant: Tenant) -> None:
    tenant.submit(), tenant.submit()
    lost, running = tenant.claim(), tenant.claim()
    tenant.store.queue.pause()
    store_on(tenant.db, lease=-1, retention=3600).leases.renew([Progress(lost.id, lost.attempt, 1, 4)])
    assert tenant.store.leases.claim("w1", idle=True) is None
    assert tenant.store.leases.complete(running.id, running.attempt, a_result(inference_time=1.0))
    tenant.store.queue.cancel(lost.id, lost.account_id)
    tenant.store.queue.end_overdue()
    assert ended_of(tenant.db, [lost.id]) == {lost.id}


def test_a_drained_worker_leaves_and_keeps_its_place_empty(tenant: Tenant) -> None:
    assert beat(tenant, "host-1") is False
    beat(tenant, "host-2")
    assert tenant.workers.drain("host-1").id == "host-1"
    assert (beat(tenant, "host-1"), beat(tenant, "host-2")) == (True, False)
    assert (state(tenant, "host-1"), state(tenant, "host-2")) == ("draining", "idle")
    for id in ("host-1", "host-2"):
        tenant.workers.leave(id)
    assert (state(tenant, "host-1"), state(tenant, "host-2")) == ("drained", None)
    assert tenant.workers.alive(60) == []
    tenant.db.move_clock(7200)
    tenant.store.queue.expire()
    assert tenant.workers.is_drained("host-1")
    assert tenant.workers.recall("host-1") == "host-1"
    assert not tenant.workers.is_drained("host-1")
    assert state(tenant, "host-1") is None


def test_a_worker_that_still_drains_is_recalled_for_its_successor(tenant: Tenant) -> None:
    beat(tenant, "host-1")
    tenant.workers.drain("1")
    tenant.workers.recall("1")
    assert state(tenant, "host-1") == "idle"
    tenant.workers.drain("1")
    tenant.db.move_clock(60)
    assert state(tenant, "host-1") == "drained", "it was killed"
    tenant.workers.recall("1")
    assert state(tenant, "host-1") is None


def test_which_worker_is_meant(tenant: Tenant) -> None:
    beat(tenant, "host-1a"), beat(tenant, "host-1b")
    with pytest.raises(BadRequest, match="several workers: host-1a, host-1b"):
        tenant.workers.drain("host")
    with pytest.raises(WorkerUnknown, match="No worker 7 is known"):
        tenant.workers.drain("7")
    with pytest.raises(WorkerUnknown):
        tenant.workers.recall("")
    with pytest.raises(BadRequest, match="was not drained"):
        tenant.workers.recall("1a")


def test_drained_workers_are_no_hands(tenant: Tenant) -> None:
    beat(tenant)
    end(tenant)
    waiting = tenant.submit()
    assert tenant.eta(waiting).seconds == 1.0
    tenant.workers.drain("w1")
    assert tenant.eta(waiting).seconds is None


def test_what_workers_do_is_counted_once_also_after_a_restart(tenant: Tenant) -> None:
    beat(tenant, passes=0)
    beat(tenant, passes=10, rows=40, step_seconds=2.0, cold_starts=1, cold_seconds=7.5)
    beat(tenant, passes=15, rows=120, step_seconds=3.0, cold_starts=1, cold_seconds=7.5)
    tenant.workers.leave("w1")
    beat(tenant, passes=0, step_seconds=0.0, cold_starts=0, cold_seconds=0.0)
    beat(tenant, passes=5, rows=10, step_seconds=1.0, cold_starts=1, cold_seconds=0.5)
    one = total(tenant)
    assert (one.forward_passes, one.rows, one.cold_starts, one.cold_seconds) == (20, 130, 2, 8.0)
    assert one.fill == 130 / (20 * 16)
    assert one.seconds_per_step == 4.0 / 20


def test_ends_are_told_apart_and_tests_not_counted(tenant: Tenant) -> None:
    for status in (0, 0, 500, 400, 422, 499):
        end(tenant, status)
    tenant.submit(test=True)
    stand_ins = tenant.claim(test=True)
    tenant.store.leases.fail(stand_ins.id, stand_ins.attempt, "why", 500)
    one = total(tenant)
    assert (one.completed, one.failed, one.refused, one.cancelled) == (2, 1, 2, 1)
    assert one.error_rate == 1 / 5


def test_a_look_is_written_down_once_whoever_looks(tenant: Tenant, time_series: TimeSeries) -> None:
    tenant.submit(), tenant.submit(), tenant.submit(test=True)
    tenant.claim()
    beat(tenant, "w1"), beat(tenant, "w2")
    with tenant.db.read() as view:
        begun = int(read_clock(view)) // BUCKET
    for web_process in (time_series, TimeSeries(tenant.db), time_series):
        web_process.measure()
    one = total(tenant)
    assert (one.queued, one.running, one.workers, one.memory, one.device_memory) == (1, 1, 2, 600, 100)
    with tenant.db.read() as view:
        rows = view.scalar(select(func.count()).select_from(samples))
        assert rows <= int(read_clock(view)) // BUCKET - begun + 1


def test_samples_are_kept_for_a_day_and_told_in_stretches(tenant: Tenant, time_series: TimeSeries) -> None:
    with tenant.db.write() as tx:
        now = int(read_clock(tx)) // BUCKET * BUCKET
        for age, queued in ((TTL + BUCKET, 9), (7200, 7), (60, 1), (50, 5), (40, None)):
            tx.execute(samples.insert().values(at=now - age, queued=queued, completed=1, failed=1))
    _, seconds, told = time_series.series(600)
    assert seconds == BUCKET
    assert [(one.queued, one.error_rate, one.fill) for one in told] == [
        (1, 0.5, None),
        (5, 0.5, None),
        (None, 0.5, None),
    ]
    _, seconds, told = time_series.series(86_400)
    assert seconds == 720
    assert max(one.queued or 0 for one in told) == 7
    assert sum(one.completed for one in told) == 4
    assert all(one.at % seconds == 0 for one in told)
    time_series.measure()
    with tenant.db.read() as view:
        assert 9 not in view.scalars(select(samples.c.queued)).all()


def test_a_pause_costs_a_claim_no_query(tenant: Tenant) -> None:
    tenant.store.queue.pause()
    tenant.submit()
    with statements(tenant.db) as said:
        assert tenant.store.leases.claim("w1", idle=True) is None
    assert len([statement for statement, _ in said if statement.startswith("SELECT")]) == 1
