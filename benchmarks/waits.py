"""Calls that wait, 1,000 of them: what they cost the web process meanwhile, and how late each is answered."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from tests.acceptance.harness import KEY

from benchmarks.abuse.wire import exchange, head
from benchmarks.sides import Inside, Served, Version, spent
from tintype.catalog.models import SD35_TURBO_TXT2IMG

CALLS = 1_000
#: Connections that a server with so many waits is set up for: one address may have a quarter of them.
CONNECTIONS = 8 * CALLS
#: Of the calls that wait, so many are ended, at this pace in seconds.
ENDED, PAUSE = 200, 0.02
#: Seconds in which the web process is watched while nothing ends, and at most until all calls are queued, or answered.
WATCHED, QUEUED = 5.0, 90.0
BODY = json.dumps({"prompt": "a fox in the snow", "width": 256, "height": 256, "seed": 1}).encode()
HEADERS = {"content-type": "application/json", "x-api-key": KEY, "connection": "close"}


class Waits(NamedTuple):
    """What was measured: a share of a core, and seconds from the commit of a result to the answer's last byte."""

    processor: float
    median: float
    late: float


def files_needed() -> str:
    """What is lacking for so many connections; empty where nothing is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * CONNECTIONS:
        return f"{CALLS:,} waiting calls need {2 * CONNECTIONS:,} open files (ulimit -Hn), here are {hard:,}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CALLS), hard))
    return ""


def measure(version: Version, folder: Path, url: str = "") -> Waits:
    """Of one version: its web process serves, and a process of its own ends the requests through the store."""
    room = {"waits": 2 * CALLS, "account_waits": 2 * CALLS}
    connections = {"connections": CONNECTIONS, "peer_connections": CONNECTIONS // 4}
    with Served(version, folder, url, devices="", queue=0, queue_share=1, **room, **connections) as served:
        served.wait_for("/health")
        with Inside(version, "inside", "ends", served.url, folder / "outputs") as inside:
            return asyncio.run(_measure(served, inside))


async def _measure(served: Served, inside: Inside) -> Waits:
    process, calls = served.process.pid, []
    for _ in range(CALLS):
        calls.append(asyncio.create_task(_call(served.address)))
        await asyncio.sleep(0.002)
    until = time.monotonic() + QUEUED
    while (queued := await asyncio.to_thread(inside.ask)) < CALLS:
        if time.monotonic() > until:
            raise RuntimeError(f"{queued} of {CALLS} calls were queued within {QUEUED:g} s")
        await asyncio.sleep(0.5)
    await asyncio.sleep(1.0)
    before, began = spent(process), time.monotonic()
    await asyncio.sleep(WATCHED)
    share = (spent(process) - before) / (time.monotonic() - began)
    ended = dict(await asyncio.to_thread(inside.ask, count=ENDED, pause=PAUSE))
    async with asyncio.timeout(QUEUED):
        while sum(one.done() for one in calls) < ENDED:
            await asyncio.sleep(0.05)
    answered = dict(one.result() for one in calls if one.done())
    for one in calls:
        one.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    return Waits(share, *_cuts([answered[id] - moment for id, moment in ended.items()]))


def _cuts(seconds: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(seconds, n=100)
    return cuts[49], cuts[98]


async def _call(address: str) -> tuple[str, float]:
    """One v1 call on a connection of its own: its request's id, and when its answer was there."""
    opening = head("POST", f"/v1/{SD35_TURBO_TXT2IMG.slug}", HEADERS, len(BODY))
    said = await exchange(address, opening + BODY)
    moment = time.monotonic()
    first, _, _ = said.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(": ", 1) for line in first.decode("latin-1").split("\r\n")[1:])
    if not first.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"a waiting call was answered {said[:300]!r}")
    return lines["x-request-id"], moment
