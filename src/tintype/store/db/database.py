"""The database: its connections, the one lock that every change runs under, and its clock."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

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
from tintype.store.db.statements import LATER, Statement, execute, execute_waiting
from tintype.store.db.writers import Change, Group, Kind, Writers
from tintype.telemetry.metrics import Transactions

if TYPE_CHECKING:
    from tintype.store.db.postgres import Notifications

T = TypeVar("T")

#: Seconds for which a writer queues for SQLite's lock at most, and between two attempts.
MAX_QUEUE_WAIT, RETRY = 0.25, 0.001
#: Characters that no UTF-8 or no database takes; JSON can express both: `"\u0000"`, `"\ud800"`.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Opening(NamedTuple):
    """How a transaction begins: it reads, writes under the lock, or notes without waiting for the disk."""

    way: Way
    #: On Postgres, whether its statements have no timeout.
    no_timeout: bool = False


Way = Literal["read", "write", "note"]
READ, NOTE = Opening("read"), Opening("note")


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
            self._open = partial(_open_sqlite, Path(parsed.database or "").parent)
        else:
            from tintype.store.db import postgres  # noqa: PLC0415 - an extra that SQLite doesn't need

            name = f"tintype {process} {__version__}"
            self._engine = postgres.postgres_engine(parsed, timeout, name, **common)
            self._open = partial(postgres.open_transaction, timeout=timeout, idle_timeout=idle_timeout)
        event.listen(self._engine, "before_cursor_execute", _reject_invalid_text, retval=True)
        #: Histograms of how long this process's transactions wait and take.
        self.times = Transactions()
        self._writers = Writers(self._begin_group, timeout, self.times)
        self._outages = Outages(quiet=quiet)
        self._ahead = 0.0
        #: Another object after each change of this process, for who keeps what it has read.
        self.last_change = object()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection with one snapshot of the database; raises StoreUnavailable."""
        with self._outages.watched(), self._begun(READ) as view, self.times.read.time():
            yield view

    def ask(self, statement: Statement, values: Mapping[str, Any]) -> list[Any]:
        """The rows of one statement that only reads: it is its own snapshot, so no transaction is begun for it.

        Raises StoreUnavailable.
        """
        with self._outages.watched(), self.times.read.time():
            return _retried(partial(self._ask, statement, values))

    def _ask(self, statement: Statement, values: Mapping[str, Any]) -> list[Any]:
        with self._engine.connect() as connection:
            return statement.all(connection, values)

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

    def write_each(self, works: Sequence[Callable[[Connection], T]]) -> list[T | BaseException]:
        """Several changes, each as `write()` has it, committed together: what each returned, or was undone by.

        Callbacks given to `after` run once, however many of them are equal.
        """
        changes = [Change(work) for work in works]
        self._writers.change_each(Kind(), self.times.write, changes)
        self.last_change = object()
        outcomes = [self._told(one.outcome) for one in changes]
        kept = [one for one, outcome in zip(changes, outcomes, strict=True) if not isinstance(outcome, BaseException)]
        for callback in dict.fromkeys(callback for one in kept for callback in one.callbacks):
            callback()
        return outcomes

    def _told(self, outcome: Any) -> Any:
        """A change's outcome as `write()` would return or raise it."""
        try:
            with self._outages.watched(changes=True):
                if isinstance(outcome, BaseException):
                    raise outcome  # noqa: TRY301 - as it was raised
        except BaseException as error:  # noqa: BLE001 - its caller's
            return error
        else:
            return outcome
        finally:
            del outcome  # its traceback refers to this frame

    @contextmanager
    def note(self) -> Iterator[Connection]:
        """A change that is made again soon, as heartbeats are: it doesn't wait for the disk.

        A power cut may undo it, but no `write()` that came after it survives without it. On Postgres it isn't under the
        lock: it must lock rows that it reads in order to change them. Raises StoreUnavailable.
        """
        if self.kind == "postgresql":
            with self._outages.watched(), self._begun(NOTE) as tx, self.times.note.time():
                yield tx
                execute_waiting(tx)
                tx.commit()
        else:
            noted = self._writers.change(Kind(durable=False), self.times.note, [])
            with self._outages.watched(changes=True), noted as tx:
                yield tx
        self.last_change = object()

    def _begin_group(self, group: Group) -> Connection:
        way: Way = "write" if group.kind.durable else "note"
        tx = self._begun(Opening(way, no_timeout=group.kind.alone), self.times.lock)
        tx.info["group"] = group
        return tx

    def _begun(self, opening: Opening, lock: Histogram | None = None) -> Connection:
        """A connection with a transaction; what it isn't told to commit is rolled back when it is closed.

        lock: observes the wait for the lock, where it begins with that.
        """
        return _retried(partial(self._begin, opening, lock))

    def _begin(self, opening: Opening, lock: Histogram | None) -> Connection:
        with self.times.connection.time():
            connection = self._engine.connect()
        try:
            connection.begin()
            connection.info.update({"group": None, LATER: []})
            with lock.time() if lock else nullcontext():
                self._open(connection, opening)
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

        with self._outages.watched(), listening(self._begun(READ), channels) as notifications:
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


def _retried(work: Callable[[], T]) -> T:
    """What it returns, on a fresh connection if the database has closed that of the pool: its restart costs no call."""
    try:
        return work()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return work()


def shown_url(url: str) -> str:
    """A database's URL for people and logs: without passwords, which libpq takes behind the `?` too."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.database or ""
    hidden = {name: "***" for name in parsed.query if "password" in name}
    return parsed.update_query_dict(hidden).render_as_string()


def after(tx: Connection, callback: Callable[[], None]) -> None:
    """Call this once a writing transaction is committed, never if it is rolled back; it mustn't raise or take long."""
    group_of(tx).callbacks.append(callback)


def group_of(tx: Connection) -> Group:
    """The group of a writing transaction."""
    group: Group = tx.info["group"]
    return group


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
        connection.isolation_level = None  # the driver would begin late, without the lock: `_open_sqlite` does it
        connection.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _open_sqlite(folder: Path, connection: Connection, opening: Opening) -> None:
    if opening.way == "read":
        execute(connection, "BEGIN")
        return
    # FULL for money: what was answered must survive a power cut.
    synchronous = "FULL" if opening.way == "write" else "NORMAL"
    if connection.info.get("synchronous") != synchronous:
        execute(connection, f"PRAGMA synchronous = {synchronous}")
        connection.info["synchronous"] = synchronous
    with _queued(folder):
        execute(connection, "BEGIN IMMEDIATE")


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


def _reject_invalid_text(
    _: object, __: object, statement: str, parameters: Any, ___: object, many: bool
) -> tuple[str, Any]:
    """Reject NUL and lone surrogates here, so that both databases fail alike; raises BadRequest."""
    for row in parameters if many else [parameters]:
        for value in row.values() if isinstance(row, Mapping) else row:
            # Most texts are ASCII, of which Python knows it.
            if isinstance(value, str) and ("\0" in value or not value.isascii()) and UNSTORABLE.search(value):
                raise BadRequest("A text contains a NUL or a lone surrogate, which can't be stored")
    return statement, parameters
