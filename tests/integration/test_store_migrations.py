"""Migrations: they end at the schema that the code uses, however often and by however many they are run."""

import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from tintype.store.database import Database
from tintype.store.migrations import migrate
from tintype.store.tables import metadata

MIGRATE = """
import sys
from tintype.store.database import Database
from tintype.store.migrations import migrate
db = Database(sys.argv[1])
sys.stdin.read()
migrate(db)
db.close()
"""


def differences(db: Database) -> list[object]:
    with db.read() as view:
        return list(compare_metadata(MigrationContext.configure(view), metadata))


def test_the_migrated_schema_is_the_metadata(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/made/on the way/100%/store.db")
    migrate(db)
    assert differences(db) == []
    with db.read() as view:
        held = inspect(view).get_check_constraints("accounts")
    assert [check["name"] for check in held] == ["ck_accounts_held"]
    migrate(db)
    assert differences(db) == []
    db.close()


def test_processes_that_start_together(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    command = [sys.executable, "-W", "error", "-c", MIGRATE, url]
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
    db = Database(url)
    assert differences(db) == []
    db.close()
