"""Nothing is answered before it is durable: if the power is cut, or the process killed inside a group commit."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.acceptance.harness import Server
from tests.databases import Databases
from tests.stores import store_on
from tests.tenants import Tenant
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.billing.ledger import imbalances
from tintype.store.db.database import Database
from tintype.store.db.tables import accounts, requests

COMPILER = shutil.which("cc")
CALLERS, CALLS = 6, 4
BODY = {"prompt": "a fox", "steps": 4, "width": 256, "height": 256}

#: Threads that submit, and say which requests were accepted; SIGKILL at the third time that it comes to a point.
SUBMITTER = """
import os, signal, sys, threading
from itertools import count
from sqlalchemy import event, select
from tests.stores import new_request, store_on
from tintype.store.accounts.keys import KEY_COLUMNS, Key
from tintype.store.db.database import Database
url, point, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = Database(url)
with db.read() as view:
    key = Key.of(view.execute(select(*KEY_COLUMNS)).one())
seen = count(1)
def come(*_):
    if next(seen) == times:
        os.kill(os.getpid(), signal.SIGKILL)
if point == "savepoint":
    event.listen(db._engine, "before_cursor_execute", lambda *a: "SAVEPOINT" in a[2] and come())
elif point == "change":
    event.listen(db._engine, "before_cursor_execute", lambda *a: "INTO ledger" in a[2] and come())
elif point == "commit":
    event.listen(db._engine, "commit", come)
elif point == "committed":
    event.listen(db._engine, "checkin", come)
said = threading.Lock()
def run():
    store = store_on(db)
    while True:
        request = store.queue.submit(new_request(key, "sd3", {}, 10))
        with said:
            print(request.id, flush=True)
threads = [threading.Thread(target=run) for _ in range(8)]
for one in threads:
    one.start()
"""


@pytest.mark.parametrize(("point", "times"), [("savepoint", 9), ("change", 30), ("commit", 4), ("committed", 4)])
def test_killed_inside_a_group(databases: Databases, point: str, times: int) -> None:
    """All that was answered is there, charged once; of the group, everything or nothing."""
    url = databases.fresh()
    db = Database(url)
    Tenant(store_on(db), 10**9)
    command = [sys.executable, "-c", SUBMITTER, url, point, str(times)]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=150, check=False)
    assert killed.returncode == -9
    answered = set(killed.stdout.split())
    with db.read() as view:
        stored = set(view.scalars(select(requests.c.id)))
        held = view.scalar(select(func.sum(accounts.c.held)))
        assert imbalances(view) == []
    assert answered <= stored
    assert held == 10 * len(stored)
    assert answered or point != "committed"
    db.close()
    databases.drop(url)


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, which makes what notes each fsync")
def test_what_is_answered_survives_a_power_cut(
    new_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of each answer, the files as they were last synced have its request."""
    assert COMPILER
    library, synced = tmp_path / "synced.so", tmp_path / "synced"
    synced.mkdir()
    source = Path(__file__).parent / "synced.c"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    with monkeypatch.context() as patched:
        patched.setenv("LD_PRELOAD", str(library))
        patched.setenv("SYNCED", str(synced))
        server = new_server(fleet="none").start(wait_for_worker=False)

    def call(caller: int) -> list[str]:
        http, answered = server.http(), []
        for number in range(CALLS):
            answer = http.post(f"/v2/{SD35_TURBO_TXT2IMG.slug}", json=BODY)
            assert answer.status_code == 200, answer.text
            answered.append(answer.json()["request_id"])
            left = tmp_path / f"left-{caller}-{number}"
            copy(synced, left)
            assert answered[-1] in ids(left / "tintype.db")
        return answered

    with ThreadPoolExecutor(CALLERS) as threads:
        answered = {id for each in threads.map(call, range(CALLERS)) for id in each}
    server.kill()
    assert answered <= ids(synced / "tintype.db")


def copy(synced: Path, left: Path) -> None:
    """The folder as it is at one moment."""
    folder = os.open(synced, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    shutil.copytree(synced, left)
    os.close(folder)


def ids(file: Path) -> set[str]:
    """Of the requests in a database that no process has open."""
    connection = sqlite3.connect(file)
    found = {id for (id,) in connection.execute("SELECT id FROM requests")}
    connection.close()
    return found
