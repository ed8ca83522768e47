"""What a long queue costs: statements are counted and their plans read, on both databases; nothing is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from benchmarks import store
from benchmarks.store import SLUGS, BusyTenant
from sqlalchemy import Connection, text
from tests.databases import asked_of, statements

from tintype.store.db.records import LeaseStatus, Progress
from tintype.store.queue.positions import positions
from tintype.telemetry.metrics import ENDED

LONG = 5_000


@pytest.fixture
def tenant(url: str) -> Iterator[BusyTenant]:
    tenant = BusyTenant(url, keys=5)
    yield tenant
    tenant.db.close()


def asks(tenant: BusyTenant, work: Callable[[], object]) -> list[tuple[str, Any]]:
    """What `work` asks the database, with the parameters."""
    with statements(tenant.db) as said:
        work()
    return said


def plan(tx: Connection, statement: str, parameters: Any) -> str:
    """How the database goes about it, in its own words."""
    how = "EXPLAIN QUERY PLAN " if tx.dialect.name == "sqlite" else "EXPLAIN "
    cursor = tx.connection.cursor()
    cursor.execute(how + statement, parameters)
    return "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_a_long_queue_takes_no_more_statements(tenant: BusyTenant) -> None:
    short = len(asks(tenant, tenant.cycle))
    tenant.fill(LONG)
    assert len(asks(tenant, tenant.cycle)) == short <= 45


def test_a_long_queue_is_read_from_indexes(tenant: BusyTenant) -> None:
    tenant.fill(LONG)
    if tenant.db.can_notify:
        with tenant.db.write() as tx:
            tx.execute(text("ANALYZE"))  # as autovacuum does; SQLite's own is never run
    asked = [*asks(tenant, tenant.submit_next), *asks(tenant, lambda: tenant.store.leases.claim("w", idle=True))]
    asked += asks(tenant, lambda: tenant.store.leases.claim("w", idle=True, passing_over=["another"]))
    with tenant.db.read() as view:
        placed = asks(tenant, lambda: positions(view))
    large = [one for one in asked if one[0].startswith("SELECT") and "FROM requests" in one[0]]
    assert len(large) >= 6
    # What is no column of the index has all the rows read.
    claims = [one[0].partition(" WHERE ")[2] for one in large if "last_turn" in one[0]]
    assert len(claims) == 2
    assert not [claim for claim in claims if "requests.account_id" in claim]
    with tenant.db.write() as tx:
        if tx.dialect.name == "sqlite":
            plans = [plan(tx, *one) for one in large]
            assert not [how for how in plans if "SCAN requests" in how]
            counted = next(how for how in plans if "COVERING INDEX ix_requests_claim" in how)
            assert "TEMP B-TREE" not in counted
            assert all("COVERING INDEX ix_requests_claim" in plan(tx, *one) for one in placed)
        given_up = next(one for one in large if "hand_backs >=" in one[0])
        assert "ix_requests_deadline" in plan(tx, *given_up)


def test_a_heartbeat_is_few_statements_however_much_is_in_hand(tenant: BusyTenant) -> None:
    for _ in range(16):
        tenant.submit_next()
    held = [tenant.store.leases.claim("w", idle=True) for _ in range(16)]
    marks = [Progress(one.id, one.attempt, 3, 20) for one in held if one]
    for some in (marks[:1], marks):  # one that changes many rows counts once
        assert len(asked_of(tenant.db, lambda some=some: tenant.store.leases.renew(some))) == 2
    assert set(tenant.store.leases.renew(marks).values()) == {LeaseStatus.KEEP}
    assert tenant.store.queue.find(marks[7].id, tenant.keys[0].account_id).step == 3


def test_a_heartbeat_waits_for_nobody_who_changes_something_else(url: str, tenant: BusyTenant) -> None:
    """On PostgreSQL: SQLite has one writer at a time, whatever it writes."""
    if not tenant.db.can_notify:
        pytest.skip("SQLite has one writer at a time")
    tenant.submit_next()
    beat = tenant.hands(1)
    other = BusyTenant(url, keys=1)
    with other.db.write() as tx:  # holds the lock
        beat()
        assert tx.execute(text("SELECT count(*) FROM workers")).scalar_one() == 1
    other.db.close()


def test_heartbeats_and_ends_together_lose_no_count(url: str, tenant: BusyTenant) -> None:
    """Several workers send heartbeats and end requests concurrently, each on its own connections; sums are exact."""
    rounds, hands = 12, 4

    def work(number: int) -> None:
        own = BusyTenant(url, keys=1)
        try:
            for step in range(1, rounds + 1):
                own.store.ops.workers.heartbeat(
                    f"w{number}", "cpu", step, 2 * step, max_rows=4, counts={"x": step, "y": 2 * step}
                )
                own.cycle()
                own.store.queue.end_overdue()  # folds what all of them have ended
        finally:
            own.store.close()

    for number in range(hands):  # known from the start, so that every later beat counts
        tenant.workers.heartbeat(f"w{number}", "cpu", 0, 0, max_rows=4, counts={})
    with ThreadPoolExecutor(hands) as pool:
        for done in [pool.submit(work, number) for number in range(hands)]:
            done.result()
    sums, _, _, buckets = (tenant.store.ops.metrics([]).sums, *tenant.store.ops.time_series.series(900))
    ended = sum(sums.get(ENDED.key(f"model-{number}", "completed"), 0) for number in range(SLUGS))
    assert (sums["x"], sums["y"], ended) == (hands * rounds, 2 * hands * rounds, hands * rounds)
    for counted in ("forward_passes", "completed"):
        assert sum(getattr(bucket, counted) for bucket in buckets) == hands * rounds


def test_the_store_is_measured(tenant: BusyTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At toy size: every line has a ratio of each round, and nothing of what is measured goes wrong."""
    for name, less in {"LENGTHS": (1, 3), "CYCLES": 2, "WORKERS": 2, "BEATS": 2}.items():
        monkeypatch.setattr(store, name, less)
    lines = [*store.by_length("it", tenant, tmp_path, 2), *store.heartbeats("it", tenant, 2)]
    assert len({line.what for line in lines}) == len(lines) == 2 * 4 + 2 + 3
    assert all(ratio > 0 for line in lines for ratio in line.ratios)
    assert [len(line.ratios) for line in lines if "queued: claim/s" in line.what] == [2, 2]
