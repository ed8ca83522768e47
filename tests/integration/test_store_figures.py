"""What `/metrics` is made of, in the store, on both databases: sums that outlive restarts, and missed charges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update
from tests.databases import moved_clock, statements
from tests.stores import a_result, new_request, store_on

from tintype.core import RunningImages, WorkerReport
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database
from tintype.store.db.records import Event, Request
from tintype.store.db.tables import requests
from tintype.store.ops.metrics import UNTOLD, read_snapshot
from tintype.store.ops.processes import Workers
from tintype.telemetry.exposition import MetricsSnapshot
from tintype.telemetry.metrics import CHARGED, CHARGES, ENDED, MISSED, STAGE_RUNS

#: Of a scrape, with what begins its transaction.
MOST_STATEMENTS = 8
DECODED = STAGE_RUNS.key("a", "decode")


class House:
    """A store with a live key and a test key, and what it tells."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.store = store_on(db, lease=15, retention=3600)
        self.workers = Workers(db)
        accounts = Accounts(db)
        account = accounts.create("one", 10**9).id
        self.key, _ = accounts.keys.create(account, "key")
        self.test_key, _ = accounts.keys.create(account, "ci", test=True)

    def submit(self, slug: str = "a", *, price: int = 3, test: bool = False) -> None:
        self.store.queue.submit(new_request(self.test_key if test else self.key, slug, {}, price))

    def claim(self) -> Request:
        claimed = self.store.leases.claim("w1", idle=True)
        assert claimed is not None
        return claimed

    def complete(self) -> None:
        claimed = self.claim()
        assert self.store.leases.complete(claimed.id, claimed.attempt, a_result())

    def beat(self, id: str, passes: int, rows: int, **told: Any) -> None:
        self.workers.heartbeat(id, "cpu", passes, rows, max_rows=16, **told)

    @property
    def figures(self) -> MetricsSnapshot:
        return read_snapshot(self.db, ["a", "b"])

    @property
    def missed(self) -> float:
        return self.figures.sums[MISSED.key()]


@pytest.fixture
def house(url: str) -> Iterator[House]:
    db = Database(url)
    yield House(db)
    db.close()


def test_waiting_and_running_by_model_without_tests(house: House) -> None:
    for _ in range(3):
        house.submit()
    with moved_clock(house.db, -60):
        house.submit("b")
        house.submit("b", test=True)
    house.submit("c")
    house.claim()
    told = house.figures
    assert (told.waiting, told.running) == ({"a": 2, "b": 1, "c": 1}, {"a": 1, "b": 0})
    assert 60 <= told.oldest["b"] < told.oldest["a"] + 120 < 180


def test_what_workers_count_goes_on_when_they_begin_anew(house: House) -> None:
    house.beat("w1", 0, 0)
    house.beat("w1", 10, 40, counts={DECODED: 2})
    house.beat("w1", 12, 50, counts={DECODED: 5}, report=WorkerReport.from_json({"memory": {"process": 300}}))
    house.beat("w2", 0, 0)
    house.beat("w2", 1, 2, counts={DECODED: 1}, report=WorkerReport(running=(RunningImages("r", "a", 1, 0, 4),)))
    told = house.figures
    assert (told.memory, told.workers["idle"], told.workers["working"]) == ({("w1", "cpu", "process"): 300}, 1, 1)
    for id in ("w1", "w2"):
        house.workers.leave(id)
    told = house.figures
    assert (told.memory, told.workers["idle"], told.workers["working"]) == ({}, 0, 0)
    assert told.sums == {"forward_passes": 13, "rows": 52, "room": 13 * 16, DECODED: 6, MISSED.key(): 0}


def test_memory_and_versions_are_told_by_what_outlives_a_restart(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of its own per start would be a new series each; two on a device share what that has."""
    for id, version, bytes in (("box-a-11aa", "", 3), ("box-a-22bb", "2", 4), ("ray:1-box-b-33cc", "2", 5)):
        monkeypatch.setattr("tintype.store.ops.processes.__version__", version)
        about = {"memory": {"process": bytes, "total": 80}}
        house.workers.heartbeat(id, "cuda:0", 0, 0, report=WorkerReport.from_json(about))
    told = house.figures
    assert told.versions == {UNTOLD: 1, "2": 2}
    assert told.memory == {
        ("box-a", "cuda:0", "process"): 7,
        ("box-a", "cuda:0", "total"): 80,
        ("ray:1-box-b", "cuda:0", "process"): 5,
        ("ray:1-box-b", "cuda:0", "total"): 80,
    }


def test_a_scrape_is_as_few_statements_as_ever_however_much_there_is(house: House) -> None:
    with statements(house.db) as said:
        assert house.figures.messages == 0
    idle = len(said)
    for number in range(30):
        house.submit(f"m{number}")
        house.beat(f"w{number}", 0, 0)
    with statements(house.db) as said:
        assert sum(house.figures.waiting.values()) == 30
    assert len(said) == idle <= MOST_STATEMENTS


def test_messages_that_are_due_and_for_how_long(house: House) -> None:
    store_on(house.db).webhooks.add(house.key.account_id, "https://receiver.example/", Event)
    assert (house.figures.messages, house.figures.lateness) == (0, 0)
    house.submit()
    house.complete()
    with moved_clock(house.db, 60):
        told = house.figures
    assert told.messages == 1
    assert 60 <= told.lateness < 120
    with moved_clock(house.db, -3600):
        assert (house.figures.messages, house.figures.lateness) == (0, 0), "it is to be tried again later"


def test_ends_and_charges_by_model(house: House) -> None:
    for price in (3, 3, 0):
        house.submit(price=price)
        house.complete()
    house.submit()
    failed = house.claim()
    house.store.leases.fail(failed.id, failed.attempt, "why", 500)
    told = house.figures.sums
    assert (told[ENDED.key("a", "completed")], told[ENDED.key("a", "failed")]) == (3, 1)
    assert (told[CHARGES.key("a")], told[CHARGED.key("a")], house.missed) == (2, 6, 0)


#: What a mistake of this program's would leave: completed past the ledger (whose own rows nobody can change), or
#: charged with another amount than the request says.
MISTAKES = [{"status": "COMPLETED", "cost": 3}, {"cost": requests.c.cost + 1}]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_missed_charge_is_seen_and_stays(house: House, mistake: Any) -> None:
    for price in (3, 3, 0):
        house.submit(price=price)
        if "status" not in mistake:
            house.complete()
    assert house.missed == 0
    with house.db.write() as tx:
        tx.execute(update(requests).values(mistake))
    assert house.missed == 2
    with house.db.write() as tx:
        tx.execute(update(requests).values(expires_at=1.0))
    assert house.store.queue.expire() == 3
    assert house.missed == 2, "its record is gone, the mistake is not"
    house.submit()
    house.complete()
    assert house.missed == 2
