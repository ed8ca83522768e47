"""Nobody waits for ever: PostgreSQL that is slow, frozen or cut off, and clients that froze with the lock in hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.acceptance.harness import until
from tests.databases import PostgresServer
from tests.stores import new_request, store_on
from tests.tenants import Tenant

from tintype import __version__
from tintype.errors import OutOfCredits, StoreUnavailable
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database
from tintype.store.db.notify import Channel, Listener
from tintype.store.queue.queue import OWN

#: As many calls as the web process has threads for, and more than a pool has connections.
CALLERS = 40


@pytest.fixture
def databases(postgres: PostgresServer) -> PostgresServer:
    """Of this kind alone."""
    return postgres


@pytest.fixture
def open_database(url: str) -> Iterator[Callable[..., Database]]:
    """Opens the database as another process would."""
    with ExitStack() as closing:

        def opened(**limits: float) -> Database:
            db = Database(url, **limits)
            closing.callback(db.close)
            return db

        yield opened


def test_connections_are_listed_by_process_and_version(url: str, postgres: PostgresServer) -> None:
    named = f"{url}&application_name=mine"
    for address, name in ((url, f"tintype worker {__version__}"), (named, "mine")):
        db = Database(address, process="worker")
        with db.read() as view:
            assert view.scalar(text("SELECT current_setting('application_name')")) == name
        db.close()


def outcome(call: Callable[[], object]) -> type[StoreUnavailable] | None:
    """What came of a call."""
    try:
        call()
    except StoreUnavailable as error:
        return type(error)
    return None


def waiting(db: Database) -> int:
    """Connections to this database that wait for the lock."""
    mine = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with db.read() as view:
        return int(
            view.scalar(text(f"{mine} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"))
            or 0
        )


def test_who_is_silent_loses_the_lock(open_database: Callable[..., Database]) -> None:
    """As a web process that froze, or whose machine is gone, would keep it until TCP gives up: for hours."""
    frozen, other = open_database(idle_timeout=2), open_database(timeout=60)
    with pytest.raises(StoreUnavailable), frozen.write() as tx:
        tx.execute(text("INSERT INTO controls VALUES ('lost', 1)"))
        with other.write() as theirs:
            assert theirs.scalar(text("SELECT count(*) FROM controls")) == 0
    Accounts(frozen).create("it goes on", 5)


def sleeping(db: Database) -> int:
    """Connections whose statement sleeps, though it may have no client any more."""
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(600)' AND pid <> pg_backend_pid()"
    with db.read() as view:
        return int(view.scalar(text(asleep)) or 0)


def test_a_statement_ends_in_time_at_the_server_too(open_database: Callable[..., Database]) -> None:
    db, other = open_database(timeout=1), open_database()
    for opened in (db.read, db.write):
        with pytest.raises(StoreUnavailable), opened() as connection:
            connection.execute(text("SELECT pg_sleep(600)"))
    until(lambda: not sleeping(other))
    with db.write(no_timeout=True) as tx:
        tx.execute(text("SELECT pg_sleep(3)"))


def test_so_does_one_without_a_transaction_or_the_server_would_run_out_of_connections(
    open_database: Callable[..., Database], url: str
) -> None:
    """As polls do that wait while a migration, say, has the table."""
    db, other = open_database(timeout=1), open_database()
    with other.write() as tx:
        tx.execute(text("LOCK TABLE requests"))
        with pytest.raises(StoreUnavailable):
            db.ask(OWN, {"own": "", "whose": ""})
        assert tx.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")) == 0
    assert db.ask(OWN, {"own": "", "whose": ""}) == []


def test_a_frozen_server_holds_nobody_up_for_ever(
    open_database: Callable[..., Database], postgres: PostgresServer
) -> None:
    db = open_database(timeout=2)
    accounts = Accounts(db)
    account = accounts.create("one", 5)
    calls = [lambda: accounts.account(account.id), lambda: accounts.credit(account.id, 1)] * (CALLERS // 2)
    with ThreadPoolExecutor(CALLERS) as threads:
        with postgres.frozen():
            assert set(threads.map(outcome, calls)) == {StoreUnavailable}
        until(lambda: outcome(calls[0]) is None)
        assert accounts.account(account.id).balance == 5, "nothing that was refused has happened all the same"
        patient = Accounts(open_database())
        assert set(threads.map(outcome, [lambda: patient.credit(account.id, 1)] * CALLERS)) == {None}
    assert accounts.account(account.id).balance == 5 + CALLERS


def test_connections_that_a_restart_has_cut_cost_nothing_but_others(
    open_database: Callable[..., Database], postgres: PostgresServer
) -> None:
    db = open_database()

    def work() -> None:
        with ExitStack() as taken:
            for _ in range(3):
                taken.enter_context(db.read())

    def listen() -> None:
        with db.listening([Channel.QUEUED]):
            pass

    def note() -> None:
        with db.note() as tx:
            tx.execute(text("SELECT 1"))

    def ask() -> None:
        db.ask(OWN, {"own": "", "whose": ""})

    for use in (work, lambda: Accounts(db).create("one", 5), note, listen, ask):
        work()
        postgres.cut()
        use()


def prepared(db: Database) -> set[str]:
    with db.read() as view:
        return {*view.scalars(text("SELECT name FROM pg_prepared_statements"))}


def test_a_refusal_leaves_what_is_prepared(open_database: Callable[..., Database]) -> None:
    """One in a group, and one by itself: whoever has no credits would slow all others down."""
    db = open_database()
    store = store_on(db)
    rich, poor = Tenant(store), Tenant(store, money=1)
    for _ in range(8):
        rich.submit()
    before = prepared(db)
    assert len(before) >= 3
    for keys in ((rich.key, poor.key), (poor.key,)):
        *_, refused = store.queue.submit_each([new_request(key, "a", {}, 10) for key in keys])
        assert isinstance(refused, OutOfCredits)
        assert before <= prepared(db)


def test_what_is_prepared_may_be_of_tables_as_they_were(open_database: Callable[..., Database]) -> None:
    """As a migration leaves them while processes of the version before run: such a read would fail again and again."""
    db, other = open_database(), open_database()
    for _ in range(8):
        assert db.ask(OWN, {"own": "", "whose": ""}) == []
    with other.write() as tx:
        tx.execute(text("ALTER TABLE requests ALTER COLUMN steps TYPE bigint"))
    assert db.ask(OWN, {"own": "", "whose": ""}) == []


def test_reading_goes_on_while_all_writers_wait(open_database: Callable[..., Database]) -> None:
    db, other = open_database(), open_database()
    accounts = Accounts(db)
    with ThreadPoolExecutor(CALLERS) as threads:
        with other.write():
            writers = [threads.submit(accounts.create, str(number), 1) for number in range(CALLERS)]
            until(lambda: waiting(other) > 0)
            assert accounts.list() == ()
            assert waiting(other) <= 5
        assert all(writer.result(60) for writer in writers)
    assert len(accounts.list()) == CALLERS


def test_a_machine_that_takes_connections_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / ".s.PGSQL.5432"))
        silent.listen()
        db = Database(f"postgresql+psycopg://tintype@/x?host={tmp_path}&connect_timeout=2")
        with pytest.raises(StoreUnavailable):
            Accounts(db).list()
        db.close()


def test_the_first_of_several_hosts_is_down(url: str, postgres: PostgresServer, tmp_path: Path) -> None:
    several = url.replace("host=", f"target_session_attrs=read-write&host={tmp_path},")
    db = Database(several)
    Accounts(db).create("one", 5)
    db.close()


def test_every_connection_is_cut_again_and_again(
    open_database: Callable[..., Database], postgres: PostgresServer
) -> None:
    """Each call either happened or was refused, and none was refused for long; so with the listener's connection."""
    db, heard, done = open_database(), threading.Semaphore(0), threading.Event()
    accounts = Accounts(db)
    account = accounts.create("one", 0)

    def give(dollars: int) -> int:
        given = 0
        while given < dollars:
            if outcome(lambda: accounts.credit(account.id, 1)) is None:
                given += 1
        return given

    def cut() -> int:
        number = 0
        while not done.wait(0.05):
            number += postgres.cut()
        return number

    with Listener(db, {Channel.QUEUED: lambda _: heard.release()}), ThreadPoolExecutor(CALLERS) as threads:
        cutting = threads.submit(cut)
        given = sum(threads.map(give, [5] * 8))
        done.set()
        assert cutting.result() > 0
        while heard.acquire(blocking=False):
            pass
        postgres.cut()
        assert heard.acquire(timeout=60), "it listens again"
    assert accounts.account(account.id).balance >= given
    assert accounts.imbalances() == []


def test_what_is_in_use_when_all_is_closed_is_closed_afterwards(url: str) -> None:
    db = Database(url)
    with db.read() as view:
        db.close()
        own = view.connection.driver_connection
        assert own is not None
        assert not own.closed
    assert own.closed
