"""A copy of the database, taken while requests run, in the place of one that was lost; and an older one, upgraded."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url, text

from tests.acceptance.harness import KEY, Server, done, here, until, words
from tests.databases import PostgresServer, server_program
from tests.stores import store_on
from tests.toy_weights import small_setting
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import digest
from tintype.store.db import facts
from tintype.store.db.database import Database

SLUG, PRICE = SD35_TURBO_TXT2IMG.slug, SD35_TURBO_TXT2IMG.price
ASKED = {"prompt": "a fox", "width": 256, "height": 256, "steps": 20, "guidance_scale": 4, "image_format": "png"}
FOLDERS = ("outputs", "inputs", "assets")


def load(server: Server) -> list[str]:
    """A request that is completed, one in the worker's hands, and one that waits, as the queue is paused."""
    first = submit(server, seed=0)
    until(lambda: status(server, first) == "COMPLETED")
    second = submit(server, seed=1, steps=70, batch_size=4)
    until(lambda: status(server, second) != "QUEUED")
    with server.store() as db:
        store_on(db).queue.pause()
    return [first, second, submit(server, seed=2)]


def submit(server: Server, **asked: int) -> str:
    return str(server.http().post(f"/v2/{SLUG}", json=ASKED | asked).json()["request_id"])


def status(server: Server, id: str) -> str:
    return str(server.http().get(f"/v2/requests/{id}/status").json()["status"])


def everything_is_there(server: Server, ids: list[str], before: int) -> None:
    """Each ends, with its pictures and one charge; sums are sums; the key and the pause are those of the copy."""
    assert status(server, ids[-1]) == "QUEUED"
    with server.store() as db:
        store_on(db).queue.resume()
    until(lambda: all(status(server, id) in ("COMPLETED", "FAILED") for id in ids))
    http = server.http()
    assert all(http.get(http.get(f"/v2/requests/{id}").json()["output"]).is_success for id in ids)
    assert server.money() == (before - 6 * PRICE, 0), "one picture, four, and one"
    with server.store() as db:
        assert Accounts(db).imbalances() == []


def copy_pictures(old: Path, new: Path) -> None:
    for name in FOLDERS:
        if (old / name).is_dir():
            shutil.copytree(old / name, new / name)


def test_a_copy_takes_the_place_of_a_lost_folder(
    new_server: Callable[..., Server], weights: Path, tmp_path: Path
) -> None:
    server = new_server(weights=small_setting(weights)).start()
    before, _ = server.money()
    ids = load(server)
    data, copy = server.data, tmp_path / "monday.db"
    assert "copied and checked" in done(here("backup", copy, "--data", data))
    assert copy.stat().st_mode & 0o077 == 0, "secrets and prompts are nobody else's"
    assert [file.name for file in tmp_path.iterdir()] == ["monday.db"]
    assert "never written over" in words(here("backup", copy, "--data", data))
    # What comes after it is forgotten: it is neither there nor paid for.
    forgotten = submit(server)
    server.kill()

    server.data = tmp_path / "restored"
    server.data.mkdir()
    copy.rename(server.data / "tintype.db")
    copy_pictures(data, server.data)
    shutil.rmtree(data)
    server.log = server.data / "server.log"
    server.start()
    assert server.http().get(f"/v2/requests/{forgotten}/status").status_code == 404
    everything_is_there(server, ids, before)
    assert server.stop() == 0


def test_what_can_not_be_copied_is_said(tmp_path: Path) -> None:
    nothing = words(here("backup", tmp_path / "copy.db", "--data", tmp_path))
    assert "there is no database" in nothing
    url = "postgresql+psycopg://tintype:secret@db.example/tintype"
    said = words(here("backup", "copy.dump", TINTYPE_DATABASE_URL=url))
    assert "pg_dump --format=custom --file=copy.dump 'postgresql://tintype:***@db.example/tintype'" in said


def run(program: str, *arguments: str) -> None:
    path = server_program(program)
    assert path
    subprocess.run([path, *arguments], check=True)


def plain(url: str) -> str:
    """As PostgreSQL's own programs take it."""
    return make_url(url).set(drivername="postgresql").render_as_string()


@pytest.mark.nightly
def test_postgres_is_dumped_and_restored(
    new_server: Callable[..., Server], weights: Path, postgres: PostgresServer, tmp_path: Path
) -> None:
    if server_program("pg_dump") is None:
        pytest.skip("pg_dump is not on this machine (Debian: apt-get install postgresql-client)")
    lost, found = postgres.empty(), postgres.empty()
    server = new_server(weights=small_setting(weights), database_url=lost).start()
    before, _ = server.money()
    ids = load(server)
    dump = str(tmp_path / "monday.dump")
    run("pg_dump", "--format=custom", f"--file={dump}", plain(lost))
    server.kill()
    postgres.drop(lost)

    run("pg_restore", "--exit-on-error", f"--dbname={plain(found)}", dump)
    server.settings["database_url"] = found
    server.start()
    everything_is_there(server, ids, before)
    assert server.stop() == 0
    postgres.drop(found)


#: The columns that the schema of 0006 had no defaults for.
REQUEST: dict[str, Any] = {
    "account_id": "a",
    "key_id": "k",
    "slug": SLUG,
    "price": PRICE,
    "priority": 0,
    "hand_backs": 0,
    "cancel_requested": False,
    "step": 0,
    "steps": 20,
    "submitted_at": 1.0,
}


@pytest.mark.nightly
@pytest.mark.parametrize("revision", ["0006", "0018"])
def test_requests_of_an_older_version_end_after_the_upgrade(
    new_server: Callable[..., Server], weights: Path, revision: str
) -> None:
    """One that waits, and one that a worker of the older version held when it was stopped for good."""
    server = new_server(weights=small_setting(weights))
    server.data.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", "tintype.store.db:migrations")
    with server.store() as db:
        with db.write() as tx:
            config.attributes["connection"] = tx
            command.upgrade(config, revision)
        fill(db)
    server.start()
    for id in ("waits", "runs"):
        until(lambda id=id: status(server, id) == "COMPLETED")
    assert server.money() == (10 * PRICE - 2 * PRICE, 0)
    with server.store() as db:
        assert Accounts(db).imbalances() == []
        with db.read() as view:
            known = facts.read(view, facts.STORAGE)
    assert known, "its storage was taken for the database's without anybody's doing anything"
    assert known["id"] == json.loads((server.data / "storage.json").read_text())["id"]
    assert server.stop() == 0


def fill(db: Database) -> None:
    """An account of 0006 with a key and two requests, one of them in a dead worker's hands."""
    rows = [
        {"id": "waits", "seq": 1, "status": "QUEUED", "attempt": 0, "worker": None, "lease_until": None},
        {"id": "runs", "seq": 2, "status": "PROCESSING", "attempt": 1, "worker": "old", "lease_until": 2.0},
    ]
    with db.write() as tx:
        held = len(rows) * PRICE
        account = "INSERT INTO accounts (id, name, balance, held, created_at) VALUES ('a', 'old', :balance, :held, 1.0)"
        tx.execute(text(account), {"balance": 10 * PRICE, "held": held})
        key = (
            "INSERT INTO api_keys (id, account_id, name, digest, hint, read_only, created_at, last_turn, spent)"
            " VALUES ('k', 'a', 'key', :digest, 'SG_0123', FALSE, 1.0, 0, :held)"
        )
        tx.execute(text(key), {"digest": digest(KEY), "held": held})
        given = "INSERT INTO ledger (account_id, kind, balance, held, created_at) VALUES ('a', 'grant', :all, 0, 1.0)"
        tx.execute(text(given), {"all": 10 * PRICE})
        for row in rows:
            params, _ = SD35_TURBO_TXT2IMG.validate(ASKED | {"seed": row["seq"]})
            del params["exact"]  # as if that version had not known it
            whole = REQUEST | row | {"params": json.dumps(params)}
            names = ", ".join(whole)
            tx.execute(
                text(f"INSERT INTO requests ({names}) VALUES ({', '.join(f':{name}' for name in whole)})"), whole
            )
            hold = (
                "INSERT INTO ledger (account_id, key_id, request_id, kind, balance, held, created_at)"
                " VALUES ('a', 'k', :id, 'hold', 0, :price, 1.0)"
            )
            tx.execute(text(hold), {"id": row["id"], "price": PRICE})
