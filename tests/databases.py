"""Databases for tests, migrated once: copies of a SQLite file, and of a database in a throw-away PostgreSQL server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import psutil
import psycopg
from sqlalchemy import QueuePool, event, make_url, select

from tintype.store.db.database import Database, read_clock
from tintype.store.db.migrations import migrate
from tintype.store.db.records import DAY, Status
from tintype.store.db.tables import requests
from tintype.store.queue.positions import positions

#: Where Debian puts the server's programs, which it leaves out of PATH.
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
#: The server refuses to run as root.
UNPRIVILEGED = "nobody"
#: A test's database is gone after the test, so power cuts don't matter; a crash of the server itself loses nothing.
QUICK = ("fsync=off", "full_page_writes=off", "max_connections=200", "listen_addresses=")


def server_program(name: str) -> str | None:
    """The path of one of PostgreSQL's server programs, the newest there is; None where there is none."""
    return shutil.which(name) or next((str(folder / name) for folder in reversed(DEBIAN)), None)


class SqliteFiles:
    """Fresh SQLite databases."""

    quick = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._template = folder / "template.db"
        migrated(f"sqlite:///{self._template}")

    def empty(self) -> str:
        """The URL of a database without tables, in a folder of its own: there processes queue for the lock."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return f"sqlite:///{folder / 'test.db'}"

    def fresh(self) -> str:
        """The URL of a new migrated database."""
        return self.put(Path(self.empty().removeprefix("sqlite:///")))

    def put(self, file: Path) -> str:
        """The URL of a new migrated database in that file."""
        shutil.copy(self._template, file)
        return f"sqlite:///{file}"

    def drop(self, url: str) -> None:
        """Let a database go."""
        shutil.rmtree(Path(url.removeprefix("sqlite:///")).parent)


class PostgresServer:
    """A server of its own on a Unix socket in a folder, with fresh databases on it."""

    quick = False

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self._settings = (*QUICK, *settings)
        self._numbers = count()
        self._user = UNPRIVILEGED if os.getuid() == 0 else None

    def create(self) -> None:
        """Make its files, start it, and make the database that others are copied from."""
        self._make_folder()
        quickly = ("--auth=trust", "--username=tintype", "--no-sync", "--wal-segsize=1")
        self._run("initdb", *quickly, "--pgdata", str(self._data))
        self.start()
        self._execute("CREATE DATABASE template")
        migrated(self._url("template"))

    def start(self) -> None:
        """Start the server; returns when it takes connections."""
        self._run("pg_ctl", "start", "--wait", "--silent", *self._where, "--options", self._options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        self._run("pg_ctl", "stop", "--silent", *self._where, "--mode", mode)

    def copy(self, folder: Path) -> PostgresServer:
        """A second server that follows this one: a hot standby, running."""
        standby = PostgresServer(folder, *self._settings[len(QUICK) :])
        standby._make_folder()
        source = ("--host", str(self.folder), "--username=tintype", "--checkpoint=fast", "--no-sync")
        standby._run("pg_basebackup", *source, "--write-recovery-conf", "--pgdata", str(standby._data))
        standby.start()
        return standby

    def promote(self) -> None:
        """Make a copy the server that is written to."""
        self._run("pg_ctl", "promote", "--wait", "--silent", "--pgdata", str(self._data))

    @property
    def processes(self) -> list[psutil.Process]:
        """The server and all that it has started; none while it is down."""
        try:
            server = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
            return [server, *server.children()]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing of it moves while the block lasts; connections to it are neither refused nor answered."""
        stopped = self.processes
        self._signal(stopped, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(stopped, signal.SIGCONT)

    def cut(self) -> int:
        """Have the server end every connection that it has, listeners' included; how many."""
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        with self.connection() as connection:
            return len(connection.execute(f"{ended} AND backend_type = 'client backend'").fetchall())

    def connection(self, database: str = "postgres") -> psycopg.Connection:
        """One of the operator's own, outside of any transaction."""
        return psycopg.connect(f"postgresql://tintype@/{database}?host={self.folder}", autocommit=True)

    def empty(self) -> str:
        """The URL of a database without tables."""
        return self._create("template0")

    def fresh(self) -> str:
        """The URL of a new migrated database."""
        return self._create("template")

    def drop(self, url: str) -> None:
        """Drop a database, also while clients are connected: each takes 8 MB."""
        self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _create(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._url(name)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _where(self) -> tuple[str, ...]:
        return "--pgdata", str(self._data), "--log", str(self.folder / "server.log")

    @property
    def _options(self) -> str:
        return " ".join([f"-k {self.folder}", *(f"-c {setting}" for setting in self._settings)])

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://tintype@/{name}?host={self.folder}"

    def _execute(self, statement: str) -> None:
        with self.connection() as connection:
            connection.execute(statement)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o755)
        if self._user:
            shutil.chown(self.folder, self._user)

    def _signal(self, processes: list[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _run(self, program: str, *arguments: str) -> None:
        path = server_program(program)
        assert path
        subprocess.run([path, *arguments], check=True, user=self._user, stdout=subprocess.DEVNULL, cwd=self.folder)


Databases = SqliteFiles | PostgresServer


def migrated(url: str) -> None:
    """Bring a database up to date; a new file of SQLite's is a copy of one that was brought there once."""
    file = make_url(url).database if url.startswith("sqlite") else None
    if file and not Path(file).exists():
        Path(file).parent.mkdir(0o700, parents=True, exist_ok=True)
        Path(file).touch(0o600)  # as the server makes both
        Path(file).write_bytes(_new_file())
        return
    db = Database(url)
    migrate(db)
    db.close()


@cache
def _new_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder) / "new.db").touch()
        migrated(f"sqlite:///{file}")
        return file.read_bytes()


@contextmanager
def statements(db: Database, *, any_thread: bool = False) -> Iterator[list[tuple[str, Any]]]:
    """What this thread asks of the database while the block runs, with the parameters.

    any_thread: what others ask too, such as those of a server in this process, which look after its database meanwhile.
    """
    said: list[tuple[str, Any]] = []
    own = threading.get_ident()

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if any_thread or threading.get_ident() == own:
            said.append((statement, parameters))

    event.listen(db._engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(db._engine, "before_cursor_execute", note)


#: What begins and ends transactions, and sets them up.
AROUND = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "SET")

#: Between the parts of a statement that is several: `store/db/statements.py`.
PARTS = re.compile(r", part\d+ AS \(|\) (?=(?:INSERT|UPDATE|DELETE) )")


def asked_of(db: Database, work: Callable[[], object]) -> list[str]:
    """The statements that `work` takes, without those around a transaction."""
    with statements(db) as said:
        work()
    return asked(said)


def asked(said: list[tuple[str, Any]]) -> list[str]:
    """Without those around a transaction; each by itself, where PostgreSQL is sent several as one."""
    whole = [statement for statement, _ in said if not statement.startswith(AROUND)]
    return [part for statement in whole for part in PARTS.split(statement)]


@contextmanager
def moved_clock(db: Database, seconds: float) -> Iterator[None]:
    """What is written and read while the block runs happens so much later, or earlier."""
    db.move_clock(seconds)
    try:
        yield
    finally:
        db.move_clock(-seconds)


@contextmanager
def hurried(db: Database, seconds: float) -> Iterator[None]:
    """What is asked of it while the block lasts has so long for its turn, a connection, the lock and a statement.

    Before and after, as long as usual: on a busy machine, what is to succeed may take longer than what is to fail may
    wait.
    """

    def hurry(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    pool, usual, opened = cast(QueuePool, db._engine.pool), db._writers._timeout, db._open
    pool._timeout = db._writers._timeout = seconds
    if db.kind == "sqlite":
        event.listen(db._engine, "checkout", hurry)
    else:
        db._open = partial(opened.func, **opened.keywords | {"timeout": seconds})
    try:
        yield
    finally:
        pool._timeout = db._writers._timeout = usual
        db._open = opened
        if db.kind == "sqlite":
            event.remove(db._engine, "checkout", hurry)
            db._engine.dispose()  # connections that were hurried


def to_hour(db: Database, hour: float) -> None:
    """Have it be this hour UTC of the next day."""
    with db.read() as view:
        moment = read_clock(view)
    db.move_clock(DAY - moment % DAY + hour * 3600)


def ended_of(db: Database, ids: Sequence[str]) -> set[str]:
    """Those of the requests that have ended."""
    over = requests.c.status.in_((Status.COMPLETED, Status.FAILED))
    with db.read() as view:
        return set(view.scalars(select(requests.c.id).where(requests.c.id.in_(ids), over)))


def place_of(db: Database, id: str) -> int | None:
    """1 for the request that is claimed next, and so on in the order of claims; None when it is not queued."""
    with db.read() as view:
        seq = view.scalar(select(requests.c.seq).where(requests.c.id == id))
        return positions(view).get(seq or 0)


@contextmanager
def postgres_server(folder: Path, *settings: str) -> Iterator[PostgresServer]:
    """A server that runs while the block lasts, unless it was stopped in it."""
    server = PostgresServer(folder, *settings)
    server.create()
    try:
        yield server
    finally:
        if server.processes:
            server.stop("immediate")
