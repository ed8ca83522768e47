"""Real servers and workers that share a database: which of them are taken, and what they say of themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.harness import KEY, Server, here, until, words
from tests.databases import PostgresServer
from tests.object_storage import ObjectStorage, object_storage
from tests.toy_weights import small_setting
from tintype import __version__
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.ops.processes import Servers, Workers

ASKED = {"prompt": "a fox", "width": 256, "height": 256, "steps": 4, "guidance_scale": 4}
PASSWORD = "hidden"


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    with object_storage() as storage:
        yield storage


@pytest.fixture(scope="module")
def server(
    postgres: PostgresServer, storage: ObjectStorage, new_server: Callable[..., Server], weights: Path
) -> Iterator[Server]:
    """A server with PostgreSQL and a bucket, without workers."""
    url = postgres.empty().replace("tintype@", f"tintype:{PASSWORD}@")
    own = {"database_url": url, "weights": small_setting(weights), **storage.settings}
    server = new_server(**own, devices="").start(wait_for_worker=False)
    yield server
    assert server.stop() == 0
    check_lines(server.log, "web", "SIGTERM")
    postgres.drop(url)


def environment(server: Server, *without: str, **changes: object) -> dict[str, str]:
    settings = {name: value for name, value in (server.settings | changes).items() if name not in without}
    return {f"TINTYPE_{name.upper()}": str(value) for name, value in settings.items()}


STORAGE = ("storage_url", "storage_endpoint", "storage_key_id", "storage_secret")


@pytest.mark.parametrize("command", ["worker", "serve"])
def test_a_process_with_no_storage_or_another_is_refused(server: Server, tmp_path: Path, command: str) -> None:
    none = words(here(command, "--data", tmp_path, **environment(server, *STORAGE, port=0)))
    assert none.startswith(
        f"the database's pictures are in s3://pictures/tintype at {server.settings['storage_endpoint']}"
    )
    assert f"this process's would go to the folder {tmp_path} on " in none
    other = words(here(command, "--data", tmp_path, **environment(server, port=0, storage_url="s3://pictures/mine")))
    assert "this process's would go to s3://pictures/mine at " in other
    assert PASSWORD not in none + other
    with server.store() as db:
        assert Workers(db).alive(60) == []


def test_a_worker_that_lacks_a_model_is_refused(server: Server, tmp_path: Path) -> None:
    with server.store() as db:
        servers = Servers(db)
        servers.start("elsewhere:8000", {"studio-sd": "1"})
        said = words(here("worker", "--data", tmp_path, **environment(server)))
        servers.leave("elsewhere:8000")
    assert said.startswith("the servers offer models that this worker doesn't know: studio-sd; ")


def test_a_worker_that_belongs_under_another_name(server: Server, storage: ObjectStorage, tmp_path: Path) -> None:
    """The storage's alias; and then what the processes tell of themselves."""
    log = tmp_path / "worker.log"
    env = environment(server, storage_endpoint=f"http://localhost:{storage.port}")
    with started(env, log, tmp_path / "data") as worker:
        until(lambda: server.http().get("/ready").is_success)
        id = server.http().post(f"/v2/{SD35_TURBO_TXT2IMG.slug}", json=ASKED).json()["request_id"]
        until(lambda: server.http().get(f"/v2/requests/{id}/status").json()["status"] == "COMPLETED")
        picture = server.http().get(f"/v2/requests/{id}").json()["output"]
        assert server.http().get(picture).is_success

        listed = json.loads(here("processes", "--json", "--data", tmp_path, **environment(server)).stdout)
        own = [one for one in listed if one["id"] != "elsewhere:8000"]
        assert [(one["process"], one["version"]) for one in own] == [("server", __version__), ("worker", __version__)]
        assert own[0]["state"] == "serving"
        assert own[1]["state"] in ("idle", "working"), "it may not have said yet that it is done"
        [row] = json.loads(here("workers", "list", "--json", "--data", tmp_path, **environment(server)).stdout)
        assert row["version"] == __version__
        seen = server.http().get("/v2/operator").json()
        assert [one["version"] for one in seen["workers"]] == [__version__]
        assert f":{server.address.rpartition(':')[2]}" in "".join(one["id"] for one in seen["servers"])
        with psycopg.connect(str(server.settings["database_url"]).replace("+psycopg", "")) as operator:
            names = operator.execute("SELECT DISTINCT application_name FROM pg_stat_activity").fetchall()
        assert {f"tintype web {__version__}", f"tintype worker {__version__}"} <= {name for (name,) in names}
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    lines = check_lines(log, "worker auto", "SIGTERM")
    assert (lines[0]["worker"], lines[0]["device"]) == (row["id"], "cpu")
    assert lines[0]["limits"]["max_pictures"] == 32


@pytest.mark.nightly  # the folder's other path, without processes, is in the integration tests of the same name
def test_a_worker_with_a_shared_folder(new_server: Callable[..., Server], weights: Path, tmp_path: Path) -> None:
    """As over NFS, on whatever path it is mounted; and drained, it says so."""
    server = new_server(weights=small_setting(weights), devices="").start(wait_for_worker=False)
    mounted = tmp_path / "mounted"
    mounted.symlink_to(server.data)
    log = tmp_path / "worker.log"
    with started(environment(server), log, mounted) as worker:
        until(lambda: server.http().get("/ready").is_success)
        assert words(
            here("worker", "--data", tmp_path / "own", **environment(server, database_url=server.url))
        ).endswith("if the pictures were moved, say so with `tintype storage adopt`, with everything stopped")
        [row] = json.loads(server.cli("workers", "list", "--json"))
        server.cli("workers", "drain", row["id"])
        assert worker.wait(60) == 0
    check_lines(log, "worker auto", "drained")
    assert server.stop() == 0


class started:  # noqa: N801 - read as a verb
    """A `tintype worker` while the block lasts."""

    def __init__(self, env: dict[str, str], log: Path, data: Path) -> None:
        command = [sys.executable, "-m", "tintype", "worker", "--data", str(data)]
        with log.open("w") as errors:
            self.process = subprocess.Popen(command, env={**os.environ, **env}, stderr=errors)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def check_lines(log: Path, process: str, reason: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The lines of a process's start and end, which have no secrets in them."""
    text = log.read_text()
    assert PASSWORD not in text
    assert KEY not in text
    assert '"secret"' not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    own = [line for line in lines if line["process"] == process and line["event"] in ("started", "stopped")]
    assert [line["event"] for line in own] == ["started", "stopped"]
    begun, ended = own
    assert {"version", "host", "pid", "database", "storage", "limits"} <= begun.keys()
    assert {"server", "address", "fleet"} <= begun.keys() or {"worker", "device", "parent"} <= begun.keys()
    assert begun["version"] == __version__
    assert (ended["reason"], ended["seconds"] > 0) == (reason, True)
    return begun, ended
