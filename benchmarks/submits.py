"""Durable, authenticated submits of one real server over what its framework alone does with the same body."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
from tests.acceptance.harness import KEY, Server

from benchmarks.store import Line
from tintype.catalog.models import SD35_TURBO_TXT2IMG

CALLERS, CALLS = 8, 25
BODY = json.dumps({"prompt": "a fox in the snow", "width": 1024, "height": 1024, "steps": 4, "seed": 1})
PATH = f"/v2/{SD35_TURBO_TXT2IMG.slug}"
#: The same framework and server: it reads the body, checks it, answers, and keeps nothing.
BARE = f"""
import socket, sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
class Asked(BaseModel):
    prompt: str
    width: int
    height: int
    steps: int
    seed: int
app = FastAPI()
@app.post("{PATH}")
def submit(asked: Asked) -> dict[str, str]:
    return {{"request_id": "none", "status": "QUEUED"}}
listening = socket.create_server(("127.0.0.1", 0))
listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(f"http://127.0.0.1:{{listening.getsockname()[1]}}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listening])
"""


class Side(NamedTuple):
    """A server that is called: where it is, and its process."""

    address: str
    process: psutil.Process

    def run(self, callers: int) -> tuple[float, float]:
        """Submits a second of callers who wait for their answers, and each one's processor seconds."""
        spent, began = self._spent(), time.perf_counter()
        with ThreadPoolExecutor(callers) as pool:
            for done in [pool.submit(call, self.address) for _ in range(callers)]:
                done.result()
        count, seconds = callers * CALLS, time.perf_counter() - began
        return count / seconds, (self._spent() - spent) / count

    def _spent(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


def measure(rounds: int) -> list[Line]:
    """With one caller and with several at once; the two servers in turn, both idle but for this."""
    with tempfile.TemporaryDirectory(prefix="tintype-bench-") as folder, bare() as other, ours(Path(folder)) as mine:
        lines = []
        for callers in (1, CALLERS):
            mine.run(callers), other.run(callers)
            pairs = [(mine.run(callers), other.run(callers)) for _ in range(rounds)]
            what = f"SQLite, {callers} caller(s): durable authenticated submits/s ÷ the bare framework's"
            ratios = [ours / bare for (ours, _), (bare, _) in pairs]
            lines.append(Line(what, ratios, median(ours for (ours, _), _ in pairs), "≥ 0.8 (with group commit)"))
            what = f"SQLite, {callers} caller(s): the bare framework's processor time of a submit ÷ ours"
            spent = median(seconds for (_, seconds), _ in pairs)
            lines.append(Line(what, [bare / ours for (_, ours), (_, bare) in pairs], 1 / spent))
        return lines


@contextmanager
def ours(folder: Path) -> Iterator[Side]:
    """`tintype serve` without a worker: it would take the processor from what is measured."""
    server = Server(folder, devices="", weights="{}", queue=0).start(wait_for_worker=False)
    try:
        if server.process is None:
            raise RuntimeError("the server did not start")
        yield Side(server.address, psutil.Process(server.process.pid))
    finally:
        server.stop()


@contextmanager
def bare() -> Iterator[Side]:
    """The framework alone, in a process of its own."""
    command = [sys.executable, "-c", BARE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        if process.stdout is None:
            raise RuntimeError("the framework's process has no output")
        yield Side(process.stdout.readline().strip(), psutil.Process(process.pid))
        process.terminate()


def call(address: str) -> None:
    """On one connection."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    for _ in range(CALLS):
        connection.request("POST", PATH, BODY, {"content-type": "application/json", "x-api-key": KEY})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the submit was answered {answer.status}: {said[:200]!r}")
    connection.close()
