"""What every tier needs: one place for the toy weights, and fresh databases of both kinds."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

# First: how pydantic reads the docstrings of its models takes a second more once transformers' modules are there.
import tintype.web.app  # noqa: F401
from tests.databases import Databases, PostgresServer, SqliteFiles, postgres_server, server_program
from tests.stores import store_on
from tests.tenants import Tenant
from tintype.store.db.database import Database


def pytest_configure() -> None:
    """Time no example of a property: the machine may have something else to do. TINTYPE_EXAMPLES: how many of each."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)  # rich's takes seconds
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
    settings.register_profile("untimed", deadline=None, max_examples=int(os.environ.get("TINTYPE_EXAMPLES", "50")))
    settings.load_profile("untimed")


#: The servers that a session's tests share, the one with the longest tests first.
SESSION_SERVERS = ("builtin", "server", "dialects")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process of pytest-xdist runs the tests that share something, which is then made once; the longest begin."""
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
    # A server's tests follow one another, and what has a time limit of its own is slow: else one process would still be
    # at it at the end.
    items.sort(key=lambda item: (groups[item] not in SESSION_SERVERS, item.get_closest_marker("timeout") is None))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What importing has made is there to stay: the garbage collector needn't look at it again and again.

    Raises UsageError where pytest-xdist, told to keep groups together, hasn't put them into the tests' ids: each of its
    processes would start every server, which takes a third of the time of all tests.
    """
    gc.freeze()
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist doesn't keep groups of tests together: see the constraint on pytest")


def _group(item: pytest.Item) -> str | None:
    """A server of the session; or else the module, but for tests that take long and share nothing with others of it."""
    if marked := item.get_closest_marker("xdist_group"):
        return str(marked.args[0])
    fixtures: Mapping[str, Sequence[pytest.FixtureDef[Any]]] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    scopes = {name: found[-1].scope for name, found in fixtures.items()}
    for name in SESSION_SERVERS:
        if scopes.get(name) == "session":
            return name
    slow = item.nodeid.startswith("tests/acceptance/") or item.get_closest_marker("timeout")
    return None if slow and "module" not in scopes.values() else item.path.stem


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for the toy weights that all of pytest-xdist's processes share."""
    own = tmp_path_factory.getbasetemp()
    # With xdist each process has its own base below the run's common one.
    base = own.parent if own.name.startswith("popen-") else own
    return base / "weights"


@pytest.fixture(scope="session")
def sqlite_files() -> Iterator[SqliteFiles]:
    """Fresh SQLite databases, in memory where there is a folder for that: fsync costs nothing there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield SqliteFiles(Path(folder))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this process's own."""
    if server_program("initdb") is None:
        pytest.skip("PostgreSQL's server programs are not on this machine (Debian: apt-get install postgresql)")
    # Not in pytest's own folder: that is closed to the user the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="tintype-pg-"))
    folder.chmod(0o755)
    with postgres_server(folder / "server") as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest) -> Databases:
    """Where fresh migrated databases come from; a test that asks for it runs on both kinds."""
    found: Databases = request.getfixturevalue("sqlite_files" if request.param == "sqlite" else "postgres")
    return found


@pytest.fixture
def empty_url(databases: Databases) -> Iterator[str]:
    """The URL of a database without tables; a test that asks for it runs on both kinds."""
    url = databases.empty()
    yield url
    databases.drop(url)


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """The URL of a fresh migrated database; a test that asks for it runs on both kinds."""
    url = databases.fresh()
    yield url
    databases.drop(url)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    """A fresh migrated database; a test that asks for it runs on both kinds."""
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def tenant(db: Database) -> Tenant:
    """An account with money and keys; a test that asks for it runs on both kinds of database."""
    return Tenant(store_on(db))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures that tests recorded, also where they ran in processes of pytest-xdist."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    figures = [
        (report.nodeid, value) for report in reports for name, value in report.user_properties if name == "figures"
    ]
    for test, told in figures:
        terminalreporter.write_line(f"{test}: {told}")
