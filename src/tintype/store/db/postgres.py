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
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import immutabledict

from tintype.errors import StoreUnavailable

#: The advisory lock's number: any constant that no other program in the database uses ("tint").
LOCK = 0x74696E74
#: libpq's own, where the URL doesn't say otherwise: seconds for a connection to each host, and half a minute until a
#: listener notices that a machine no longer answers.
DEFAULTS: Final = {"connect_timeout": 5, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
#: How much longer than the server the client waits for an answer: a server that works reports a timeout itself.
MARGIN = 1.5
#: Of the channels' names here: other programs may use the database.
PREFIX = "tintype_"
#: A replica's answer to a write.
READ_ONLY = "25006"


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""


class TimedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server doesn't answer for `timeout` seconds."""

    timeout = math.inf

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Have psycopg wait for whatever the server is to say; raises NoAnswer."""
        try:
            return super().wait(_until(gen, time.monotonic() + self.timeout), *args, **kwargs)
        except NoAnswer:
            self.close()  # a late answer would be taken for the next statement's
            raise


def postgres_engine(url: URL, timeout: float, idle_timeout: float, name: str, **common: Any) -> Engine:
    """An engine whose statements end after `timeout` seconds, and idle transactions after `idle_timeout`.

    name: what `pg_stat_activity` has for its connections, unless the URL or PGAPPNAME says otherwise.

    Execution options of a transaction: `way` is how it changes the database, `write` under the one lock, `note` without
    waiting for that or for the disk; without it, it is read only. `no_timeout`: its statements have none.
    """
    defaults = {key: value for key, value in DEFAULTS.items() if key not in url.query}
    engine = create_engine(url, connect_args={"fallback_application_name": name, **defaults}, **common)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, _args: object, parameters: dict[str, Any]) -> TimedConnection:
        # It begins no transaction by itself, which would take a message of its own: `begin` below does.
        connection = TimedConnection.connect(**parameters, autocommit=True)
        connection.timeout = MARGIN * timeout
        return connection

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        limit = math.inf if options.get("no_timeout") else timeout
        driver: Any = connection.connection.driver_connection
        driver.timeout = MARGIN * limit
        # One message, for this transaction only: a connection pooler between us and the server may give the next one
        # another of the server's processes.
        connection.exec_driver_sql("; ".join(_opening(options, limit, idle_timeout)))

    @event.listens_for(engine, "checkin")
    def checkin(connection: TimedConnection | None, _record: object) -> None:
        if connection is not None:  # its next user begins with a message to the server, with a timeout
            connection.timeout = MARGIN * timeout

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> None:
        # A replica may stay one: the next connection may lead to the server that took over.
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True

    return engine


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


def _opening(options: immutabledict[str, Any], limit: float, idle_timeout: float) -> Iterator[str]:
    """The statements that begin a transaction; 0 is no limit to PostgreSQL."""
    way = options.get("way")
    yield "BEGIN" if way else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    if way == "note":
        yield "SET LOCAL synchronous_commit = off"
    milliseconds = 0 if limit == math.inf else max(1, round(limit * 1000))
    for name in ("statement_timeout", "lock_timeout"):
        yield f"SET LOCAL {name} = {milliseconds}"
    yield f"SET LOCAL idle_in_transaction_session_timeout = {max(1, round(idle_timeout * 1000))}"
    if way == "write":
        yield f"SELECT pg_advisory_xact_lock({LOCK})"


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
