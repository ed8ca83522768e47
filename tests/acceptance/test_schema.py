"""Which commands may change a schema, and what all say of one that isn't theirs or of a database that refuses them."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command as alembic
from alembic.config import Config
from click import Command, Group

from tests.acceptance.harness import done, here, until, words
from tests.databases import PostgresServer
from tintype import __version__
from tintype.cli import tintype as root
from tintype.store.db.database import Database
from tintype.store.db.migrations import newest, version

#: Commands that open no database through the store, or end in their own way where it can't be read (`verify`, with 2);
#: `backup` copies one as it is, which is due before an upgrade.
WITHOUT = {"backup", "config", "demo", "generate", "models", "replay", "verify"}
MIGRATING = {"serve", "worker", "migrate"}
ARGUMENTS = {
    "accounts create": ["--name", "x"],
    "accounts show": ["a"],
    "accounts credit": ["a", "1"],
    "keys rotate": ["k"],
    "keys revoke": ["k"],
    "keys safety": ["k", "off"],
    "keys update": ["k", "--rpm", "60"],
    "marks distrust": ["1"],
    "webhooks logs": ["w"],
    "webhooks replay": ["w"],
    "webhooks rotate": ["w"],
    "webhooks enable": ["w"],
    "workers drain": ["w"],
    "workers recall": ["w"],
}


def leaves(group: Group, *path: str) -> Iterator[str]:
    for name, one in group.commands.items():
        yield from leaves(one, *path, name) if isinstance(one, Group) else [" ".join((*path, name))]


OPENING = [one for one in leaves(root) if one.split()[0] not in WITHOUT]


def asked(name: str) -> list[str]:
    return [*name.split(), *ARGUMENTS.get(name, [])]


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of an earlier schema."""
    return at(tmp_path_factory.mktemp("older"), "0018")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of a schema that only a later version knows."""
    folder = at(tmp_path_factory.mktemp("newer"), "head")
    with sqlite3.connect(folder / "tintype.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '0099'")
        db.execute("""INSERT INTO facts VALUES ('schema', '{"version": "9.9.9"}')""")
    db.close()
    return folder


def at(folder: Path, revision: str) -> Path:
    db = Database(f"sqlite:///{folder / 'tintype.db'}")
    upgrade(db, revision)
    db.close()
    return folder


def upgrade(db: Database, revision: str) -> None:
    _move(db, revision, alembic.upgrade)


def downgrade(db: Database, revision: str) -> None:
    _move(db, revision, alembic.downgrade)


def _move(db: Database, revision: str, way: Callable[[Config, str], None]) -> None:
    config = Config()
    config.set_main_option("script_location", "tintype.store.db:migrations")
    with db.write() as tx:
        config.attributes["connection"] = tx
        way(config, revision)


def revision_of(folder: Path) -> str | None:
    db = Database(f"sqlite:///{folder / 'tintype.db'}")
    try:
        return version(db)
    finally:
        db.close()


def test_the_list_of_commands_is_whole() -> None:
    assert {*ARGUMENTS} <= {*OPENING}
    assert len(OPENING) > 20
    assert isinstance(root.commands["serve"], Command)


@pytest.mark.parametrize("name", [one for one in OPENING if one not in MIGRATING])
def test_an_older_schema_is_left_as_it_is(older: Path, name: str) -> None:
    said = words(here(*asked(name), "--data", older))
    assert said.startswith(f"the database's schema is 0018, and this tintype {__version__} needs {newest()}: ")
    assert "`tintype migrate`" in said
    assert revision_of(older) == "0018"


@pytest.mark.parametrize("name", OPENING)
def test_a_newer_schema_is_one_line(newer: Path, name: str) -> None:
    said = words(here(*asked(name), "--data", newer, TINTYPE_PORT="0"))
    assert said.startswith(
        f"the database's schema is 0099 (brought by tintype 9.9.9), newer than this tintype {__version__}"
    )
    assert revision_of(newer) == "0099"


def test_migrate_migrates_and_the_version_is_remembered(tmp_path: Path) -> None:
    at(tmp_path, "0018")
    assert done(here("migrate", "--data", tmp_path)) == "the database is up to date"
    assert revision_of(tmp_path) == newest()
    with sqlite3.connect(tmp_path / "tintype.db") as db:
        assert db.execute("SELECT value FROM facts WHERE name = 'schema'").fetchone() == (
            f'{{"version": "{__version__}"}}',
        )
    db.close()


def test_a_backup_of_an_older_schema_can_be_made(older: Path, tmp_path: Path) -> None:
    assert "copied and checked" in done(here("backup", tmp_path / "copy.db", "--data", older))
    assert revision_of(older) == "0018"


# What a database refuses


@pytest.fixture
def strict(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server, with a role that owns nothing, and a database that isn't its own."""
    with postgres.connection() as operator:
        operator.execute("CREATE ROLE guest LOGIN")
        operator.execute("CREATE DATABASE mine")
    yield postgres
    with postgres.connection() as operator:
        operator.execute("DROP DATABASE mine WITH (FORCE)")
        operator.execute("DROP ROLE guest")


@pytest.mark.parametrize("name", ["migrate", "serve", "keys create"])
def test_a_role_that_does_not_own_the_database(strict: PostgresServer, name: str, tmp_path: Path) -> None:
    url = f"postgresql+psycopg://guest:secret@/mine?host={strict.folder}"
    said = words(here(*name.split(), "--data", tmp_path, TINTYPE_DATABASE_URL=url, TINTYPE_PORT="0"))
    assert said.startswith("permission denied for schema public: have guest own the database; ")
    assert "ALTER DATABASE mine OWNER TO guest; `createdb -O guest mine`" in said
    assert "secret" not in said


def test_what_it_says_to_do_helps(strict: PostgresServer, tmp_path: Path) -> None:
    url = f"postgresql+psycopg://guest@/mine?host={strict.folder}"
    with strict.connection() as operator:
        operator.execute("ALTER DATABASE mine OWNER TO guest")
    assert done(here("migrate", "--data", tmp_path, TINTYPE_DATABASE_URL=url)) == "the database is up to date"


def test_tables_that_a_role_may_not_touch(strict: PostgresServer, tmp_path: Path) -> None:
    name = strict.fresh().partition("@/")[2].partition("?")[0]
    url = f"postgresql+psycopg://guest@/{name}?host={strict.folder}"
    said = words(here("keys", "list", "--data", tmp_path, TINTYPE_DATABASE_URL=url))
    assert said.startswith("permission denied for table ")
    assert f"ALTER DATABASE {name} OWNER TO guest" in said
    strict.drop(f"postgresql://x/{name}")


@pytest.mark.parametrize(
    ("address", "cause", "advice"),
    [
        ("tintype:secret@/nowhere?host={folder}", 'database "nowhere" does not exist', "`createdb -O tintype nowhere`"),
        ("nobody:secret@/postgres?host={folder}", 'role "nobody" does not exist', "`createuser --pwprompt nobody`"),
        ("me:secret@127.0.0.1:1/x", "Connection refused", "nothing listens there"),
        ("me:secret@no.such.host.invalid/x", "resolve host", "no such name is known here"),
        ("me@/x?host=127.0.0.1&port=1&password=secret", "Connection refused", "nothing listens there"),
    ],
)
def test_a_postgres_that_can_not_be_reached(
    strict: PostgresServer, address: str, cause: str, advice: str, tmp_path: Path
) -> None:
    url = f"postgresql+psycopg://{address.format(folder=strict.folder)}"
    said = words(here("keys", "list", "--data", tmp_path, TINTYPE_DATABASE_URL=url))
    assert cause in said
    assert advice in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("deny", "allow", "said"),
    [
        ("REVOKE CONNECT ON DATABASE mine FROM PUBLIC", "GRANT CONNECT ON DATABASE mine TO guest", "permission denied"),
        ("ALTER ROLE guest NOLOGIN", "ALTER ROLE guest LOGIN", "not permitted to log in"),
        ("ALTER ROLE guest CONNECTION LIMIT 0", "ALTER ROLE guest CONNECTION LIMIT -1", "too many connections"),
    ],
)
def test_a_role_that_is_not_let_in(strict: PostgresServer, deny: str, allow: str, said: str, tmp_path: Path) -> None:
    url = f"postgresql+psycopg://guest@/mine?host={strict.folder}"
    with strict.connection() as operator:
        operator.execute(deny)
        failed = words(here("keys", "list", "--data", tmp_path, TINTYPE_DATABASE_URL=url))
        operator.execute(allow)
    assert said in failed
    assert "raise max_connections" in failed if "LIMIT" in allow else f": {allow}, as" in failed
    assert "createdb" not in failed
    assert "createuser" not in failed


def test_a_wrong_password(strict: PostgresServer, tmp_path: Path) -> None:
    with strict.connection() as operator:
        [(file,)] = operator.execute("SHOW hba_file").fetchall()
        operator.execute("ALTER ROLE guest PASSWORD 'right'")
    rules = Path(file)
    before = rules.read_text()
    try:
        rules.write_text(f"local all guest scram-sha-256\nlocal all stranger reject\n{before}")
        reload(strict)
        for user, cause, advice in (
            (
                "guest:wrong",
                "password authentication failed",
                "the password in TINTYPE_DATABASE_URL isn't that of guest",
            ),
            ("guest", "no password supplied", "postgresql+psycopg://guest:password@host/mine"),
            ("stranger:wrong", "pg_hba.conf rejects connection", ""),
        ):
            url = f"postgresql+psycopg://{user}@/mine?host={strict.folder}"
            said = words(here("keys", "list", "--data", tmp_path, TINTYPE_DATABASE_URL=url))
            assert cause in said
            assert advice in said
            assert "wrong" not in said
    finally:
        rules.write_text(before)
        reload(strict)


def reload(server: PostgresServer) -> None:
    with server.connection() as operator:
        operator.execute("SELECT pg_reload_conf()")
        [(begun,)] = operator.execute("SELECT pg_conf_load_time()").fetchall()
        until(lambda: operator.execute("SELECT pg_conf_load_time() >= %s", [begun]).fetchone())


def test_tls_that_is_not_offered(tmp_path: Path) -> None:
    """As PostgreSQL answers who asks for it: with an N."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            caller, _ = listening.accept()
            with caller:
                caller.recv(8)
                caller.sendall(b"N")

        threading.Thread(target=refuse, daemon=True).start()
        port = listening.getsockname()[1]
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{port}/x?sslmode=require"
        said = words(here("keys", "list", "--data", tmp_path, TINTYPE_DATABASE_URL=url))
    assert "does not support SSL" in said
    assert "it offers no TLS, for which sslmode asks" in said


def test_a_copy_that_only_reads(strict: PostgresServer, tmp_path: Path) -> None:
    url = strict.fresh()
    name = url.partition("@/")[2].partition("?")[0]
    with strict.connection() as operator:
        operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    said = words(here("accounts", "create", "--name", "x", "--data", tmp_path, TINTYPE_DATABASE_URL=url))
    assert said.startswith("cannot execute INSERT in a read-only transaction in postgresql+psycopg://tintype@/")
    assert said.endswith(": it is a copy; name the one that is written to, or add target_session_attrs=read-write")
    strict.drop(url)


@pytest.mark.parametrize("url", ["nonsense", "postgres://u:secret@h/x", "postgresql+psycopg://u:p@h:secret/x"])
def test_what_is_no_database_s_url(url: str, tmp_path: Path) -> None:
    said = words(here("keys", "list", "--data", tmp_path, TINTYPE_DATABASE_URL=url))
    assert "TINTYPE_DATABASE_URL is written like postgresql+psycopg://" in said
    assert "secret" not in said


@pytest.mark.parametrize("name", ["migrate", "serve", "worker", "keys list"])
def test_a_file_that_is_no_database(name: str, tmp_path: Path) -> None:
    (tmp_path / "tintype.db").write_text("not a database " * 100)
    said = words(here(*name.split(), "--data", tmp_path, TINTYPE_PORT="0"))
    assert said == f"file is not a database: put a back-up in its place, or name another one ({tmp_path}/)"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("there", [True, False], ids=["with-a-database", "empty"])
def test_a_folder_that_others_own(there: bool, tmp_path: Path) -> None:
    """As a user who may read it, and not write to it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        if there:
            done(here("migrate", "--data", folder))
            for path in (folder, *folder.iterdir()):
                path.chmod(0o755)
        program = (
            "import os, sys; import tintype.cli; import tintype.web.app; os.setuid(65534);"
            f"sys.argv = ['tintype', 'serve', '--port', '0', '--data', {str(folder)!r}]; tintype.cli.main()"
        )
        folder.chmod(0o755)
        command = [sys.executable, "-c", program]
        failed = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert failed.returncode == 1
        own = [line for line in failed.stderr.splitlines() if not line.startswith("{")]
        assert len(own) == 1, failed.stderr
        assert "readonly database" in own[0] or "Permission denied" in own[0]
        assert str(folder) in own[0]
    finally:
        shutil.rmtree(folder)


# Devices


@pytest.mark.parametrize(
    ("device", "said"), [("foo", "--device: 'foo' was sent; allowed: auto, cpu, "), ("cuda:99", "")]
)
def test_a_worker_on_a_device_that_is_not_there(device: str, said: str, tmp_path: Path) -> None:
    expected = said or f"--device {device}: torch finds no such device on this machine"
    assert words(here("worker", "--device", device, "--data", tmp_path)).startswith(expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ("cpu,foo", "TINTYPE_DEVICES: 'foo' was sent; allowed: auto, cpu, "),
        ("cpu,cuda:99", "TINTYPE_DEVICES: torch finds no cuda:99 on this machine"),
    ],
)
def test_a_server_with_devices_that_are_not_there(devices: str, said: str, tmp_path: Path) -> None:
    assert words(here("serve", "--data", tmp_path, TINTYPE_DEVICES=devices)).startswith(said)
    assert list(tmp_path.iterdir()) == []
