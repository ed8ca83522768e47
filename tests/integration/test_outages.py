"""A database that is away or refuses: how many log lines that makes, and what they say."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs
from tests.acceptance.harness import until
from tests.databases import PostgresServer, hurried, migrated
from tests.stores import store_on

from tintype.errors import StorageUnavailable, StoreUnavailable
from tintype.media.http import PublicClient
from tintype.media.storage import Files
from tintype.settings.groups import WebhookSettings
from tintype.store.db import outages
from tintype.store.db.database import Database
from tintype.store.db.notify import Channel, Listener
from tintype.store.db.outages import Outages, cause
from tintype.store.db.records import Delivery, DeliveryOutcome
from tintype.store.ops.autoscaler import LeaderLease
from tintype.store.ops.processes import Workers
from tintype.store.webhooks.outbox import Backoff, Outbox
from tintype.telemetry import logs
from tintype.telemetry.logs import ProcessLog
from tintype.web.app import _every
from tintype.webhooks import FAILING, ReceiverOutages, WebhookSender
from tintype.worker.heartbeat import Heartbeat
from tintype.worker.inputs import Inputs
from tintype.worker.loop import Worker, WorkerConfig
from tintype.worker.models import ModelPool
from tintype.worker.outputs import Outputs, SafetyFilter
from tintype.worker.previews import PreviewRenderer

Line = dict[str, Any]


@pytest.fixture
def databases(postgres: PostgresServer) -> PostgresServer:
    """Of this kind alone."""
    return postgres


def call(db: Database) -> None:
    """A call that doesn't tell of its failure."""
    with suppress(StoreUnavailable), db.read():
        pass


def test_a_database_that_is_away_is_two_lines_however_many_meet_it(
    url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen senders, a bell, and callers as fast as they can; all with one pool of connections."""
    monkeypatch.setattr(logs, "QUIET", 0.2)
    monkeypatch.setattr("tintype.webhooks.AWAY", 0.05)
    monkeypatch.setattr("tintype.store.db.notify.PAUSE", 0.05)
    db, looked = Database(f"{url}&password=hush-hush", timeout=2), threading.Event()
    outbox = Outbox(db, Backoff(1, 1, 3), lease=10, retention=60)
    with ExitStack() as running, capture_logs() as lines:
        client = running.enter_context(PublicClient(frozenset(), 1))
        running.enter_context(WebhookSender(outbox, client, WebhookSettings(senders=16, poll=0.01, timeout=5)))
        running.enter_context(Listener(db, {Channel.QUEUED: lambda _: looked.set()}))
        assert looked.wait(60)
        postgres.stop()
        for _ in range(50):
            call(db)
        until(lambda: db._outages._away._times > 60)
        postgres.start()
        until(lambda: len(lines) > 1)
    db.close()
    told = [(line["event"], line["log_level"]) for line in lines]
    assert told == [("database unavailable", "warning"), ("database available again", "warning")]
    assert lines[1]["times"] > 60
    assert "sqlalche.me" not in str(lines)
    assert "hush-hush" not in str(lines)
    assert "\n" not in lines[0]["cause"]


def test_of_all_senders_one_looks_while_the_database_is_away(url: str, postgres: PostgresServer) -> None:
    db = Database(url)
    outbox = Outbox(db, Backoff(1, 1, 3), lease=10, retention=60)
    with postgres_stopped(postgres), capture_logs(), PublicClient(frozenset(), 1) as client:
        with WebhookSender(outbox, client, WebhookSettings(senders=16, poll=0.001, timeout=5)):
            until(lambda: db._outages._away._times > 0)
            threading.Event().wait(0.5)
        assert db._outages._away._times <= 1 + 16, "each looks once more at most, as it ends"
    db.close()


@contextmanager
def postgres_stopped(postgres: PostgresServer) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


def test_reading_well_does_not_end_that_nothing_can_be_changed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUIET", 0.0)
    db, other = Database(url), Database(url)
    with capture_logs() as lines:
        with other.write():
            for _ in range(5):
                with hurried(db, 0.1), pytest.raises(StoreUnavailable), db.write():
                    pass
                with db.read() as view:
                    view.execute(text("SELECT 1"))
        with db.write():
            pass
    assert [line["event"] for line in lines] == ["database can't be changed", "database can be changed again"]
    assert lines[0]["cause"].startswith("its lock is taken: canceling statement due to ")
    assert lines[1]["times"] == 5
    db.close()
    other.close()


def test_sqlite_that_is_locked_says_so(tmp_path: Path) -> None:
    db, other = (Database(f"sqlite:///{tmp_path / 'x.db'}", timeout=0.1) for _ in range(2))
    with capture_logs() as lines, other.write(), pytest.raises(StoreUnavailable), db.write():
        pass
    assert [(line["event"], line["cause"]) for line in lines] == [
        ("database can't be changed", "its lock is taken: database is locked")
    ]
    db.close()
    other.close()


def test_who_stops_meanwhile_leaves_as_it_was_told(tmp_path: Path) -> None:
    """Not with an error: a worker, and the keeper of a fleet. What they wanted to say, others see by their silence."""
    path = tmp_path / "tintype.db"
    migrated(f"sqlite:///{path}")
    db = Database(f"sqlite:///{path}")
    store, lead = store_on(db, lease=5, retention=60), LeaderLease(db, "keeper", 15)
    safety, nothing = SafetyFilter(None), cast(Inputs, None)
    outputs = Outputs(store.leases, Files(tmp_path, 60), safety, with_recipe=False)
    config = WorkerConfig(id="w1", max_images=1, max_rows=1, poll=1, grace=1, heartbeat=60)
    worker = Worker(store, ModelPool("cpu", "float32", 32, {}), nothing, outputs, config)
    with closing(sqlite3.connect(path)) as other, capture_logs(), ExitStack() as hurry:
        with Heartbeat(worker, PreviewRenderer(store.queue.previews, safety), ProcessLog()):
            assert lead.take()
            other.execute("BEGIN IMMEDIATE")
            hurry.enter_context(hurried(db, 0.05))
        lead.release()
    assert [one.id for one in Workers(db).alive(60)] == ["w1"]
    db.close()


def test_a_pool_that_is_used_up_and_a_lock_within_the_process(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}", timeout=0.05)
    with capture_logs() as lines:
        with db.write():
            failed = in_a_thread(db.write)
        with ExitStack() as many:
            for _ in range(15):
                many.enter_context(db.read())
            failed += in_a_thread(db.read)
    assert failed == [StoreUnavailable] * 2
    assert [line["cause"] for line in lines] == [
        "its lock is taken, and wasn't free within 0.05 s",
        "all connections that this process may have were in use for too long",
    ]
    db.close()


def in_a_thread(opened: Callable[[], Any]) -> list[type[Exception]]:
    """What entering it raises in another thread."""
    found: list[type[Exception]] = []

    def enter() -> None:
        try:
            with opened():
                pass
        except StoreUnavailable as error:
            found.append(type(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return found


class Full(psycopg.errors.DiskFull):
    """As PostgreSQL says it, with more below its first line."""

    def __str__(self) -> str:
        return 'could not extend file "base/5/1": No space left on device\nHINT:  Check free disk space.'


def wrapped(own: Exception) -> OperationalError:
    return OperationalError("INSERT INTO requests …", {"params": "a fox"}, own)


def of_sqlite(code: int, words: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    return error


CAUSES: Sequence[tuple[Exception, str, str]] = [
    (wrapped(Full()), 'its disk is full: could not extend file "base/5/1": No space left on device', "_read_only"),
    (
        wrapped(psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT")),
        "it only reads, as a copy does",
        "_read_only",
    ),
    (wrapped(psycopg.errors.QueryCanceled("canceling statement")), "it is too slow: canceling statement", "_away"),
    (wrapped(psycopg.errors.TooManyConnections("sorry")), "it takes no more connections: sorry", "_away"),
    (wrapped(psycopg.OperationalError("connection refused\n\tIs it running?")), "connection refused", "_away"),
    (wrapped(psycopg.OperationalError()), "OperationalError", "_away"),
    (wrapped(of_sqlite(sqlite3.SQLITE_FULL, "database or disk is full")), "its disk is full: ", "_read_only"),
    (wrapped(of_sqlite(sqlite3.SQLITE_READONLY_DBMOVED, "attempt to write")), "it only reads: ", "_read_only"),
    (wrapped(of_sqlite(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")), "its disk fails: disk I/O error", "_away"),
    (PoolTimeout("QueuePool limit of size 5"), "all connections that this process may have", "_away"),
]


@pytest.mark.parametrize(("error", "words", "state"), CAUSES)
def test_each_cause_in_words_of_its_own(error: Exception, words: str, state: str) -> None:
    assert cause(error).startswith(words)
    assert "a fox" not in cause(error)
    assert "INSERT INTO" not in cause(error)
    seen = Outages()
    with capture_logs() as lines, pytest.raises(StoreUnavailable), seen.watched():
        raise error
    assert len(lines) == 1
    assert getattr(seen, state).lasts


def test_a_command_that_ends_with_its_error_logs_nothing_beside(tmp_path: Path) -> None:
    with capture_logs() as lines, pytest.raises(StoreUnavailable), outages.Outages(quiet=True).watched():
        raise CAUSES[0][0]
    assert lines == []


def delivery(webhook: str, receiver: str) -> Delivery:
    nothing: dict[str, Any] = dict.fromkeys(Delivery.__annotations__)
    return Delivery(**nothing | {"webhook_id": webhook, "receiver": receiver, "url": "https://one.example/token-1234"})


def test_a_receiver_that_takes_nothing_is_a_line_and_not_one_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUIET", 0.0)
    receivers = ReceiverOutages()
    with capture_logs() as lines:
        for _ in range(50):
            receivers.record(delivery("one", "one.example"), DeliveryOutcome(500))
            receivers.record(delivery("other", "other.example"), DeliveryOutcome(204))
        receivers.record(delivery("one", "one.example"), DeliveryOutcome(200))
        receivers.record(delivery("one", "one.example"), DeliveryOutcome(200))
    assert [{**line, "log_level": ""} for line in lines] == [
        {"event": "webhook not taken", "webhook": "one", "cause": "HTTP status 500", "log_level": ""},
        {"event": "webhook taken again", "webhook": "one", "times": 50, "seconds": 0, "log_level": ""},
    ]


def test_receivers_that_fail_fill_no_memory() -> None:
    receivers = ReceiverOutages()
    with capture_logs():
        for number in range(2 * FAILING):
            receivers.record(delivery("one", f"{number}.example"), DeliveryOutcome(500))
    assert len(receivers._failing) == FAILING


@pytest.mark.parametrize(
    ("error", "told", "tracebacks"),
    [
        (StoreUnavailable(), 0, 0),  # the database tells of that
        (StorageUnavailable(), 0, 0),  # as the storage does
        (ZeroDivisionError("of nobody's foresight"), 1, 1),
    ],
)
def test_housekeeping_that_fails_each_time_is_told_once(error: Exception, told: int, tracebacks: int) -> None:
    calls = count()

    def job() -> None:
        if next(calls) < 20:
            raise error
        over.set()

    async def keep_house() -> None:
        task = asyncio.create_task(_every(0, job))
        while not over.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    over = threading.Event()
    with capture_logs() as lines:
        asyncio.run(keep_house())
    assert sum(line["event"] == "housekeeping fails" for line in lines) == told
    assert sum("exc_info" in line for line in lines) == tracebacks
    assert len(lines) == told + tracebacks
