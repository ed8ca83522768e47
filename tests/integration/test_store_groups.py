"""Writers of one process that wait for the lock are committed together: each hears of its own outcome, after that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from tests.acceptance.harness import until
from tests.stores import LEASE, RETENTION, a_result, store_on
from tests.tenants import Tenant

from tintype.errors import Forbidden, PerhapsDone, StoreUnavailable
from tintype.store.db import writers
from tintype.store.db.database import Database, after
from tintype.store.db.notify import Channel, notify
from tintype.store.db.records import LeaseStatus, Progress
from tintype.store.db.sockets import WakeFolder
from tintype.store.queue import lifecycle
from tintype.store.queue.lifecycle import Rules

NUMBER = 8
#: Seconds that no thread here lives to wait.
LONG = 60.0


@pytest.fixture
def commits(db: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each commit, how many rows it found."""
    monkeypatch.setattr(writers, "MAX_HELD", 60.0)  # whatever else the machine has to do
    with db.write() as tx:
        tx.execute(text("CREATE TABLE things (name TEXT PRIMARY KEY)"))
    made: list[int] = []

    def commit(tx: Connection) -> None:
        made.append(tx.exec_driver_sql("SELECT count(*) FROM things").scalar_one())

    event.listen(db._engine, "commit", commit)
    return made


def put(db: Database, name: str, then: Callable[[Connection], Any] = lambda _tx: None) -> None:
    with db.write() as tx:
        tx.execute(text("INSERT INTO things VALUES (:name)"), {"name": name})
        then(tx)


def names(db: Database) -> list[str]:
    with db.read() as view:
        return [*view.scalars(text("SELECT name FROM things ORDER BY name"))]


@contextmanager
def all_waiting(
    db: Database, *works: Callable[[], Any], held: Callable[[], Any] = lambda: None
) -> Iterator[list[Future[Any]]]:
    """Each in a thread of its own; all of them wait for the first writer, in this order, and go on after the block."""
    entered, go = threading.Event(), threading.Event()

    def first(tx: Connection) -> None:
        entered.set()
        go.wait(LONG)
        held()

    with ThreadPoolExecutor(len(works) + 1) as threads:
        started = [threads.submit(put, db, "0", first)]
        assert entered.wait(LONG)
        for number, work in enumerate(works, 1):
            started.append(threads.submit(work))
            until(lambda number=number: len(db._writers._waiting) >= number)
        yield started
        go.set()


def test_those_that_wait_are_committed_together(db: Database, commits: list[int]) -> None:
    with all_waiting(db, *(lambda name=name: put(db, f"{name}") for name in range(1, NUMBER))) as all_of_them:
        pass
    assert [one.result() for one in all_of_them] == [None] * NUMBER
    assert commits == [NUMBER]
    assert len(names(db)) == NUMBER


def test_one_that_fails_is_undone_alone_and_hears_of_it_after_the_commit(db: Database, commits: list[int]) -> None:
    """Also one that breaks a rule of the database, and the last one, who commits for the others."""
    heard: list[str] = []

    def refused(name: str) -> None:
        def refuse(tx: Connection) -> None:
            after(tx, lambda: heard.append(name))
            raise Forbidden(name)

        try:
            put(db, name, refuse)
        except Forbidden:
            assert commits, "it heard of its refusal before the commit of what that rests on"
            raise

    def kept(name: str) -> None:
        put(db, name, lambda tx: after(tx, lambda: heard.append(f"{name} of {len(commits)}")))

    works = (lambda: kept("1"), lambda: refused("2"), lambda: put(db, "1"), lambda: kept("3"), lambda: refused("4"))
    with all_waiting(db, *works) as (first, one, two, again, three, four):
        pass
    assert (first.result(), one.result(), three.result()) == (None, None, None)
    assert isinstance(two.exception(), Forbidden)
    assert isinstance(four.exception(), Forbidden)
    assert "IntegrityError" in repr(again.exception())
    assert commits == [3]
    assert names(db) == ["0", "1", "3"]
    assert sorted(heard) == ["1 of 1", "3 of 1"]


def test_when_the_first_fails_alone_nothing_is_committed_for_it(db: Database, commits: list[int]) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with all_waiting(db, lambda: put(db, "1"), held=fail) as (first, one):
        pass
    assert isinstance(first.exception(), ZeroDivisionError)
    assert one.result() is None
    assert (commits, names(db)) == ([1], ["1"])


def test_a_commit_that_fails_fails_for_all(db: Database, commits: list[int]) -> None:
    def commit(_: Connection) -> None:
        raise StoreUnavailable

    event.listen(db._engine, "commit", commit, once=True)
    with all_waiting(db, lambda: put(db, "1"), lambda: put(db, "2")) as all_of_them:
        pass
    assert {type(one.exception()) for one in all_of_them} == {StoreUnavailable}
    assert names(db) == []
    put(db, "3")


def test_a_connection_that_breaks_takes_its_changes_with_it(db: Database, commits: list[int]) -> None:
    """Those before it in the group are told too; the next one begins anew."""

    def cut(tx: Connection) -> None:
        driver: Any = tx.connection.driver_connection
        driver.close() if db.kind == "postgresql" else driver.rollback()
        tx.exec_driver_sql("SELECT 1")
        raise ZeroDivisionError

    with all_waiting(db, lambda: put(db, "1", cut), lambda: put(db, "2")) as (first, one, two):
        pass
    assert type(first.exception()) is StoreUnavailable
    assert isinstance(one.exception(), StoreUnavailable | ZeroDivisionError)
    assert two.result() is None
    assert (commits, names(db)) == ([1], ["2"])


def test_a_savepoint_that_cannot_be_made_undoes_no_change_that_is_told_to_be_kept(
    db: Database, commits: list[int]
) -> None:
    savepoints = count(1)

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SAVEPOINT") and next(savepoints) == 2:
            raise StoreUnavailable

    event.listen(db._engine, "before_cursor_execute", refuse)
    with all_waiting(db, lambda: put(db, "1"), lambda: put(db, "2"), lambda: put(db, "3")) as all_of_them:
        pass
    told = [str(number) for number, one in enumerate(all_of_them) if one.exception() is None]
    assert told == names(db)
    assert "3" in told, "the turn goes on"


def test_a_refusal_whose_connection_is_gone_is_no_change_that_may_be_made(db: Database, commits: list[int]) -> None:
    if db.kind == "sqlite":
        pytest.skip("a file has no connection that could be lost")

    def refuse(tx: Connection) -> None:
        driver: Any = tx.connection.driver_connection
        driver.close()
        raise Forbidden

    with pytest.raises(StoreUnavailable) as told:
        put(db, "1", refuse)
    assert type(told.value) is StoreUnavailable
    assert names(db) == []


def test_where_the_answer_to_the_commit_is_lost_each_is_told_that(db: Database, commits: list[int]) -> None:
    if db.kind == "sqlite":
        pytest.skip("a file's commit has no answer that could be lost")

    def commit(tx: Connection) -> None:
        driver: Any = tx.connection.driver_connection
        driver.commit()
        driver.close()

    def refuse(_: Connection) -> None:
        raise Forbidden

    event.listen(db._engine, "commit", commit, once=True)
    with all_waiting(db, lambda: put(db, "1"), lambda: put(db, "2", refuse)) as (first, one, refused):
        pass
    assert {type(kept.exception()) for kept in (first, one)} == {PerhapsDone}
    assert type(refused.exception()) is StoreUnavailable, "what is undone isn't perhaps done"
    assert names(db) == ["0", "1"]


def test_what_takes_long_is_committed_alone_and_a_group_has_an_end(
    db: Database, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "MAX_GROUP", 3)

    def alone() -> None:
        with db.write(no_timeout=True) as tx:
            tx.execute(text("INSERT INTO things VALUES ('alone')"))

    works = (lambda: put(db, "1"), alone, *(lambda name=name: put(db, name) for name in "2345"))
    with all_waiting(db, *works) as all_of_them:
        pass
    assert {one.result() for one in all_of_them} == {None}
    assert commits == [2, 3, 6, 7]


def test_a_note_may_come_with_a_change_but_no_change_with_a_note(db: Database, commits: list[int]) -> None:
    """What is to be durable isn't committed by a transaction that isn't."""
    if db.kind == "postgresql":
        pytest.skip("on PostgreSQL notes aren't under the lock")

    def note(name: str) -> None:
        with db.note() as tx:
            tx.execute(text("INSERT INTO things VALUES (:name)"), {"name": name})

    with all_waiting(db, lambda: note("1"), lambda: put(db, "2")) as one:
        pass
    assert [each.result() for each in one] == [None] * 3
    assert commits == [3], "a note in a durable change's transaction is one with it"
    entered, go = threading.Event(), threading.Event()

    def first() -> None:
        with db.note():
            entered.set()
            go.wait(LONG)

    with ThreadPoolExecutor(2) as threads:
        held = threads.submit(first)
        assert entered.wait(LONG)
        change = threads.submit(put, db, "3")
        until(lambda: db._writers._waiting)
        go.set()
        assert (held.result(), change.result()) == (None, None)
    assert commits == [3, 3, 4]


def test_a_group_notifies_once_of_what_is_committed(db: Database, commits: list[int]) -> None:
    if db.kind == "sqlite":
        pytest.skip("there each writer sends its own, after the commit")

    def tell(name: str, *, fail: bool = False) -> None:
        def then(tx: Connection) -> None:
            notify(tx, Channel.QUEUED)
            notify(tx, Channel.ENDED, name)
            if fail:
                raise ZeroDivisionError

        put(db, name, then)

    with db.listening([Channel.QUEUED, Channel.ENDED]) as source:
        with all_waiting(db, lambda: tell("1"), lambda: tell("2", fail=True), lambda: tell("3")):
            pass
        heard: list[tuple[str, str]] = []
        while len(heard) < 3:
            heard += source.receive()
    assert heard == [("queued", ""), ("ended", "1"), ("ended", "3")]
    assert commits == [3]


def test_one_thread_makes_several_changes_in_one_commit(db: Database, commits: list[int]) -> None:
    """Each has its own outcome, and what threads change that wait meanwhile is committed with them."""
    heard: list[int] = []

    def work(name: str, *, fail: bool = False) -> Callable[[Connection], str]:
        def put_it(tx: Connection) -> str:
            after(tx, lambda: heard.append(len(commits)))
            tx.execute(text("INSERT INTO things VALUES (:name)"), {"name": name})
            if fail:
                raise Forbidden(name)
            return name

        return put_it

    several = [work("1"), work("2", fail=True), work("1"), work("3")]
    with all_waiting(db, lambda: db.write_each(several), lambda: put(db, "4")) as (first, each, other):
        pass
    assert (first.result(), other.result()) == (None, None)
    one, two, again, three = each.result()
    assert (one, three) == ("1", "3")
    assert isinstance(two, Forbidden)
    assert "IntegrityError" in repr(again)
    assert (commits, names(db)) == ([4], ["0", "1", "3", "4"])
    assert heard == [1, 1], "after the commit"


def test_the_first_of_several_changes_that_fails_leaves_the_others_a_group(db: Database, commits: list[int]) -> None:
    def fail(_: Connection) -> None:
        raise ZeroDivisionError

    outcomes = db.write_each([fail, lambda tx: tx.execute(text("INSERT INTO things VALUES ('1')")).rowcount])
    assert [type(outcomes[0]), outcomes[1]] == [ZeroDivisionError, 1]
    assert (commits, names(db)) == ([1], ["1"])


def test_several_changes_are_no_larger_a_group(
    db: Database, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "MAX_GROUP", 3)
    put_each = [lambda tx, n=n: tx.execute(text(f"INSERT INTO things VALUES ('{n}')")).rowcount for n in range(NUMBER)]
    assert db.write_each(put_each) == [1] * NUMBER
    assert commits == [3, 6, 8]


def test_a_commit_of_several_that_fails_and_a_lock_that_is_taken_fail_for_each(
    db: Database, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(_: Connection) -> None:
        raise StoreUnavailable

    put_each = [lambda tx, n=n: tx.execute(text(f"INSERT INTO things VALUES ('{n}')")).rowcount for n in "12"]
    event.listen(db._engine, "commit", commit, once=True)
    assert [*map(type, db.write_each(put_each))] == [StoreUnavailable] * 2
    assert names(db) == []
    monkeypatch.setattr(db._writers, "_timeout", 0.01)
    with ThreadPoolExecutor(1) as threads, db.write():
        assert [*map(type, threads.submit(db.write_each, put_each).result())] == [StoreUnavailable] * 2
    assert db.write_each(put_each) == [1, 1]


def test_those_behind_several_changes_that_take_long_wait_no_longer_than_for_a_turn(
    db: Database, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind an account's whose row somebody else has locked: each takes until its statement's timeout."""

    def slow(_: Connection) -> None:
        raise StoreUnavailable

    put_each = [lambda tx, n=n: tx.execute(text(f"INSERT INTO things VALUES ('{n}')")).rowcount for n in "12"]
    monkeypatch.setattr(db._writers, "_timeout", 0.0)
    assert [*map(type, db.write_each([*put_each, slow]))] == [int, int, StoreUnavailable], "one transaction is no wait"
    assert [*map(type, db.write_each([slow, *put_each]))] == [StoreUnavailable] * 3
    assert names(db) == ["1", "2"]


def test_several_changes_wake_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    if db.kind == "postgresql":
        pytest.skip("there the transaction notifies: see above")
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(WakeFolder, "send", lambda _, channel, payload: sent.append((channel, payload)))

    def tell(name: str) -> Callable[[Connection], None]:
        def work(tx: Connection) -> None:
            notify(tx, Channel.QUEUED)
            notify(tx, Channel.ENDED, name)

        return work

    db.write_each([tell("1"), tell("2"), tell("1")])
    assert sent == [("queued", ""), ("ended", "1"), ("ended", "2")]


def test_renewals_wait_for_no_request_that_is_being_ended(db: Database) -> None:
    """A group ends requests in any order; a heartbeat that has one and waits for the other would be a deadlock."""
    if db.kind == "sqlite":
        pytest.skip("there a heartbeat has the lock")
    tenant = Tenant(store_on(db))
    for _ in range(3):
        tenant.submit()
    first, second, third = sorted((tenant.claim() for _ in range(3)), key=lambda one: one.id)
    progress = [Progress(one.id, 1, 1, 4) for one in (first, second, third)]
    rules = Rules(lease=LEASE, retention=RETENTION)
    tenant.store.queue.cancel(second.id, tenant.account_id)
    with ThreadPoolExecutor(1) as threads, db.write() as tx:
        assert lifecycle.complete(tx, third.id, 1, a_result(), rules)
        renewed = threads.submit(tenant.store.leases.renew, progress).result(LONG)
        assert lifecycle.complete(tx, first.id, 1, a_result(), rules)
    assert renewed == {first.id: LeaseStatus.KEEP, second.id: LeaseStatus.CANCEL, third.id: LeaseStatus.KEEP}
    assert tenant.find(second).step == 1
