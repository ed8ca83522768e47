"""What `/metrics` is made of, in the store, on both databases: sums that outlive restarts, and missed charges."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from tests.databases import moved_clock, statements
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.core import RunningImages, WorkerReport
from tintype.store.db.database import Database
from tintype.store.db.records import Event
from tintype.store.db.tables import requests
from tintype.store.ops.metrics import UNTOLD, read_snapshot
from tintype.telemetry.exposition import MetricsSnapshot
from tintype.telemetry.metrics import CHARGED, CHARGES, ENDED, MISSED, STAGE_RUNS

#: Of a scrape, with what begins its transaction.
MOST_STATEMENTS = 8
DECODED = STAGE_RUNS.key("a", "decode")


@pytest.fixture
def tenant(db: Database) -> Tenant:
    return Tenant(store_on(db), asks={"slug": "a", "price": 3})


def figures(tenant: Tenant) -> MetricsSnapshot:
    return read_snapshot(tenant.db, ["a", "b"])


def missed(tenant: Tenant) -> float:
    return figures(tenant).sums[MISSED.key()]


def beat(tenant: Tenant, id: str, passes: int, rows: int, **told: Any) -> None:
    tenant.beat(id, passes, rows, max_rows=16, **told)


def test_waiting_and_running_by_model_without_tests(tenant: Tenant) -> None:
    for _ in range(3):
        tenant.submit()
    with moved_clock(tenant.db, -60):
        tenant.submit("b")
        tenant.submit("b", test=True)
    tenant.submit("c")
    tenant.claim()
    told = figures(tenant)
    assert (told.waiting, told.running) == ({"a": 2, "b": 1, "c": 1}, {"a": 1, "b": 0})
    assert 60 <= told.oldest["b"] < told.oldest["a"] + 120 < 180


def test_what_workers_count_goes_on_when_they_begin_anew(tenant: Tenant) -> None:
    beat(tenant, "w1", 0, 0)
    beat(tenant, "w1", 10, 40, counts={DECODED: 2})
    beat(tenant, "w1", 12, 50, counts={DECODED: 5}, report=WorkerReport.from_json({"memory": {"process": 300}}))
    beat(tenant, "w2", 0, 0)
    beat(tenant, "w2", 1, 2, counts={DECODED: 1}, report=WorkerReport(running=(RunningImages("r", "a", 1, 0, 4),)))
    told = figures(tenant)
    assert (told.memory, told.workers["idle"], told.workers["working"]) == ({("w1", "cpu", "process"): 300}, 1, 1)
    for id in ("w1", "w2"):
        tenant.workers.leave(id)
    told = figures(tenant)
    assert (told.memory, told.workers["idle"], told.workers["working"]) == ({}, 0, 0)
    assert told.sums == {"forward_passes": 13, "rows": 52, "room": 13 * 16, DECODED: 6, MISSED.key(): 0}


def test_memory_and_versions_are_told_by_what_outlives_a_restart(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of its own per start would be a new series each; two on a device share what that has."""
    for id, version, bytes in (("box-a-11aa", "", 3), ("box-a-22bb", "2", 4), ("ray:1-box-b-33cc", "2", 5)):
        monkeypatch.setattr("tintype.store.ops.processes.__version__", version)
        about = {"memory": {"process": bytes, "total": 80}}
        tenant.workers.heartbeat(id, "cuda:0", 0, 0, report=WorkerReport.from_json(about))
    told = figures(tenant)
    assert told.versions == {UNTOLD: 1, "2": 2}
    assert told.memory == {
        ("box-a", "cuda:0", "process"): 7,
        ("box-a", "cuda:0", "total"): 80,
        ("ray:1-box-b", "cuda:0", "process"): 5,
        ("ray:1-box-b", "cuda:0", "total"): 80,
    }


def test_a_scrape_is_as_few_statements_as_ever_however_much_there_is(tenant: Tenant) -> None:
    with statements(tenant.db) as said:
        assert figures(tenant).messages == 0
    idle = len(said)
    for number in range(30):
        tenant.submit(f"m{number}")
        beat(tenant, f"w{number}", 0, 0)
    with statements(tenant.db) as said:
        assert sum(figures(tenant).waiting.values()) == 30
    assert len(said) == idle <= MOST_STATEMENTS


def test_messages_that_are_due_and_for_how_long(tenant: Tenant) -> None:
    tenant.store.webhooks.add(tenant.account_id, "https://receiver.example/", Event)
    assert (figures(tenant).messages, figures(tenant).lateness) == (0, 0)
    tenant.submit()
    tenant.complete()
    with moved_clock(tenant.db, 60):
        told = figures(tenant)
    assert told.messages == 1
    assert 60 <= told.lateness < 120
    with moved_clock(tenant.db, -3600):
        assert (figures(tenant).messages, figures(tenant).lateness) == (0, 0), "it is to be tried again later"


def test_ends_and_charges_by_model(tenant: Tenant) -> None:
    for price in (3, 3, 0):
        tenant.submit(price=price)
        tenant.complete()
    tenant.submit()
    failed = tenant.claim()
    tenant.store.leases.fail(failed.id, failed.attempt, "why", 500)
    told = figures(tenant).sums
    assert (told[ENDED.key("a", "completed")], told[ENDED.key("a", "failed")]) == (3, 1)
    assert (told[CHARGES.key("a")], told[CHARGED.key("a")], missed(tenant)) == (2, 6, 0)


#: What a mistake of this program's would leave: completed past the ledger (whose own rows nobody can change), or
#: charged with another amount than the request says.
MISTAKES = [{"status": "COMPLETED", "cost": 3}, {"cost": requests.c.cost + 1}]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_missed_charge_is_seen_and_stays(tenant: Tenant, mistake: Any) -> None:
    for price in (3, 3, 0):
        tenant.submit(price=price)
        if "status" not in mistake:
            tenant.complete()
    assert missed(tenant) == 0
    with tenant.db.write() as tx:
        tx.execute(update(requests).values(mistake))
    assert missed(tenant) == 2
    with tenant.db.write() as tx:
        tx.execute(update(requests).values(expires_at=1.0))
    assert tenant.store.queue.expire() == 3
    assert missed(tenant) == 2, "its record is gone, the mistake is not"
    tenant.submit()
    tenant.complete()
    assert missed(tenant) == 2
