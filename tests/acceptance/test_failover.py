"""A fail-over: the database server is killed for good, and a copy that followed it takes over."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.acceptance.harness import Server, until
from tests.acceptance.test_postgres import assert_made_and_paid_once, assert_unavailable, begun, submit
from tests.databases import PostgresServer, migrated, postgres_server, server_program
from tests.toy_weights import small_setting
from tintype.errors import StoreUnavailable
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database

pytestmark = pytest.mark.nightly


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the user whom PostgreSQL runs as can look into."""
    if server_program("pg_basebackup") is None or server_program("initdb") is None:
        pytest.skip("PostgreSQL's programs are not on this machine (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="tintype-pg-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def first(folder: Path) -> Iterator[PostgresServer]:
    with postgres_server(folder / "first") as server:
        yield server


@pytest.fixture
def second(first: PostgresServer, folder: Path) -> Iterator[PostgresServer]:
    """Follows the first, which answers no commit before this one has it too."""
    second = first.copy(folder / "second")
    with first.connection() as operator:
        operator.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        operator.execute("SELECT pg_reload_conf()")
        state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        until(lambda: operator.execute(state).fetchone() == (1,))
    yield second
    second.stop("immediate")


def test_servers_follow_to_the_copy_that_took_over(
    first: PostgresServer, second: PostgresServer, new_server: Callable[..., Server], weights: Path
) -> None:
    name = make_url(first.empty()).database
    both = f"postgresql+psycopg://tintype@/{name}?host={first.folder},{second.folder}"
    url = f"{both}&target_session_attrs=read-write&connect_timeout=2"
    server = new_server(database_url=url, weights=small_setting(weights), lease=10).start()
    before, _ = server.money()
    ids = begun(server, 3)
    first.stop("immediate")
    assert_unavailable(submit(server))
    second.promote()
    until(lambda: (answer := submit(server)).is_success and ids.append(answer.json()["request_id"]) is None)
    assert_made_and_paid_once(server, ids, before)
    assert server.stop() == 0


def test_who_came_to_a_copy_by_a_name_comes_away_from_it(
    first: PostgresServer, second: PostgresServer, folder: Path
) -> None:
    """The name, like one of DNS, leads to the copy for a while: what was connected then must not stay there."""
    name = folder / "name"
    url = first.fresh()
    migrated(url)
    db = Database(url.replace(str(first.folder), str(name)))
    name.symlink_to(second.folder)
    with second.connection() as copy:
        present = f"SELECT count(*) FROM pg_database WHERE datname = '{make_url(url).database}'"
        until(lambda: copy.execute(present).fetchone() == (1,))
    with pytest.raises(StoreUnavailable):
        Accounts(db).create("nobody", 5)
    name.unlink()
    name.symlink_to(first.folder)
    Accounts(db).create("somebody", 5)
    db.close()
