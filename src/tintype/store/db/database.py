"""The database: its connections, the one lock that every change runs under, and its clock."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import Histogram
from sqlalchemy import URL, Connection, Double, Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from tintype import __version__
from tintype.errors import BadRequest, StoreUnavailable
from tintype.private import create, make_folder
from tintype.store.db.outages import Outages
from tintype.store.db.writers import Group, Kind, Writers
from tintype.telemetry.metrics import Transactions

if TYPE_CHECKING:
    from tintype.store.db.postgres import Notifications

#: Seconds for which a writer queues for SQLite's lock at most, and between two attempts.
MAX_QUEUE_WAIT, RETRY = 0.25, 0.001
#: Characters that no UTF-8 or no database takes; JSON can express both: `"\u0000"`, `"\ud800"`.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Database:
    """One SQLite file or Postgres database: `read()` for queries, `write()` for changes under the lock.

    url: SQLAlchemy's, `sqlite:////absolute/path.db` or `postgresql+psycopg://…`; a SQLite file's folder is made.
    timeout: seconds after which StoreUnavailable is raised: for a connection, for the lock, and on Postgres for any
    statement. idle_timeout: seconds that a transaction on Postgres may be idle before the server ends it: its process
    is frozen or gone. quiet: whether its opener reports its failures, so that nothing is logged. process: as Postgres
    lists its connections.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        idle_timeout: float = 10.0,
        quiet: bool = False,
        process: str = "command",
    ) -> None:
        # Parameters hidden: they would bring prompts into logs.
        common = {"pool_timeout": timeout, "hide_parameters": True}
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            self._engine = _sqlite_engine(parsed, timeout, **common)
        else:
            from tintype.store.db.postgres import postgres_engine  # noqa: PLC0415 - an extra that SQLite doesn't need

            name = f"tintype {process} {__version__}"
            self._engine = postgres_engine(parsed, timeout, idle_timeout, name, **common)
        event.listen(self._engine, "before_cursor_execute", _reject_invalid_text)
        #: Histograms of how long this process's transactions wait and take.
        self.times = Transactions()
        self._noting = self._engine.execution_options(way="note")
        self._writing = self._engine.execution_options(way="write")
        self._writers = Writers(self._begin_group, timeout, self.times)
        self._outages = Outages(quiet=quiet)
        self._ahead = 0.0
        #: Another object after each change of this process, for who keeps what it has read.
        self.last_change = object()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection with one snapshot of the database; raises StoreUnavailable."""
        with self._outages.watched(), self._begun(self._engine) as view, self.times.read.time():
            yield view
            # At a rollback, which else ends it, psycopg forgets what it has prepared. Where the commit fails, what was
            # read is read, and the rollback finds the connection broken.
            with suppress(view.engine.dialect.loaded_dbapi.Error):
                view.connection.commit()

    @contextmanager
    def write(self, *, no_timeout: bool = False) -> Iterator[Connection]:
        """One change under the lock: durable at the end, undone by any exception; raises StoreUnavailable.

        It is committed together with those of threads that wait meanwhile (`writers.py`). no_timeout: on Postgres,
        neither its statements nor the wait for the lock have a timeout; then it has a transaction of its own.
        Callbacks given to `after` run once it is committed. Raises PerhapsDone where it is unknown whether it is.
        """
        callbacks: list[Callable[[], None]] = []
        with (
            self._outages.watched(changes=True),
            self._writers.change(Kind(alone=no_timeout), self.times.write, callbacks) as tx,
        ):
            yield tx
        self.last_change = object()
        for callback in callbacks:
            callback()

    @contextmanager
    def note(self) -> Iterator[Connection]:
        """A change that is made again soon, as heartbeats are: it doesn't wait for the disk.

        A power cut may undo it, but no `write()` that came after it survives without it. On Postgres it isn't under the
        lock: it must lock rows that it reads in order to change them. Raises StoreUnavailable.
        """
        if self.kind == "postgresql":
            with self._outages.watched(), self._begun(self._noting) as tx, self.times.note.time():
                yield tx
                tx.commit()
        else:
            noted = self._writers.change(Kind(durable=False), self.times.note, [])
            with self._outages.watched(changes=True), noted as tx:
                yield tx
        self.last_change = object()

    def _begin_group(self, group: Group) -> Connection:
        engine = self._writing if group.kind.durable else self._noting
        return self._begun(engine, self.times.lock, group=group, no_timeout=group.kind.alone)

    def _begun(self, engine: Engine, lock: Histogram | None = None, **options: object) -> Connection:
        """A connection with a transaction; what it isn't told to commit is rolled back when it is closed.

        lock: observes the wait for the lock, where it begins with that.
        """
        try:
            return self._begin(engine, lock, options)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # The database has closed a connection of the pool: a fresh one, so that its restart costs no request.
        return self._begin(engine, lock, options)

    def _begin(self, engine: Engine, lock: Histogram | None, options: dict[str, object]) -> Connection:
        with self.times.connection.time():
            connection = engine.connect()
        try:
            with lock.time() if lock else nullcontext():
                connection.execution_options(**options).begin()
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def read_only(self) -> bool:
        """Whether it refuses changes although it can be read, as far as this process knows."""
        return self._outages.read_only

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @property
    def file(self) -> str | None:
        """SQLite's file; None for PostgreSQL."""
        return self._engine.url.database if self.kind == "sqlite" else None

    @contextmanager
    def listening(self, channels: Iterable[str]) -> Iterator[Notifications]:
        """PostgreSQL's notifications of some channels, on a connection of its own; raises StoreUnavailable."""
        from tintype.store.db.postgres import listening  # noqa: PLC0415 - as above

        with self._outages.watched(), listening(self._begun(self._engine), channels) as notifications:
            yield notifications

    def move_clock(self, seconds: float) -> None:
        """Have `now` be this much further ahead of the database's own clock, for this object alone: for tests."""
        if not event.contains(self._engine, "before_cursor_execute", self._ask_later):
            event.listen(self._engine, "before_cursor_execute", self._ask_later, retval=True)
        self._ahead += seconds

    def _ask_later(self, _: object, __: object, statement: str, parameters: Any, *___: object) -> tuple[str, Any]:
        own = CLOCKS[self.kind]
        return statement.replace(own, f"({own} + {self._ahead!r})"), parameters

    def close(self) -> None:
        """Close the connections: those in use, when they are returned to the pool."""

        def close_returned(connection: Any, _record: object) -> None:
            if connection is not None:  # it would stay open in the pool
                connection.close()

        event.listen(self._engine, "checkin", close_returned)
        self._engine.dispose()


def shown_url(url: str) -> str:
    """A database's URL for people and logs: without passwords, which libpq takes behind the `?` too."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.database or ""
    hidden = {name: "***" for name in parsed.query if "password" in name}
    return parsed.update_query_dict(hidden).render_as_string()


def after(tx: Connection, callback: Callable[[], None]) -> None:
    """Call this once a writing transaction is committed, never if it is rolled back; it mustn't raise or take long."""
    tx.get_execution_options()["group"].callbacks.append(callback)


class now(FunctionElement[float]):  # noqa: N801 - a function in SQL
    """The database's clock in SQL, in unix seconds: machines that share a database need not agree on the time."""

    type = Double()
    inherit_cache = True


#: Built once: building it takes longer than running it.
READ_CLOCK = select(now())


def read_clock(connection: Connection) -> float:
    """The database's clock in unix seconds, for transactions that use one moment in several places."""
    return float(connection.execute(READ_CLOCK).scalar_one())


#: It in each database's own SQL.
CLOCKS = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",  # 2440587.5 is the Julian day of 1970-01-01
    # Not now(): that is the transaction's start, and a transaction may have waited long for the lock.
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
}


@compiles(now)
def _clock(_: object, compiler: SQLCompiler, **__: Any) -> str:
    return CLOCKS[compiler.dialect.name]


def _sqlite_engine(url: URL, timeout: float, **common: Any) -> Engine:
    file = url.database
    if not file or file == ":memory:":
        raise ValueError("the store needs a SQLite file: a database in memory is another one in every thread")
    folder = Path(file).parent
    make_folder(folder)
    with suppress(FileExistsError):  # SQLite gives its journals the file's own mode
        os.close(create(Path(file)))
    engine = create_engine(url, **common)

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver would begin late, without the lock: `begin` below does it
        connection.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if (way := connection.get_execution_options().get("way")) is None:
            connection.exec_driver_sql("BEGIN")
        else:
            # FULL for money: what was answered must survive a power cut.
            synchronous = "FULL" if way == "write" else "NORMAL"
            if connection.info.get("synchronous") != synchronous:
                connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
                connection.info["synchronous"] = synchronous
            with _queued(folder):
                connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _queued(folder: Path) -> Iterator[None]:
    """An advisory lock (flock) on the database's folder, in which processes queue for SQLite's write lock.

    SQLite's own waiters sleep for up to 0.1 s between two attempts, so that a process with several writers starves the
    others: a worker waited for seconds at each of its changes. Best effort: after MAX_QUEUE_WAIT a writer goes on
    without it, and nothing depends on it. Raises StoreUnavailable.
    """
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StoreUnavailable from error
    try:
        until = time.monotonic() + MAX_QUEUE_WAIT
        while time.monotonic() < until:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(RETRY)
        yield
    finally:
        os.close(lock)  # which releases it


def _reject_invalid_text(_: object, __: object, ___: object, parameters: Any, ____: object, many: bool) -> None:
    """Reject NUL and lone surrogates here, so that both databases fail alike; raises BadRequest."""
    for row in parameters if many else [parameters]:
        for value in row.values() if isinstance(row, Mapping) else row:
            if isinstance(value, str) and UNSTORABLE.search(value):
                raise BadRequest("A text contains a NUL or a lone surrogate, which can't be stored")
