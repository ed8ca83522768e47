"""What operators see and do, in the store: the queue's pause, drained workers, samples over time; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.databases import ended_of, statements
from tests.stores import a_result, new_request, store_on

from tintype.core import WorkerReport
from tintype.errors import BadRequest, WorkerUnknown
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database, read_clock
from tintype.store.db.measurements import BUCKET
from tintype.store.db.records import Progress, Request
from tintype.store.db.tables import samples
from tintype.store.ops.metrics import TTL, Bucket, TimeSeries
from tintype.store.ops.processes import Workers
from tintype.store.queue.eta import Eta

ABOUT = {"tasks": [], "models": ["a"], "memory": {"process": 300, "reserved": 50}, "lately": {}}


class House:
    """A store with a live key and a test key."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.store = store_on(db, lease=15, retention=3600)
        self.controls = store_on(db).queue
        self.workers = Workers(db)
        self.time_series = TimeSeries(db)
        accounts = Accounts(db)
        account = accounts.create("one", 10**9).id
        self.key, _ = accounts.keys.create(account, "key")
        self.test_key, _ = accounts.keys.create(account, "ci", test=True)

    def submit(self, *, test: bool = False) -> Request:
        return self.store.queue.submit(
            new_request(self.test_key if test else self.key, "a", {}, 1, steps=4, speed_key="a 18 1")
        )

    def claim(self, *, test: bool = False) -> Request | None:
        return self.store.leases.claim("w1", idle=True, test=test)

    def end(self, status: int = 0) -> None:
        """A request that comes to this end: an error's status, or 0 for COMPLETED."""
        self.submit()
        claimed = self.claim()
        assert claimed is not None
        if status:
            self.store.leases.fail(claimed.id, claimed.attempt, "why", status)
        else:
            self.store.leases.complete(claimed.id, claimed.attempt, a_result(inference_time=1.0))

    def beat(self, id: str = "w1", passes: int = 0, rows: int = 0, **told: Any) -> bool:
        return self.workers.heartbeat(
            id, "cpu", passes, rows, max_rows=16, report=WorkerReport.from_json(ABOUT), **told
        )

    def state(self, id: str) -> str | None:
        moment, known = self.workers.shown()
        return next((worker.state(moment) for worker in known if worker.id == id), None)

    def age(self, seconds: float) -> None:
        """Let all signs of life be so much older."""
        self.db.move_clock(seconds)

    def total(self) -> Bucket:
        """The last hour in one stretch."""
        [one] = self.time_series.series(3600, limit=1)[2]
        return one


@pytest.fixture
def house(url: str) -> Iterator[House]:
    db = Database(url)
    yield House(db)
    db.close()


def test_a_paused_queue_takes_requests_and_gives_none(house: House) -> None:
    house.beat()
    house.end()
    since = house.controls.pause()
    assert house.controls.pause() == house.controls.paused_since() == since
    first, _, test = house.submit(), house.submit(), house.submit(test=True)
    assert house.claim() is None
    stand_ins = house.claim(test=True)
    assert stand_ins is not None
    assert stand_ins.id == test.id
    assert house.store.queue.eta(first) == Eta(1, None)
    assert house.store.queue.depth()[:2] == (2, 0)
    house.controls.resume()
    assert house.controls.paused_since() is None
    assert house.store.queue.eta(first) == Eta(1, 1.0)
    claimed = house.claim()
    assert claimed is not None
    assert claimed.id == first.id


def test_a_pause_holds_back_what_a_dead_worker_left_but_not_what_runs_or_is_cancelled(house: House) -> None:
    house.submit(), house.submit()
    lost, running = house.claim(), house.claim()
    assert lost is not None
    assert running is not None
    house.controls.pause()
    store_on(house.db, lease=-1, retention=3600).leases.renew([Progress(lost.id, lost.attempt, 1, 4)])
    assert house.claim() is None
    assert house.store.leases.complete(running.id, running.attempt, a_result(inference_time=1.0))
    house.store.queue.cancel(lost.id, lost.account_id)
    house.store.queue.end_overdue()
    assert ended_of(house.db, [lost.id]) == {lost.id}


def test_a_drained_worker_leaves_and_keeps_its_place_empty(house: House) -> None:
    assert house.beat("host-1") is False
    house.beat("host-2")
    assert house.workers.drain("host-1").id == "host-1"
    assert (house.beat("host-1"), house.beat("host-2")) == (True, False)
    assert (house.state("host-1"), house.state("host-2")) == ("draining", "idle")
    for id in ("host-1", "host-2"):
        house.workers.leave(id)
    assert (house.state("host-1"), house.state("host-2")) == ("drained", None)
    assert house.workers.alive(60) == []
    house.age(7200)
    house.store.queue.expire()
    assert house.workers.is_drained("host-1")
    assert house.workers.recall("host-1") == "host-1"
    assert not house.workers.is_drained("host-1")
    assert house.state("host-1") is None


def test_a_worker_that_still_drains_is_recalled_for_its_successor(house: House) -> None:
    house.beat("host-1")
    house.workers.drain("1")
    house.workers.recall("1")
    assert house.state("host-1") == "idle"
    house.workers.drain("1")
    house.age(60)
    assert house.state("host-1") == "drained", "it was killed"
    house.workers.recall("1")
    assert house.state("host-1") is None


def test_which_worker_is_meant(house: House) -> None:
    house.beat("host-1a"), house.beat("host-1b")
    with pytest.raises(BadRequest, match="several workers: host-1a, host-1b"):
        house.workers.drain("host")
    with pytest.raises(WorkerUnknown, match="No worker 7 is known"):
        house.workers.drain("7")
    with pytest.raises(WorkerUnknown):
        house.workers.recall("")
    with pytest.raises(BadRequest, match="was not drained"):
        house.workers.recall("1a")


def test_drained_workers_are_no_hands(house: House) -> None:
    house.beat()
    house.end()
    waiting = house.submit()
    assert house.store.queue.eta(waiting).seconds == 1.0
    house.workers.drain("w1")
    assert house.store.queue.eta(waiting).seconds is None


def test_what_workers_do_is_counted_once_also_after_a_restart(house: House) -> None:
    house.beat(passes=0)
    house.beat(passes=10, rows=40, step_seconds=2.0, cold_starts=1, cold_seconds=7.5)
    house.beat(passes=15, rows=120, step_seconds=3.0, cold_starts=1, cold_seconds=7.5)
    house.workers.leave("w1")
    house.beat(passes=0, step_seconds=0.0, cold_starts=0, cold_seconds=0.0)
    house.beat(passes=5, rows=10, step_seconds=1.0, cold_starts=1, cold_seconds=0.5)
    one = house.total()
    assert (one.forward_passes, one.rows, one.cold_starts, one.cold_seconds) == (20, 130, 2, 8.0)
    assert one.fill == 130 / (20 * 16)
    assert one.seconds_per_step == 4.0 / 20


def test_ends_are_told_apart_and_tests_not_counted(house: House) -> None:
    for status in (0, 0, 500, 400, 422, 499):
        house.end(status)
    house.submit(test=True)
    stand_ins = house.claim(test=True)
    assert stand_ins is not None
    house.store.leases.fail(stand_ins.id, stand_ins.attempt, "why", 500)
    one = house.total()
    assert (one.completed, one.failed, one.refused, one.cancelled) == (2, 1, 2, 1)
    assert one.error_rate == 1 / 5


def test_a_look_is_written_down_once_whoever_looks(house: House) -> None:
    house.submit(), house.submit(), house.submit(test=True)
    house.claim()
    house.beat("w1"), house.beat("w2")
    with house.db.read() as view:
        begun = int(read_clock(view)) // BUCKET
    for web_process in (house.time_series, TimeSeries(house.db), house.time_series):
        web_process.measure()
    one = house.total()
    assert (one.queued, one.running, one.workers, one.memory, one.device_memory) == (1, 1, 2, 600, 100)
    with house.db.read() as view:
        rows = view.scalar(select(func.count()).select_from(samples))
        assert rows <= int(read_clock(view)) // BUCKET - begun + 1


def test_samples_are_kept_for_a_day_and_told_in_stretches(house: House) -> None:
    with house.db.write() as tx:
        now = int(read_clock(tx)) // BUCKET * BUCKET
        for age, queued in ((TTL + BUCKET, 9), (7200, 7), (60, 1), (50, 5), (40, None)):
            tx.execute(samples.insert().values(at=now - age, queued=queued, completed=1, failed=1))
    _, seconds, told = house.time_series.series(600)
    assert seconds == BUCKET
    assert [(one.queued, one.error_rate, one.fill) for one in told] == [
        (1, 0.5, None),
        (5, 0.5, None),
        (None, 0.5, None),
    ]
    _, seconds, told = house.time_series.series(86_400)
    assert seconds == 720
    assert max(one.queued or 0 for one in told) == 7
    assert sum(one.completed for one in told) == 4
    assert all(one.at % seconds == 0 for one in told)
    house.time_series.measure()
    with house.db.read() as view:
        assert 9 not in view.scalars(select(samples.c.queued)).all()


def test_a_pause_costs_a_claim_no_query(house: House) -> None:
    house.controls.pause()
    house.submit()
    with statements(house.db) as said:
        assert house.claim() is None
    assert len([statement for statement, _ in said if statement.startswith("SELECT")]) == 1
