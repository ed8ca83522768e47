"""Databases for tests, migrated once: copies of a SQLite file, and of a database in a throw-away PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tintype.store.database import Database
from tintype.store.migrations import migrate

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
        """The URL of a database without tables."""
        return f"sqlite:///{self._folder / f'{next(self._numbers)}.db'}"

    def fresh(self) -> str:
        """The URL of a new migrated database."""
        url = self.empty()
        shutil.copy(self._template, url.removeprefix("sqlite:///"))
        return url

    def drop(self, url: str) -> None:
        """Let a database go."""
        for part in self._folder.glob(f"{Path(url).name}*"):
            part.unlink()


class PostgresServer:
    """A server of its own on a Unix socket in a folder, with fresh databases on it."""

    quick = False

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self._settings = (*QUICK, *settings)
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = UNPRIVILEGED if os.getuid() == 0 else None

    def create(self) -> None:
        """Make its files, start it, and make the database that others are copied from."""
        self.folder.mkdir(mode=0o755)
        if self._user:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "--auth=trust", "--username=tintype", "--no-sync", "--pgdata", str(self._data))
        self.start()
        self._execute("CREATE DATABASE template")
        migrated(self._url("template"))

    def start(self) -> None:
        """Start the server; returns when it takes connections."""
        self._run("pg_ctl", "start", "--wait", "--silent", *self._where, "--options", self._options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        self._run("pg_ctl", "stop", "--silent", *self._where, "--mode", mode)

    def empty(self) -> str:
        """The URL of a database without tables."""
        return self._create("template0")

    def fresh(self) -> str:
        """The URL of a new migrated database."""
        return self._create("template")

    def drop(self, url: str) -> None:
        """Let a database go, whoever is still connected: each takes 8 MB."""
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
        with psycopg.connect(f"postgresql://tintype@/postgres?host={self.folder}", autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: str) -> None:
        path = server_program(program)
        assert path
        subprocess.run([path, *arguments], check=True, user=self._user, stdout=subprocess.DEVNULL, cwd=self.folder)


Databases = SqliteFiles | PostgresServer


def migrated(url: str) -> None:
    """Bring a database up to date."""
    db = Database(url)
    migrate(db)
    db.close()


@contextmanager
def postgres_server(folder: Path, *settings: str) -> Iterator[PostgresServer]:
    """A server that runs while the block lasts."""
    server = PostgresServer(folder, *settings)
    server.create()
    try:
        yield server
    finally:
        server.stop("immediate")
