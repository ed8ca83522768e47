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


def measure(rounds: int) -> list[Line]:
    """With one caller and with several at once; the two servers in turn, both idle but for this."""
    with tempfile.TemporaryDirectory(prefix="tintype-bench-") as folder, bare() as other:
        # No worker: it would take the processor from what is measured.
        server = Server(Path(folder), devices="", weights="{}", queue=0).start(wait_for_worker=False)
        try:
            lines = []
            for callers in (1, CALLERS):
                rates(server.address, callers), rates(other, callers)
                pairs = [(rates(server.address, callers), rates(other, callers)) for _ in range(rounds)]
                what = f"SQLite, {callers} caller(s): durable authenticated submits/s ÷ the bare framework's"
                mine = median(one for one, _ in pairs)
                lines.append(Line(what, [one / other for one, other in pairs], mine, "≥ 0.8 (group commit)"))
            return lines
        finally:
            server.stop()


@contextmanager
def bare() -> Iterator[str]:
    """The address of the framework alone, in a process of its own."""
    command = [sys.executable, "-c", BARE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        if process.stdout is None:
            raise RuntimeError("the framework's process has no output")
        yield process.stdout.readline().strip()
        process.terminate()


def rates(address: str, callers: int) -> float:
    """Submits per second of callers who each wait for an answer before they send again."""
    began = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        for done in [pool.submit(call, address) for _ in range(callers)]:
            done.result()
    return callers * CALLS / (time.perf_counter() - began)


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
