"""A server whose PostgreSQL goes through everything that a database goes through: nothing is lost, or charged twice.

Its disk is small, so that it can be filled; where none can be mounted, that test is skipped.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from time import sleep

import httpx2
import psycopg
import pytest

from tests.acceptance.harness import Server, until
from tests.databases import PostgresServer, postgres_server, server_program
from tests.small_disk import SmallDisk, small_disk
from tests.toy_weights import small_setting
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.postgres import LOCK

SLUG, PRICE = SD35_TURBO_TXT2IMG.slug, SD35_TURBO_TXT2IMG.price
ASKED = {"prompt": "a fox", "width": 256, "height": 256, "steps": 20, "guidance_scale": 4, "image_format": "png"}
#: Work that goes on for a while.
LONG = ASKED | {"steps": 70}
LEASE = 3


@pytest.fixture(scope="module")
def disk() -> Iterator[SmallDisk | None]:
    """Not in pytest's own folder: that is closed to the user the database server runs as."""
    with tempfile.TemporaryDirectory(prefix="tintype-disk-") as folder, ExitStack() as mounted:
        Path(folder).chmod(0o755)
        try:
            yield mounted.enter_context(small_disk(Path(folder) / "disk", megabytes=96))
        except pytest.skip.Exception:
            yield None


@pytest.fixture(scope="module")
def postgres(disk: SmallDisk | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """On that disk, and with no more room for its log than it needs."""
    if server_program("initdb") is None:
        pytest.skip("PostgreSQL's server programs are not on this machine (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="tintype-pg-") as other:
        Path(other).chmod(0o755)
        folder = (disk.folder if disk else Path(other)) / "server"
        with postgres_server(folder, "min_wal_size=2MB", "max_wal_size=4MB") as server:
            yield server


@pytest.fixture(scope="module")
def server(postgres: PostgresServer, new_server: Callable[..., Server], weights: Path) -> Iterator[Server]:
    """One that waits for its database for a second."""
    own = {"lease": LEASE, "database_patience": 1, "weights": small_setting(weights)}
    server = new_server(database_url=f"{postgres.empty()}&connect_timeout=2", **own).start()
    yield server
    assert server.stop() == 0


def submit(server: Server, **changes: object) -> httpx2.Response:
    return server.http().post(f"/v2/{SLUG}", json=LONG | changes)


def begun(server: Server, number: int) -> list[str]:
    """So many requests, of which the first is being drawn."""
    ids = [submit(server, seed=seed).json()["request_id"] for seed in range(number)]
    until(lambda: server.http().get(f"/v2/requests/{ids[0]}/status").json().get("step", 0) > 0)
    return ids


def all_ended(server: Server, ids: Sequence[str]) -> bool:
    answers = [server.http().get(f"/v2/requests/{id}/status").json() for id in ids]
    return all(answer.get("status") in ("COMPLETED", "FAILED") for answer in answers)


def assert_made_and_paid_once(server: Server, ids: Sequence[str], before: int) -> None:
    """All of them COMPLETED, each with its picture, and the account charged for as many."""
    until(lambda: all_ended(server, ids))
    answers = [server.http().get(f"/v2/requests/{id}").json() for id in ids]
    assert [answer["status"] for answer in answers] == ["COMPLETED"] * len(ids)
    assert all(server.http().get(answer["output"]).is_success for answer in answers)
    with server.store() as db:
        assert Accounts(db).imbalances() == []
    assert server.money() == (before - PRICE * len(ids), 0)


def assert_unavailable(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-should-retry"] == "true"


def submit_until_refused(server: Server) -> list[str]:
    """Requests that were taken, until one was not: some of what is written finds room for a while."""
    taken: list[str] = []
    while (answer := submit(server, steps=1)).is_success:
        taken.append(answer.json()["request_id"])
        assert len(taken) < 500
    assert_unavailable(answer)
    return taken


def write_until_it_breaks(postgres: PostgresServer) -> None:
    """Use up the log's own room too, for lack of which PostgreSQL ends all that it does, and starts over."""
    with pytest.raises(psycopg.OperationalError), postgres.connection() as connection:
        while True:
            connection.execute("SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 100000))")


def is_up(postgres: PostgresServer) -> bool:
    """Whether it takes connections; started again where it hadn't even the room to start over by itself."""
    if not postgres.processes:
        with suppress(subprocess.CalledProcessError):
            postgres.start()
    try:
        postgres.connection().close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_full_disk(server: Server, postgres: PostgresServer, disk: SmallDisk | None) -> None:
    if disk is None:
        pytest.skip("no small disk can be mounted here, which takes root")
    before, _ = server.money()
    ids = begun(server, 3)
    disk.fill()
    try:
        write_until_it_breaks(postgres)
        ids += submit_until_refused(server)
        assert server.http().get("/health").is_success
    finally:
        disk.free()
    until(lambda: is_up(postgres))
    assert_made_and_paid_once(server, ids, before)


def test_a_frozen_database(server: Server, postgres: PostgresServer) -> None:
    before, _ = server.money()
    ids = begun(server, 3)
    with postgres.frozen():
        assert_unavailable(submit(server))
        assert server.http().get("/health").is_success
        ready = server.http().get("/ready")
        assert (ready.status_code, ready.json()["database"]) == (503, False)
        sleep(LEASE)  # nobody could be told that they have run out
    assert_made_and_paid_once(server, ids, before)


@pytest.mark.nightly
def test_somebody_keeps_the_lock(server: Server) -> None:
    before, _ = server.money()
    ids = begun(server, 2)
    with psycopg.connect(server.settings["database_url"].replace("+psycopg", "")) as somebody:
        somebody.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        assert_unavailable(submit(server))
        assert server.http().get(f"/v2/requests/{ids[0]}/status").is_success
    assert_made_and_paid_once(server, ids, before)


@pytest.mark.nightly
def test_every_connection_is_cut_again_and_again(server: Server, postgres: PostgresServer) -> None:
    before, _ = server.money()
    ids = begun(server, 3)
    done = threading.Event()

    def cut() -> None:
        while not done.wait(0.3):
            postgres.cut()

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        until(lambda: all_ended(server, ids))
    finally:
        done.set()
        cutting.join()
    assert_made_and_paid_once(server, ids, before)


@pytest.mark.nightly
def test_it_is_restarted_in_order(server: Server, postgres: PostgresServer) -> None:
    before, _ = server.money()
    ids = begun(server, 2)
    postgres.stop("fast")
    assert_unavailable(submit(server))
    postgres.start()
    assert_made_and_paid_once(server, ids, before)


def test_the_log_tells_of_an_outage_in_few_lines(server: Server, postgres: PostgresServer) -> None:
    """An outage begins and ends once for each pool of connections, whatever met it, here and in the tests before."""
    postgres.stop("immediate")
    assert_unavailable(submit(server))
    postgres.start()
    until(lambda: server.http().get("/ready").status_code == 200)
    log = server.log.read_text()
    told = [json.loads(line)["event"] for line in log.splitlines() if '"event": "database ' in line]
    begun = [event for event in told if event in ("database unavailable", "database can't be changed")]
    assert begun
    assert len(begun) <= 34
    assert 0 <= len(begun) - told.count("database available again") - told.count("database can be changed again") <= 4
    assert "sqlalche.me" not in log
