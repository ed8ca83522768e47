"""`serve --fleet ray` on a cluster whose nodes come and go: from none and back, whatever dies on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from tests.acceptance.conftest import servers
from tests.acceptance.harness import Server, until
from tests.databases import PostgresServer
from tests.ray_cluster import PATIENCE, RayHead, ray_head
from tests.toy_weights import small_setting
from tintype import __version__
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.db.tables import requests
from tintype.store.ops.autoscaler import fleet_name
from tintype.store.ops.processes import WorkerRow, Workers

SLUG, PRICE = SD35_TURBO_TXT2IMG.slug, SD35_TURBO_TXT2IMG.price
ASKED = {"prompt": "a fox", "width": 256, "height": 256, "steps": 20, "guidance_scale": 4, "image_format": "png"}
LONG = ASKED | {"steps": 70, "batch_size": 4}
#: What another version has left.
OLD_ACTOR = "ray.remote(num_cpus=0)(type('Old', (), {})).options(name='ray:1', lifetime='detached').remote()"
#: Seconds that a node, an actor and a worker may take to come one after the other, on a busy machine.
PATIENT = 400


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayHead]:
    for name, value in PATIENCE.items():
        monkeypatch.setenv(name, value)
    with ray_head(nodes=2) as head:
        yield head


@pytest.fixture
def fleet_of(
    tmp_path_factory: pytest.TempPathFactory, weights: Path, cluster: RayHead
) -> Iterator[Callable[..., Server]]:
    """Starts a server whose workers are that cluster's, and gone when the cluster is."""
    with servers(tmp_path_factory, weights) as make:

        def start(**settings: object) -> Server:
            usual = {"fleet": "ray", "ray_address": cluster.address, "fleet_cooldown": 2}
            return make(**usual | {"weights": small_setting(weights)} | settings).start(wait_for_worker=False)

        yield start


def submit(server: Server, body: dict[str, object], number: int = 1) -> list[str]:
    bodies = [body | {"seed": seed} for seed in range(number)]
    return [server.http().post(f"/v2/{SLUG}", json=one).json()["request_id"] for one in bodies]


def status(http: httpx2.Client, id: str) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/v2/requests/{id}/status").json()
    return found


def all_completed(server: Server, ids: list[str], pictures: int, before: int) -> None:
    """Wait for the end of all; each is completed and has its picture, and each picture was charged once."""
    http = server.http()
    until(lambda: all(status(http, id)["status"] in ("COMPLETED", "FAILED") for id in ids), PATIENT)
    bodies = [http.get(f"/v2/requests/{id}").json() for id in ids]
    assert [body["status"] for body in bodies] == ["COMPLETED"] * len(ids), bodies
    assert all(http.get(body["output"]).is_success for body in bodies)
    assert server.money() == (before - pictures * PRICE, 0)


def known(server: Server) -> list[WorkerRow]:
    with server.store() as db:
        return Workers(db).shown()[1]


def logged(server: Server, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def actor_of(server: Server) -> str:
    """What the server's first actor is called in Ray."""
    with server.store() as db:
        return f"tintype-{fleet_name(db)}:ray:1"


def attempts(server: Server, id: str) -> int:
    with server.store() as db, db.read() as view:
        return int(view.execute(select(requests.c.attempt).where(requests.c.id == id)).scalar_one())


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("drawing", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_fleets_of_one_namespace_go_from_none_to_one_and_back(
    fleet_of: Callable[..., Server], cluster: RayHead, drawing: int
) -> None:
    """Each has a database of its own, and none ends what another has; the last one's workers fit on no node.

    An actor of a version whose names don't tell the database is left alone, too.
    """
    cluster.run(OLD_ACTOR)
    fleets, large = [fleet_of(fleet_max=1) for _ in range(drawing)], fleet_of(fleet_max=1, ray_cpus=2)
    before, _ = large.money()
    assert cluster.nodes() == []
    submit(large, ASKED)
    ids = [submit(server, ASKED, 2) for server in fleets]
    for server, own in zip(fleets, ids, strict=True):
        all_completed(server, own, 2, before)
    until(lambda: not cluster.nodes(), PATIENT)
    for server in fleets:
        [started] = logged(server, "starting a worker")
        [ended] = logged(server, "ending an actor")
        assert (started["actor"], ended["actor"], known(server)) == ("ray:1", "ray:1", [])
        [told] = logged(server, "actors of an earlier tintype are left alone; its own `tintype fleet --down` ends them")
        assert told["actors"] == ["ray:1"]
    cluster.run(
        "there = ray.util.list_named_actors(); assert {*there} == {'ray:1', large}, there", large=actor_of(large)
    )
    until(lambda: logged(large, "workers wait for a node that has room: `ray status`"))
    [said, *_] = logged(large, "workers wait for a node that has room: `ray status`")
    assert said["cause"].startswith("ray:1: one needs 1 GPU and 2 CPU; all nodes together have ")
    assert {server.stop() for server in (*fleets, large)} == {0}
    for server in fleets:
        [begun] = [line for line in logged(server, "started") if line["process"] == "fleet"]
        [over] = [line for line in logged(server, "stopped") if line["process"] == "fleet"]
        assert (begun["version"], begun["fleet"], over["reason"]) == (__version__, "ray", "SIGTERM")


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_a_burst_and_a_keeper_that_dies_in_it(fleet_of: Callable[..., Server], cluster: RayHead) -> None:
    # A worker has one of these requests in hand, so that one can't take them all.
    server = fleet_of(fleet_max=2, fleet_wait=5, fleet_cooldown=10, max_pictures=4)
    before, _ = server.money()
    ids = submit(server, LONG, 4)
    until(lambda: len(cluster.nodes()) == 2, PATIENT)
    server.kill_worker()  # its only child, the keeper
    until(lambda: len([one for one in known(server) if one.report.memory]) == 2, PATIENT)
    all_completed(server, ids, 16, before)
    assert {one.id.partition("-")[0] for one in known(server)} <= {"ray:1", "ray:2"}
    until(lambda: not cluster.nodes(), PATIENT)
    until(lambda: known(server) == [])
    assert server.stop() == 0


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_a_node_that_dies_under_a_request(
    fleet_of: Callable[..., Server], cluster: RayHead, postgres: PostgresServer
) -> None:
    url = postgres.empty()
    server = fleet_of(fleet_max=1, database_url=url)
    before, _ = server.money()
    [id] = submit(server, LONG)
    until(lambda: status(server.http(), id).get("step", 0) > 2, PATIENT)
    [first] = known(server)
    [node] = cluster.nodes()
    cluster.kill_node(node)
    all_completed(server, [id], 4, before)
    assert attempts(server, id) == 2
    assert [one.id for one in known(server) if one.id != first.id]
    until(lambda: not cluster.nodes(), PATIENT)
    assert server.stop() == 0
    postgres.drop(url)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_a_head_that_dies_under_a_request(fleet_of: Callable[..., Server], cluster: RayHead) -> None:
    server = fleet_of(fleet_max=1)
    before, _ = server.money()
    ids = submit(server, LONG, 2)
    until(lambda: status(server.http(), ids[0]).get("step", 0) > 2, PATIENT)
    seen = status(server.http(), ids[0])["step"]
    cluster.kill_head()
    until(lambda: status(server.http(), ids[0]).get("step", 0) > seen + 2)  # the work goes on without it
    ids += submit(server, ASKED)
    until(lambda: not cluster.nodes(), PATIENT)  # until the nodes notice
    cluster.start()
    all_completed(server, ids, 9, before)
    until(lambda: not cluster.nodes(), PATIENT)
    assert server.stop() == 0


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_halves_of_a_gpu_and_taken_down_by_command(
    fleet_of: Callable[..., Server], cluster: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = fleet_of(fleet_min=2, ray_gpus=0.5, ray_cpus=0.5)
    until(lambda: len(known(server)) == 2, PATIENT)
    assert len(cluster.nodes()) == 1
    settings = cluster.environments("worker")
    assert [(one["CUDA_VISIBLE_DEVICES"], one["TINTYPE_MEMORY_SHARE"]) for one in settings] == [("0", "0.5")] * 2
    assert not [one for one in settings if "TINTYPE_BOOTSTRAP_KEY" in one]
    server.stop()
    assert [one.drain_at for one in known(server)] == [None, None], "workers outlive the server"
    monkeypatch.setenv("TINTYPE_RAY_ADDRESS", cluster.address)
    server.cli("fleet", "--down")
    assert known(server) == []
    until(lambda: not cluster.nodes(), PATIENT)
