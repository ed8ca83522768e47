"""What transactions wait for and take is seen, on both databases: bounds from below, nothing is timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import event, text
from tests.databases import hurried

from tintype.errors import StoreUnavailable
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database

PATIENCE = 0.2
SLOW = 0.1
POSTGRES_TRIGGER = (
    f"CREATE FUNCTION slow() RETURNS trigger AS 'BEGIN PERFORM pg_sleep({SLOW}); RETURN NEW; END' LANGUAGE plpgsql",
    "CREATE TRIGGER slow BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION slow()",
)
SQLITE_TRIGGER = ("CREATE TRIGGER slow BEFORE INSERT ON accounts BEGIN SELECT sleep(); END",)


@pytest.fixture
def two(url: str) -> Iterator[tuple[Database, Database]]:
    """As two processes have them."""
    both = Database(url), Database(url)
    yield both
    for one in both:
        one.close()


def seen(db: Database) -> dict[str, tuple[float, float]]:
    """How many there were of each, and the seconds of all of them."""
    values: dict[str, dict[str, float]] = {}
    for family in db.times.collect():
        for one in family.samples:
            part = one.labels.get("wait") or one.labels["kind"]
            values.setdefault(part, {})[one.name.rpartition("_")[2]] = one.value
    return {part: (of["count"], of["sum"]) for part, of in values.items()}


def counts(db: Database) -> dict[str, float]:
    return {part: number for part, (number, _) in seen(db).items()}


def test_every_transaction_is_counted_once_in_each_of_its_parts(two: tuple[Database, Database]) -> None:
    db, _ = two
    assert counts(db) == dict.fromkeys(("turn", "connection", "lock", "read", "write", "note"), 0), (
        "known from the start"
    )
    for begun in (db.read, db.read, db.write):
        with begun() as tx:
            tx.execute(text("SELECT 1"))
    with pytest.raises(ZeroDivisionError), db.write():
        raise ZeroDivisionError
    told = counts(db)
    assert told == {"turn": 2, "connection": 4, "lock": 2, "read": 2, "write": 2, "note": 0}
    with db.note():
        pass
    locked = 0 if db.kind == "postgresql" else 1
    assert counts(db) == told | {"turn": 2 + locked, "connection": 5, "lock": 2 + locked, "note": 1}


def test_a_wait_that_ran_out_is_seen_as_what_was_waited_for(two: tuple[Database, Database]) -> None:
    db, other = two
    with other.write(), hurried(db, PATIENCE), pytest.raises(StoreUnavailable), db.write():
        pass
    assert seen(db)["lock"][1] >= PATIENCE / 2  # SQLite's own waiters may give up a little early
    assert counts(db)["write"] == 0, "it never began"
    with ExitStack() as all_of_them:
        for _ in range(15):
            all_of_them.enter_context(db.read())
        with hurried(db, PATIENCE), pytest.raises(StoreUnavailable), db.read():
            pass
    assert seen(db)["connection"][1] >= PATIENCE
    with db.write():
        before = counts(db)["connection"]
        with hurried(db, PATIENCE), pytest.raises(StoreUnavailable), db.write():
            pass
        assert seen(db)["turn"][1] >= PATIENCE
        assert counts(db)["connection"] == before, "who had no turn asked for no connection"


def test_a_slow_database_is_seen(two: tuple[Database, Database]) -> None:
    """A trigger that sleeps, as a disk or a plan may."""
    db, _ = two

    @event.listens_for(db._engine, "connect")
    def connect(connection: Any, _: object) -> None:
        if db.kind == "sqlite":
            connection.create_function("sleep", 0, lambda: time.sleep(SLOW))

    with db.write() as tx:
        for statement in POSTGRES_TRIGGER if db.kind == "postgresql" else SQLITE_TRIGGER:
            tx.execute(text(statement))
    before = seen(db)
    Accounts(db).create("one", 0)
    number, seconds = seen(db)["write"]
    assert number == before["write"][0] + 1
    assert seconds - before["write"][1] >= SLOW
