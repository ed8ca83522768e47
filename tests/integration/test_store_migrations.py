"""Migrations: they end at the schema that the code uses, however often and by however many they are run."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from tests.stores import a_result, store_on
from tests.tenants import Tenant

from tintype.store.accounts.accounts import Accounts
from tintype.store.billing.ledger import imbalances
from tintype.store.db.database import Database
from tintype.store.db.migrations import migrate, newest
from tintype.store.db.tables import metadata

MIGRATE = """
import sys
from tintype.store.db.database import Database
from tintype.store.db.migrations import migrate
db = Database(sys.argv[1])
sys.stdin.read()
migrate(db)
db.close()
"""

AT_HEAD = """
import sys
from tintype.store.db.database import Database
from tintype.store.db.migrations import migrate
db = Database(sys.argv[1])
migrate(db)
db.close()
assert "alembic" not in sys.modules
"""


def differences(db: Database) -> list[object]:
    with db.read() as view:
        return list(compare_metadata(MigrationContext.configure(view), metadata))


def test_a_file_is_made_with_the_folders_on_the_way(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/made/on the way/100%/store.db")
    migrate(db)
    assert differences(db) == []
    db.close()


def test_the_migrated_schema_is_the_metadata(empty_url: str) -> None:
    db = Database(empty_url)
    migrate(db)
    assert differences(db) == []
    with db.read() as view:
        held = inspect(view).get_check_constraints("accounts")
    assert [check["name"] for check in held] == ["ck_accounts_held"]
    migrate(db)
    assert differences(db) == []
    db.close()


def test_a_database_that_is_up_to_date_is_known_without_alembic(url: str) -> None:
    """And so quickly: the newest file is the newest revision, and a start looks no further."""
    config = Config()
    config.set_main_option("script_location", "tintype.store.db:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == newest()
    subprocess.run([sys.executable, "-W", "error", "-c", AT_HEAD, url], check=True)


def move_to(revision: str, db: Database, move: Callable[[Config, str], None]) -> None:
    config = Config()
    config.set_main_option("script_location", "tintype.store.db:migrations")
    with db.write() as tx:
        config.attributes["connection"] = tx
        move(config, revision)


#: Accounts a and b, a's two keys, and requests of a's in every state, as 0001 keeps them.
OF_0001 = [
    "INSERT INTO accounts VALUES ('a', 'rich', 10000, 700, 1.0), ('b', 'poor', 0, 0, 2.0)",
    "INSERT INTO api_keys (id, account_id, name, digest, hint, read_only, created_at, last_turn)"
    " VALUES ('k', 'a', 'key', 'x', 'SG_1a2b', FALSE, 1.0, 0), ('l', 'a', 'key', 'y', 'SG_1a2c', FALSE, 1.0, 0)",
    "UPDATE api_keys SET expires_at = 1e20 WHERE id = 'l'",
    *(
        "INSERT INTO requests (id, seq, account_id, key_id, slug, params, price, priority, status, attempt, hand_backs,"
        " cancel_requested, step, steps, submitted_at)"
        f" VALUES ('r{seq}', {seq}, 'a', '{key}', 'sd3', '{params}', {price}, 0, '{status}', 1, 0, FALSE, 0, 4, 5.0)"
        for seq, key, price, status, params in [
            (1, "k", 300, "COMPLETED", '{"image": "file:1.in"}'),
            (2, "k", 500, "PROCESSING", '{"image": "file:2.in"}'),
            (3, "l", 200, "QUEUED", '{"image": "https://a.example/"}'),
            (4, "k", 0, "QUEUED", '{"image": "file:4.in"}'),
            (5, "k", 400, "FAILED", "{}"),
        ]
    ),
]


def test_balances_and_holds_of_the_first_schema_become_ledger_rows(empty_url: str) -> None:
    db = Database(empty_url)
    move_to("0001", db, command.upgrade)
    with db.write() as tx:
        for statement in OF_0001:
            tx.execute(text(statement))
    migrate(db)
    assert differences(db) == []
    accounts = Accounts(db)
    assert accounts.imbalances() == []
    assert [(one.id, one.balance, one.held) for one in accounts.list()] == [("a", 10_000, 700), ("b", 0, 0)]
    with db.read() as view:
        rows = view.execute(text("SELECT account_id, key_id, request_id, kind, balance, held FROM ledger ORDER BY id"))
        assert [tuple(row) for row in rows] == [
            ("a", None, None, "grant", 10_000, 0),
            ("a", "k", "r2", "hold", 0, 500),
            ("a", "l", "r3", "hold", 0, 200),
        ]
        assert [*view.scalars(text("SELECT cost FROM requests ORDER BY seq"))] == [300, None, None, None, None]
        assert [*view.scalars(text("SELECT spent FROM api_keys ORDER BY id"))] == [500, 200]
        [late] = view.scalars(text("SELECT expires_at FROM api_keys WHERE expires_at > 0"))
        assert datetime.fromtimestamp(late, UTC).year == 9999
        kept = view.execute(text("SELECT request_id, account_id, name, size, width FROM inputs ORDER BY name"))
        assert [tuple(row) for row in kept] == [("r2", "a", "2.in", 0, None), ("r4", "a", "4.in", 0, None)]
    store = store_on(db, lease=15, retention=60)
    assert store.queue.needed_inputs() == {"2.in", "4.in"}, "what waits keeps its pictures"
    store.queue.cancel("r3", "a")
    assert store.leases.complete("r2", 1, a_result())
    assert (accounts.account("a").balance, accounts.account("a").held, accounts.imbalances()) == (9_500, 0, [])
    db.close()


def test_the_way_back_keeps_the_balances(empty_url: str) -> None:
    db = Database(empty_url)
    migrate(db)
    account = Accounts(db).create("one", 5_000)
    move_to("0001", db, command.downgrade)
    with db.read() as view:
        assert view.scalar(text("SELECT balance FROM accounts")) == 5_000
    migrate(db)
    assert Accounts(db).account(account.id) == account
    assert Accounts(db).imbalances() == []
    db.close()


def test_what_is_unended_is_counted_by_the_database_itself(url: str) -> None:
    """For processes of an earlier version, which know nothing of it."""
    db = Database(url)
    tenant = Tenant(store_on(db))
    first, second = tenant.submit(price=0, images=2), tenant.submit(price=0, images=3)
    changes = [
        ("INSERT INTO requests SELECT * FROM waiting", [(3, 6)]),
        ("UPDATE requests SET status = 'PROCESSING', attempt = 1", [(3, 6)]),
        ("UPDATE requests SET status = 'QUEUED', step = 1", [(3, 6)]),
        (f"UPDATE requests SET status = 'FAILED', error = 'it broke' WHERE id = '{first.id}'", [(2, 4)]),
        (f"UPDATE requests SET status = 'FAILED', error = 'again' WHERE id = '{first.id}'", [(2, 4)]),
        (f"DELETE FROM requests WHERE id IN ('{first.id}', '{second.id}')", [(1, 1)]),
        ("UPDATE requests SET status = 'COMPLETED', cost = 0", []),
    ]
    with db.write() as tx:
        tx.execute(text(f"CREATE TABLE waiting AS SELECT * FROM requests WHERE id = '{second.id}'"))
        tx.execute(text("UPDATE waiting SET id = 'third', seq = 9, pictures = 1"))
        for statement, counted in changes:
            tx.execute(text(statement))
            assert [tuple(row) for row in tx.execute(text("SELECT requests, images FROM unended"))] == counted
            assert imbalances(tx) == []
    db.close()


def test_processes_that_run_meanwhile_are_waited_for(empty_url: str) -> None:
    """Heartbeats of the version before, which aren't under the lock: they read requests, and then change them."""
    db, running = Database(empty_url), Database(empty_url)
    if db.kind == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    move_to("0021", db, command.upgrade)
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'requests'::regclass")
    with ThreadPoolExecutor(1) as threads:
        with running.note() as heartbeat:
            heartbeat.execute(text("SELECT id FROM requests FOR UPDATE"))
            migrating = threads.submit(migrate, db)
            while not (heartbeat.scalar(waits) or migrating.done()):
                pass
            heartbeat.execute(text("UPDATE requests SET step = 1"))
        migrating.result()
    assert differences(db) == []
    running.close()
    db.close()


def test_processes_that_start_together(empty_url: str) -> None:
    command = [sys.executable, "-W", "error", "-c", MIGRATE, empty_url]
    together = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    errors = []
    for process in together:
        assert process.stdin
        process.stdin.close()
    for process in together:
        assert process.stderr
        errors.append(process.stderr.read().decode())
        process.stderr.close()
        process.wait()
    assert errors == [""] * 4
    db = Database(empty_url)
    assert differences(db) == []
    db.close()
