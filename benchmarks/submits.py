"""Calls of one real server over what its framework alone does with the same: authenticated, durable submits; polls."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.acceptance.harness import KEY

from benchmarks.sides import NOW, Served, Version, spent
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
@app.get("/v2/requests/{{request_id}}/status")
def status(request_id: str) -> dict[str, str]:
    return {{"request_id": request_id, "status": "QUEUED"}}
listening = socket.create_server(("127.0.0.1", 0))
listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(f"http://127.0.0.1:{{listening.getsockname()[1]}}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listening])
"""


class Call(NamedTuple):
    """What is sent."""

    method: str
    path: str
    body: str = ""
    key: str = KEY


SUBMIT = Call("POST", PATH, BODY)


class Rate(NamedTuple):
    """Calls a second, and the server's processor seconds of each."""

    per_second: float
    processor: float


class Side(NamedTuple):
    """A server that is called: where it is, and its process."""

    address: str
    process: int

    def run(self, callers: int, calls: Sequence[Call] = (SUBMIT,)) -> Rate:
        """Of callers who wait for their answers, each of whom sends CALLS of these calls, over and over."""
        before, began = spent(self.process), time.perf_counter()
        with ThreadPoolExecutor(callers) as pool:
            turns = [[*islice(cycle(calls), number, number + CALLS)] for number in range(callers)]
            for done in [pool.submit(send, self.address, turn) for turn in turns]:
                done.result()
        count, seconds = callers * CALLS, time.perf_counter() - began
        return Rate(count / seconds, (spent(self.process) - before) / count)


def measure(rounds: int) -> list[Line]:
    """Submits of one caller and of several at once; the two servers in turn, both idle but for this."""
    with tempfile.TemporaryDirectory(prefix="tintype-bench-") as folder, bare() as other:
        lines = []
        with serving(NOW, Path(folder) / "data") as served:
            mine = Side(served.address, served.process.pid)
            for callers in (1, CALLERS):
                mine.run(callers), other.run(callers)
                pairs = [(mine.run(callers), other.run(callers)) for _ in range(rounds)]
                what = f"SQLite, {callers} caller(s): durable authenticated submits/s ÷ the bare framework's"
                ratios = [ours.per_second / bare.per_second for ours, bare in pairs]
                lines.append(Line(what, ratios, median(ours.per_second for ours, _ in pairs), "≥ 0.4"))
                what = f"SQLite, {callers} caller(s): processor time of a submit ÷ the bare framework's"
                ratios = [ours.processor / bare.processor for ours, bare in pairs]
                lines.append(Line(what, ratios, 1 / median(ours.processor for ours, _ in pairs), "≤ 3"))
        return lines


def serving(version: Version, folder: Path) -> Served:
    """`tintype serve` without a worker: it would take the processor from what is measured."""
    return Served(version, folder, devices="", queue=0)


@contextmanager
def bare() -> Iterator[Side]:
    """The framework alone, in a process of its own."""
    command = [sys.executable, "-c", BARE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        if process.stdout is None:
            raise RuntimeError("the framework's process has no output")
        yield Side(process.stdout.readline().strip(), process.pid)
        process.terminate()


def send(address: str, calls: Sequence[Call]) -> None:
    """On one connection."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    for one in calls:
        headers = {"content-type": "application/json", "x-api-key": one.key}
        connection.request(one.method, one.path, one.body or None, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{one.method} {one.path} was answered {answer.status}: {said[:200]!r}")
    connection.close()
