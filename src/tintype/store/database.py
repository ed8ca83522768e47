"""The database: its connections, the one lock that every change runs under, and its clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from tintype.errors import StoreUnavailable

#: The advisory lock's number on Postgres: any constant that no other program in the database uses ("tint").
LOCK = 0x74696E74


class Database:
    """One SQLite file or Postgres database: `read()` looks at it, `write()` changes it under the lock.

    url: SQLAlchemy's, `sqlite:////absolute/path.db` or `postgresql+psycopg://…`; a SQLite file's folder is made.
    patience: seconds that `write()` waits for the lock before it raises StoreUnavailable.
    """

    def __init__(self, url: str, *, patience: float = 30.0) -> None:
        # Pinged before use, so that a restarted database costs a reconnection and not a failed request.
        # Parameters hidden: they would bring prompts into logs.
        self._engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
        if self._engine.dialect.name == "sqlite":
            _prepare_sqlite(self._engine, patience)
        else:
            _prepare_postgres(self._engine, patience)
        self._locking = self._engine.execution_options(way="write")
        self._noting = self._engine.execution_options(way="note")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout; raises StoreUnavailable."""
        with _reachable(), self._engine.begin() as view:
            yield view

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction under the lock: committed at the end, undone by any exception; raises StoreUnavailable."""
        with _reachable(), self._locking.begin() as tx:
            yield tx

    @contextmanager
    def note(self) -> Iterator[Connection]:
        """A transaction for what is written again in a moment: a power cut may undo it, and nobody waits for the disk.

        On Postgres it isn't under the lock: rows that it reads in order to change them, it must lock. What is written
        in `write()` afterwards never survives without it. Raises StoreUnavailable.
        """
        with _reachable(), self._noting.begin() as tx:
            yield tx

    @property
    def has_bell(self) -> bool:
        """Whether it tells listeners what happens in it, as Postgres does."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def listening(self, channel: str) -> Iterator[Any]:
        """psycopg's own connection, outside of any transaction, that hears a channel; raises StoreUnavailable."""
        with _reachable():
            pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()  # it is nobody else's any more
        try:
            with _reachable_by_driver():
                connection.autocommit = True
                connection.execute(f"LISTEN {channel}")
                yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._engine.dispose()


class _Clock(FunctionElement[float]):
    type = Double()
    inherit_cache = True


def now() -> FunctionElement[float]:
    """The database's clock in SQL, in unix seconds: machines that share a database need not agree on the time."""
    return _Clock()


def read_clock(connection: Connection) -> float:
    """The database's clock in unix seconds, for transactions that use one moment in several places."""
    return float(connection.execute(select(now())).scalar_one())


@compiles(_Clock, "sqlite")
def _clock_of_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # 2440587.5 is the Julian day of 1970-01-01


@compiles(_Clock, "postgresql")
def _clock_of_postgres(*_: Any, **__: Any) -> str:
    # Not now(): that is the transaction's start, and a transaction may have waited long for the lock.
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def _prepare_sqlite(engine: Engine, patience: float) -> None:
    file = make_url(engine.url).database
    if not file or file == ":memory:":
        raise ValueError("the store needs a SQLite file: a database in memory is another one in every thread")
    Path(file).parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver would begin late and without the lock: `begin` below does it
        connection.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if (way := _way(connection)) is None:
            connection.exec_driver_sql("BEGIN")
        else:
            # FULL for money: what was answered must survive a power cut.
            connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if way == 'write' else 'NORMAL'}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_postgres(engine: Engine, patience: float) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        waits = f"SET LOCAL lock_timeout = {round(patience * 1000)}"
        ways = {
            None: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            "write": f"{waits}; SELECT pg_advisory_xact_lock({LOCK})",
            "note": f"{waits}; SET LOCAL synchronous_commit = off",
        }
        connection.exec_driver_sql(ways[_way(connection)])


def _way(connection: Connection) -> str | None:
    """How a transaction changes the database; None where it only reads."""
    return connection.get_execution_options().get("way")


@contextmanager
def _reachable() -> Iterator[None]:
    """Tell a database that is away or locked from a mistake of ours: sqlite3 has one exception class for both."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable from error
    except (OperationalError, InterfaceError, InternalError) as error:
        # On Postgres the first says that the server is away, full or too slow, the second that the connection broke in
        # our hands, the third that this server is only a copy: all of them pass.
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise
        raise StoreUnavailable from error


@contextmanager
def _reachable_by_driver() -> Iterator[None]:
    """As `_reachable`, for psycopg's own errors."""
    from psycopg import Error  # noqa: PLC0415 - an extra that SQLite doesn't need

    try:
        yield
    except Error as error:
        raise StoreUnavailable from error
