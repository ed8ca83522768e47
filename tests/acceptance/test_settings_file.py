"""A server whose settings are a file, and its workers, on this machine and on one that lacks the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.acceptance.harness import KEY, READY, until
from tests.clients import NO_TLS
from tests.toy_weights import toy_setting
from tintype.cli.fleet import worker_launch
from tintype.cli.sources import load

FILE = """
data = "own"

[web]
port = 0
drain = 0

[worker]
dtype = "float32"
threads = 1
max_images = 7

[inputs]
max_pixels = 1000000

[models]
weights = {weights}
"""
#: What an actor does on its node, without Ray: it supervises a worker until it ends.
ACTOR = """
import json, sys, time
from tintype.fleet.actor import WorkerActor, WorkerLaunch
actor = WorkerActor("ray:1", WorkerLaunch(**json.load(sys.stdin)))
time.sleep(600)
"""


@contextmanager
def process(log: Path, *command: str, stdin: str = "", **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python, with no settings but these in its environment; what it writes goes to the log."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
    with log.open("w") as written:
        running = subprocess.Popen(
            [sys.executable, *command],
            env=inherited | environment,
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=written,
            text=True,
            cwd=log.parent,
        )
    with running:
        assert running.stdin
        running.stdin.write(stdin)
        running.stdin.close()
        yield running
        running.terminate()


def started(log: Path, kind: str) -> dict[str, Any]:
    """The limits in the line of the start of a process of this kind, once it is there."""

    def lines() -> list[dict[str, Any]]:
        read = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
        return [line for line in read if line["event"] == "started" and kind in line and "limits" in line]

    until(lambda: bool(lines()), 120)
    limits: dict[str, Any] = lines()[-1]["limits"]
    return limits


@pytest.mark.timeout(400)
def test_all_processes_have_what_the_file_says(tmp_path: Path, weights: Path) -> None:
    toys = ", ".join(f'"{slug}" = "{folder}"' for slug, folder in json.loads(toy_setting(weights)).items())
    (conf := tmp_path / "conf").mkdir()
    (file := conf / "tintype.toml").write_text(FILE.replace("{weights}", f"{{{toys}}}"))
    (secret := tmp_path / "secret").write_text(f"{KEY}\n")
    log = tmp_path / "log"
    command = ["-m", "tintype", "--config", "conf/tintype.toml", "serve"]
    with process(log, *command, TINTYPE_BOOTSTRAP_KEY_FILE=str(secret)) as server:
        until(lambda: READY in log.read_text(), 120)
        address = log.read_text().partition(READY)[2].split()[0]
        assert httpx2.get(
            f"{address}/v1/get-user-credits", headers={"x-api-key": KEY}, verify=NO_TLS, timeout=60
        ).is_success
        assert started(log, "server")["max_picture_pixels"] == 1_000_000
        limits = started(log, "worker")
        assert (limits["max_pictures"], limits["max_picture_pixels"]) == (7, 1_000_000)
        [worker] = psutil.Process(server.pid).children()
        assert not [name for name in worker.environ() if "BOOTSTRAP" in name]
    assert server.returncode == 0
    assert (conf / "own" / "tintype.db").is_file(), "the file says so, and its paths are relative to it"

    launch = worker_launch(load({"TINTYPE_PIN": ""}, {}, file), {})
    file.unlink()
    sent = {"data": launch.data, "database": launch.database, "grace": launch.grace, "env": dict(launch.env)}
    with process(tmp_path / "node.log", "-c", ACTOR, stdin=json.dumps(sent), TINTYPE_MAX_PICTURES="9"):
        limits = started(tmp_path / "node.log", "worker")
        assert (limits["max_pictures"], limits["max_picture_pixels"]) == (7, 1_000_000)
