"""What a long queue costs: statements are counted and their plans read, on both databases; nothing is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from benchmarks import store
from benchmarks.store import SLUGS, BusyTenant
from sqlalchemy import Connection, text
from tests.databases import asked_of, statements
from tests.stores import new_request, store_on

from tintype.store.accounts.keys import Ceilings
from tintype.store.db.database import Database
from tintype.store.db.records import LeaseStatus, Progress
from tintype.store.db.tables import requests
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
    """Submit: request, key, account, ledger. Claim: poll · request, two turns."""
    limits = Ceilings(rpm=1_000_000, concurrency=10_000, max_queued=10_000, queue=20_000, share=0.5)
    limited = store_on(tenant.db, ceilings=limits)
    key = tenant.new_key(rpm=9, concurrency=8, max_queued=7)
    works: list[Callable[[], object]] = [
        tenant.submit_next,
        lambda: limited.queue.submit(new_request(tenant.keys[1], "sd3", {}, 5)),
        lambda: limited.queue.submit(new_request(key, "sd3", {}, 5, idempotency_key=str(uuid4()), fingerprint="f")),
        lambda: tenant.store.leases.claim("w", idle=True),
    ]
    short = [len(asked_of(tenant.db, work)) for work in works]
    assert short == [4, 4, 4, 1 + 3]
    tenant.fill(LONG)
    assert [len(asked_of(tenant.db, work)) for work in works] == short
    assert len(asks(tenant, tenant.cycle)) <= 33


def read(db: Database, said: list[tuple[str, Any]]) -> int:
    """How much these statements read, done again and undone: SQLite's instructions, PostgreSQL's rows of requests."""
    numbers = count()
    with suppress(Undone), db.write() as tx:
        driver: Any = tx.connection.driver_connection
        for statement, parameters in said:
            if tx.dialect.name == "sqlite":
                driver.set_progress_handler(lambda: next(numbers) and 0, 1)
                driver.execute(statement, parameters).fetchall()
                driver.set_progress_handler(None, 1)
            else:
                held = {name: str(uuid4()) for name in parameters if name.endswith("request_id")}  # once each
                [told] = driver.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters | held).fetchall()
                for _ in range(rows_of(told[0][0]["Plan"])):
                    next(numbers)
        raise Undone
    return next(numbers)


def rows_of(node: dict[str, Any]) -> int:
    """Rows of requests that a plan's scans have read, those left out included."""
    scanned = "Scan" in node["Node Type"] and node.get("Relation Name") == "requests"
    seen = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    own = round(seen * node["Actual Loops"]) if scanned else 0
    return own + sum(map(rows_of, node.get("Plans", [])))


class Undone(Exception):
    """What was done is rolled back."""


def test_a_long_queue_has_no_more_of_it_read(tenant: BusyTenant) -> None:
    """With as many keys and priorities as the short one."""

    def usual() -> list[tuple[str, Any]]:
        said = asks(tenant, tenant.submit_next) + asks(tenant, lambda: tenant.store.leases.claim("w", idle=True))
        passing = asks(tenant, lambda: tenant.store.leases.claim("w", idle=True, passing_over=["another"]))
        changes = [one for one in said + passing if one[0].startswith(("SELECT", "UPDATE", "WITH"))]
        return [one for one in changes if ("advisory" not in one[0] and "RETURNING" in one[0]) or "count(" in one[0]]

    tenant.fill(15)
    short = read(tenant.db, usual())
    tenant.fill(LONG)
    long = usual()
    assert len(long) == 6
    assert read(tenant.db, long) <= short + (0 if tenant.db.kind == "postgresql" else 300)


def test_a_long_queue_is_read_from_indexes(tenant: BusyTenant) -> None:
    tenant.fill(LONG)
    if tenant.db.kind == "postgresql":
        with tenant.db.write() as tx:
            tx.execute(text("ANALYZE"))  # as autovacuum does; SQLite's own is never run
    with tenant.db.read() as view:
        placed = asks(tenant, lambda: positions(view))
    [late] = [one for one in asks(tenant, tenant.store.queue.end_overdue) if "cancel_at" in one[0]]
    with tenant.db.write() as tx:
        if tx.dialect.name == "sqlite":
            assert all("COVERING INDEX ix_requests_claim" in plan(tx, *one) for one in placed)
        assert "ix_requests_deadline" in plan(tx, *late)


def test_statements_stay_prepared(tenant: BusyTenant) -> None:
    """On PostgreSQL, where planning one takes as long as running it: reads, which use the same connection, end well."""
    if tenant.db.kind == "sqlite":
        pytest.skip("SQLite has no server that plans")
    for _ in range(8):
        tenant.cycle()
    with tenant.db.read() as view:
        prepared = view.scalars(text("SELECT statement FROM pg_prepared_statements")).all()
    assert len([one for one in prepared if one.startswith("INSERT INTO requests")]) == 1


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
    if tenant.db.kind == "sqlite":
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


def test_the_request_that_a_key_waits_for_is_the_only_one_read_whole(tenant: BusyTenant) -> None:
    """`progress` is asked twice a second: of the key's others the columns that count and sort them, not all."""
    if tenant.db.kind == "postgresql":
        pytest.skip("its plans say rows, of which it reads all either way")
    key = tenant.keys[0]

    def cost(more: int) -> int:
        for _ in range(more):
            tenant.submit(key=key, dialect="a1111")
        found = asks(tenant, lambda: tenant.store.queue.current(key, "a1111"))
        return read(tenant.db, found[:1])

    few = cost(5)
    assert (cost(100) - few) / 100 < len(requests.columns)
