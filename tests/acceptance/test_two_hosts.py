"""A server, a database and an object storage on one host, workers on others, and a network that fails between them."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from sqlalchemy import select

from tests.acceptance.harness import Server, until
from tests.databases import PostgresServer, server_program
from tests.network_namespaces import Host, Network, why_not
from tests.object_storage import object_storage
from tests.toy_weights import small_setting
from tintype.catalog.models import SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.store.db.database import read_clock
from tintype.store.db.tables import requests

SERVER, FIRST, SECOND = "10.77.0.1", "10.77.0.2", "10.77.0.3"
PASSWORD = "of the database"
LEASE = 3
SLUG, PRICE = SD35_TURBO_TXT2IMG.slug, SD35_TURBO_TXT2IMG.price
SHORT = {"prompt": "a fox", "width": 256, "height": 256, "steps": 10, "guidance_scale": 4}
LONG = SHORT | {"steps": 70, "batch_size": 2}


class ReachablePostgres(PostgresServer):
    """Takes connections from the network too, with a password."""

    @property
    def _options(self) -> str:
        return f"{super()._options} -c listen_addresses={SERVER}"

    def create(self) -> None:
        """As every other, and then for others."""
        super().create()
        self._execute(f"ALTER ROLE tintype PASSWORD '{PASSWORD}'")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {SERVER}/24 scram-sha-256\n")
        self._execute("SELECT pg_reload_conf()")

    def address(self) -> str:
        """The URL of an empty database as other hosts have it."""
        name = self.empty().partition("@/")[2].partition("?")[0]
        return f"postgresql+psycopg://tintype:{PASSWORD}@{SERVER}/{name}"


class RemoteWorker:
    """`tintype worker` on a host of its own, with its own data folder, told no more than it needs."""

    def __init__(self, host: Host, data: Path, settings: dict[str, object]) -> None:
        data.mkdir()
        self.data = data
        self.log = data / "worker.log"
        env = {**os.environ, **{f"TINTYPE_{name.upper()}": str(value) for name, value in settings.items()}}
        with host.entered(), self.log.open("w") as log:
            command = [sys.executable, "-m", "tintype", "worker", "--device", "cpu", "--data", str(data)]
            self._process = subprocess.Popen(command, env=env, stderr=log)

    def lives(self) -> bool:
        """Whether it still is that process."""
        return self._process.poll() is None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self._process.terminate()
        return self._process.wait(60)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    if reason := why_not():
        pytest.skip(reason)
    network = Network()
    yield network
    network.close()


@pytest.fixture(scope="module")
def settings(network: Network, weights: Path) -> Iterator[dict[str, object]]:
    """What all are told. The database and the storage run on the server's host, and so does everything from here on."""
    if server_program("initdb") is None:
        pytest.skip("PostgreSQL's server programs are not on this machine (Debian: apt-get install postgresql)")
    network.add(SERVER)
    folder = Path(tempfile.mkdtemp(prefix="tintype-pg-"))
    folder.chmod(0o755)
    database = ReachablePostgres(folder / "server")
    quick = {"dtype": "float32", "lease": LEASE, "heartbeat": 0.1, "threads": 1, "weights": small_setting(weights)}
    with network.host(SERVER).entered(), object_storage(SERVER) as storage:
        database.create()
        yield {**quick, **storage.settings, "database_url": database.address()}
        database.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(new_server: Callable[..., Server], settings: dict[str, object]) -> Iterator[Server]:
    """The server, without a worker."""
    server = new_server(**settings, host=SERVER, devices="").start(wait_for_worker=False)
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def new_worker(
    network: Network, tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object]
) -> Iterator[Callable[[str], RemoteWorker]]:
    """Starts workers, each on a new host."""
    started: list[RemoteWorker] = []

    def start(address: str) -> RemoteWorker:
        started.append(RemoteWorker(network.add(address), tmp_path_factory.mktemp("host") / "data", settings))
        return started[-1]

    yield start
    assert [worker.stop() for worker in started] == [0] * len(started)


@pytest.fixture(scope="module")
def worker(new_worker: Callable[[str], RemoteWorker], server: Server) -> RemoteWorker:
    """The first worker, once it is ready."""
    worker = new_worker(FIRST)
    until(lambda: server.http().get("/ready").is_success, seconds=150)
    return worker


@pytest.fixture
def http(server: Server) -> httpx2.Client:
    return server.http()


def state(http: httpx2.Client, id: str) -> str:
    return str(http.get(f"/v2/requests/{id}/status").json()["status"])


def submitted(http: httpx2.Client, slug: str, body: dict[str, object]) -> str:
    answer = http.post(f"/v2/{slug}", json=body)
    assert answer.is_success, answer.text
    return str(answer.json()["request_id"])


def begun(http: httpx2.Client) -> str:
    """A request that a worker is in the middle of."""
    id = submitted(http, SLUG, LONG)
    until(lambda: http.get(f"/v2/requests/{id}/status").json().get("step", 0) > 0)
    return id


def result(http: httpx2.Client, id: str) -> dict[str, Any]:
    """What the result endpoint says of a request, its caller's credits left out."""
    answer: dict[str, Any] = http.get(f"/v2/requests/{id}").json()
    del answer["metrics"]["remaining_credits"]
    return answer


def lease_is_over(server: Server, id: str) -> bool:
    with server.store() as db, db.read() as view:
        until = view.execute(select(requests.c.lease_until).where(requests.c.id == id)).scalar_one()
        return bool(until < read_clock(view))


def test_a_picture_from_another_host(
    server: Server, worker: RemoteWorker, network: Network, http: httpx2.Client
) -> None:
    before, _ = server.money()
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    sent = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    [uploaded] = http.post("/upload-asset", json={"data_urls": [sent]}).json()["file_urls"]
    body = {"prompt": "a castle", "num_inference_steps": 20}
    ids = [submitted(http, SD15_IMG2IMG.slug, body | {"image": image}) for image in (sent, uploaded)]
    until(lambda: all(state(http, id) == "COMPLETED" for id in ids))
    addresses = [result(http, id)["output"] for id in ids]
    with network.host(FIRST).entered():
        pictures = [httpx2.get(address, timeout=60) for address in addresses]
    assert [picture.headers["content-type"] for picture in pictures] == ["image/jpeg"] * 2
    assert [Image.open(io.BytesIO(picture.content)).format for picture in pictures] == ["JPEG"] * 2
    assert server.money() == (before - 2 * SD15_IMG2IMG.price, 0)
    assert not [*worker.data.rglob("*.db"), *worker.data.rglob("*.jpeg"), *server.data.rglob("*.jpeg")]


def test_the_network_is_cut_for_longer_than_a_lease(
    server: Server, worker: RemoteWorker, network: Network, http: httpx2.Client
) -> None:
    before, _ = server.money()
    running = begun(http)
    with network.cut(FIRST):
        until(lambda: lease_is_over(server, running))
        waiting = submitted(http, SLUG, SHORT)
        assert state(http, waiting) == "QUEUED"
        assert state(http, running) in ("QUEUED", "PROCESSING")
        assert server.money() == (before, 3 * PRICE)
    until(lambda: state(http, running) == state(http, waiting) == "COMPLETED")
    assert server.money() == (before - 3 * PRICE, 0)
    assert worker.lives()


@pytest.mark.nightly  # a second worker takes its seconds
def test_a_host_that_is_lost(
    server: Server,
    worker: RemoteWorker,
    new_worker: Callable[[str], RemoteWorker],
    network: Network,
    http: httpx2.Client,
) -> None:
    before, _ = server.money()
    id = begun(http)
    with network.cut(FIRST):
        other = new_worker(SECOND)
        until(lambda: state(http, id) == "COMPLETED")
        answer = result(http, id)
        assert server.money() == (before - 2 * PRICE, 0)
        assert other.stop() == 0
    # Nobody could know, but it was not lost: what it has to say comes late, and changes nothing.
    after = submitted(http, SLUG, SHORT)
    until(lambda: state(http, after) == "COMPLETED")
    assert worker.lives()
    assert result(http, id) == answer
    assert server.money() == (before - 3 * PRICE, 0)
