"""PostgreSQL's connections, with a timeout at every level: a server may be slow or frozen, a machine may vanish.

What waits, and what ends it:

- a statement on a server that works: `statement_timeout`, `lock_timeout`, on the server itself;
- a statement on a server that is frozen, or gone with its machine: the client, which closes the connection;
- a connection to such a server: `connect_timeout`; one that only listens: TCP's keepalives;
- other clients, while one that froze or vanished has the lock: `idle_in_transaction_session_timeout`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from tintype.errors import StoreUnavailable
from tintype.store.db.statements import LATER, execute, execute_waiting

if TYPE_CHECKING:
    from tintype.store.db.database import Opening, Way

#: The advisory lock's number: any constant that no other program in the database uses ("tint").
LOCK = 0x74696E74
#: libpq's own, where the URL doesn't say otherwise: seconds for a connection to each host, and half a minute until a
#: listener notices that a machine no longer answers.
DEFAULTS: Final = {"connect_timeout": 5, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
#: How much longer than the server the client waits for an answer: a server that works reports a timeout itself.
MARGIN = 1.5
#: Of the channels' names here: other programs may use the database.
PREFIX = "tintype_"
#: A replica's answer to a write; and that to a statement that was prepared before a migration.
READ_ONLY, STALE = "25006", "0A000"


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""


class Cursor(psycopg.Cursor[Any]):
    """A cursor after whose rollbacks psycopg still has what it has prepared: no change of ours makes or drops a table.

    Else eight submits with one refusal among them take twice as long.
    """

    def execute(self, query: Any, *args: Any, **options: Any) -> Self:
        """Execute a statement."""
        if not (isinstance(query, str) and query.startswith("ROLLBACK")):
            return super().execute(query, *args, **options)
        before = self.connection.prepare_threshold
        self.connection.prepare_threshold = None  # it looks at no result then
        try:
            return super().execute(query, *args, **options)
        finally:
            self.connection.prepare_threshold = before


class TimedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server doesn't answer for `timeout` seconds."""

    timeout = math.inf
    #: What the transaction's commit notifies of, in one message with it: channels and payloads.
    notices: Sequence[tuple[str, str]] = ()

    def commit(self) -> None:
        """Commit the transaction."""
        notices, self.notices = self.notices, ()
        if notices:
            notify = sql.SQL("NOTIFY {}, {}")
            told = [notify.format(sql.Identifier(channel), sql.Literal(payload)) for channel, payload in notices]
            self.execute(sql.SQL("; ").join([*told, sql.SQL("COMMIT")]))
        else:
            super().commit()

    def rollback(self) -> None:
        """Roll the transaction back, if there is one."""
        if self.info.transaction_status != TransactionStatus.IDLE:
            self.execute("ROLLBACK")

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Have psycopg wait for whatever the server is to say; raises NoAnswer."""
        try:
            return super().wait(_until(gen, time.monotonic() + self.timeout), *args, **kwargs)
        except NoAnswer:
            self.close()  # a late answer would be taken for the next statement's
            raise


def postgres_engine(url: URL, timeout: float, name: str, **common: Any) -> Engine:
    """An engine whose statements end after `timeout` seconds; `open_transaction` begins each of its transactions.

    name: what `pg_stat_activity` has for its connections, unless the URL or PGAPPNAME says otherwise.
    """
    defaults = {key: value for key, value in DEFAULTS.items() if key not in url.query}
    engine = create_engine(url, connect_args={"fallback_application_name": name, **defaults}, **common)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, _args: object, parameters: dict[str, Any]) -> TimedConnection:
        # It begins no transaction by itself, which would take a message of its own: `open_transaction` does.
        connection = TimedConnection.connect(**parameters, autocommit=True, cursor_factory=Cursor)
        connection.timeout = MARGIN * timeout
        # For statements without a transaction: one whose client has gone would wait on, and keep its connection.
        connection.execute(f"SET statement_timeout = {_milliseconds(timeout)}")
        return connection

    @event.listens_for(engine, "before_cursor_execute")
    def execute(connection: Connection, *_: object) -> None:
        if connection.info.get(LATER):  # in the order of the program
            execute_waiting(connection)

    @event.listens_for(engine, "checkin")
    def checkin(connection: TimedConnection | None, record: ConnectionPoolEntry) -> None:
        record.info.pop(LATER, None)  # of a change that was undone: its next user may begin no transaction
        if connection is not None:  # its next user begins with a message to the server, with a timeout
            connection.timeout = MARGIN * timeout

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> None:
        # A replica may stay one: the next connection may lead to the server that took over. And nothing else makes
        # psycopg forget what it has prepared, where there is no transaction to roll back.
        if getattr(context.original_exception, "sqlstate", None) in {READ_ONLY, STALE}:
            context.is_disconnect = True

    return engine


def open_transaction(connection: Connection, opening: Opening, timeout: float, idle_timeout: float) -> None:
    """Begin one: its statements end after `timeout` seconds; while it waits for us, it ends after `idle_timeout`."""
    limit = math.inf if opening.no_timeout else timeout
    driver: Any = connection.connection.driver_connection
    driver.timeout, driver.notices = MARGIN * limit, ()
    # One message, for this transaction only: a connection pooler between us and the server may give the next one
    # another of the server's processes.
    execute(connection, _opening(opening.way, limit, idle_timeout))


class Notifications:
    """What a connection that listens is told: a source of wake-ups."""

    stands = True

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """For those who wait for it."""
        return self._connection.fileno()

    def receive(self) -> list[tuple[str, str]]:
        """The notifications that are there, each a channel and a payload, without waiting; repetitions count once."""
        found = self._connection.notifies(timeout=0)
        return [*dict.fromkeys((one.channel.removeprefix(PREFIX), one.payload) for one in found)]


@contextmanager
def listening(begun: Connection, channels: Iterable[str]) -> Iterator[Notifications]:
    """A connection of the caller's own, outside of any transaction, that listens; raises StoreUnavailable.

    begun: one of the pool, which works, since a transaction has just begun on it.
    """
    try:
        begun.rollback()
        connection: Any = begun.connection.driver_connection
        begun.detach()  # no other caller gets it
        with closing(connection):
            connection.execute("; ".join(f"LISTEN {PREFIX}{channel}" for channel in channels))
            yield Notifications(connection)
    except (psycopg.Error, SQLAlchemyError) as error:
        raise StoreUnavailable from error


@lru_cache
def _opening(way: Way, limit: float, idle_timeout: float) -> str:
    """The statements that begin a transaction."""
    milliseconds = _milliseconds(limit)
    statements = [
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if way == "read" else "BEGIN",
        f"SET LOCAL statement_timeout = {milliseconds}",
        f"SET LOCAL lock_timeout = {milliseconds}",
        f"SET LOCAL idle_in_transaction_session_timeout = {max(1, round(idle_timeout * 1000))}",
        *(["SET LOCAL synchronous_commit = off"] if way == "note" else []),
        *([f"SELECT pg_advisory_xact_lock({LOCK})"] if way == "write" else []),
    ]
    return "; ".join(statements)


def _milliseconds(limit: float) -> int:
    """A limit as PostgreSQL takes it, to which 0 is none."""
    return 0 if limit == math.inf else max(1, round(limit * 1000))


def _until(gen: Generator[Any, Any, Any], deadline: float) -> Generator[Any, Any, Any]:
    """psycopg's wait, until a moment of the monotonic clock; it is resumed ten times a second."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise NoAnswer("the server has not answered in time")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value
