"""What runs inside a measured version of tintype: the store under load, and what ends requests without a model.

Run by its path (`python -P benchmarks/inside.py`), with that version's `src`, `tests` and `benchmarks` on the path: it
uses what all measured versions have. One order a line, in JSON, on stdin; one answer a line on stdout.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from PIL import Image
from tests.databases import migrated
from tests.stores import a_result

from benchmarks.store import House
from tintype.media.storage import Files
from tintype.store.db.records import Request
from tintype.store.queue.queue import Leases
from tintype.telemetry.logs import set_up_logs

#: Fresh interpreters, as workers are.
PROCESSES = multiprocessing.get_context("spawn")
#: Requests that are submitted and not completed, at most: the queue neither runs empty nor grows.
BACKLOG = 64
#: As a worker has them: requests in its hands, threads that complete them; and requests of one claim.
IN_HAND, COMPLETERS, BUNCH = 32, 4, 8
#: Seconds of a run before it is counted.
LEAD = 0.4

#: When something ended, by the machine's monotonic clock, and the seconds that it took.
Took = tuple[float, float]
Answer = Callable[[dict[str, Any]], Any]


class Turn(NamedTuple):
    """What all processes share: places for further requests, and requests that are queued and not claimed."""

    room: Any
    ready: Any


def load(url: str, processes: int, threads: int, workers: int) -> Answer:
    """Submitters and workers as they are: threads of `processes` web processes, and a process for each worker.

    An order has `queued`, the requests that wait behind those that are measured, and `seconds`.
    """
    migrated(url)
    house = House(url)
    turn = Turn(PROCESSES.Semaphore(BACKLOG), PROCESSES.Semaphore(0))
    every = [started(submitting, url, house.keys, threads, turn) for _ in range(processes)]
    every += [started(working, url, turn) for _ in range(workers)]
    for pipe in every:
        pipe.recv()

    def answer(asked: dict[str, Any]) -> Any:
        house.fill(asked["queued"])
        since = time.monotonic() + 0.05 + LEAD
        until = since + asked["seconds"]
        for pipe in every:
            pipe.send((since - LEAD, until))
        told: list[dict[str, Any]] = [pipe.recv() for pipe in every]
        took = {
            name: [took for one in told for at, took in one.get(name, ()) if since <= at < until]
            for name in ("submit", "claim", "complete")
        }
        whole = sum(len(one.get("complete", ())) for one in told)
        return {
            "per_second": len(took["complete"]) / asked["seconds"],
            # Seconds for a request: the lead's too, and without those of the database's own processes.
            "processor": sum(one["processor"] for one in told) / max(1, whole),
            # Median and 99th percentile, in seconds.
            **{name: quantiles(seconds, n=100)[49::49] for name, seconds in took.items() if len(seconds) > 1},
        }

    return answer


def started(work: Callable[..., None], *given: Any) -> Connection:
    """A process with that work; it says when it is ready, and after each run what it did."""
    here, there = PROCESSES.Pipe()
    PROCESSES.Process(target=logged, args=(work, *given, there), daemon=True).start()
    return here


def logged(work: Callable[..., Any], *given: Any) -> Any:
    """Do the work, with a line of JSON on stderr for each event, as servers and workers write it."""
    set_up_logs(process="inside")
    return work(*given)


def runs(pipe: Connection, run: Callable[[float, float], dict[str, list[Took]]]) -> None:
    """Each run that is asked for, with the processor seconds of this process."""
    pipe.send("ready")
    while True:
        began, until = pipe.recv()
        time.sleep(max(0.0, began - time.monotonic()))
        before = time.process_time()
        pipe.send({**run(began, until), "processor": time.process_time() - before})


def submitting(url: str, keys: list[Any], threads: int, turn: Turn, pipe: Connection) -> None:
    """A web process without HTTP."""
    house = House(url, keys=0)
    house.keys = keys

    def submit(until: float) -> list[Took]:
        took: list[Took] = []
        while (left := until - time.monotonic()) > 0 and turn.room.acquire(timeout=left):
            began = time.monotonic()
            house.submit()
            turn.ready.release()
            took.append((time.monotonic(), time.monotonic() - began))
        return took

    with ThreadPoolExecutor(threads) as pool:

        def run(_began: float, until: float) -> dict[str, list[Took]]:
            done = [pool.submit(submit, until) for _ in range(threads)]
            return {"submit": [one for each in done for one in each.result()]}

        runs(pipe, run)


def working(url: str, turn: Turn, pipe: Connection) -> None:
    """A worker without a model: its loop claims, its threads complete, as `worker/loop.py` and `worker/outputs.py` do.

    It is woken by a semaphore, at no cost to the database.
    """
    leases = House(url, keys=0).store.leases
    name, hands = f"w-{os.getpid()}", threading.Semaphore(IN_HAND)

    def complete(request: Request, took: list[Took]) -> None:
        began = time.monotonic()
        if not leases.complete(request.id, request.attempt, a_result(inference_time=1.0)):
            raise RuntimeError("the request is not the one that was claimed")
        took.append((time.monotonic(), time.monotonic() - began))
        turn.room.release()
        hands.release()

    with ThreadPoolExecutor(COMPLETERS) as pool:

        def run(_began: float, until: float) -> dict[str, list[Took]]:
            claims: list[Took] = []
            completes: list[Took] = []
            ends: list[Future[None]] = []
            while (left := until - time.monotonic()) > 0 and turn.ready.acquire(timeout=left):
                found, took = claimed(leases, name, turn.ready)
                claims.append((time.monotonic(), took))
                for request in found:
                    hands.acquire()
                    ends.append(pool.submit(complete, request, completes))
            wait(ends)
            for one in ends:
                one.result()
            return {"claim": claims, "complete": completes}

        runs(pipe, run)


def claimed(leases: Leases, worker: str, ready: Any) -> tuple[list[Request], float]:
    """One request, or as many as are there where the version claims in bunches; and the seconds that it took."""
    bunch: Callable[..., list[Request]] | None = getattr(leases, "claim_many", None)
    wanted = 1
    while bunch and wanted < BUNCH and ready.acquire(block=False):
        wanted += 1
    began = time.monotonic()
    if bunch:
        found = [*bunch(worker, wanted, idle=True)]
    else:
        one = leases.claim(worker, idle=True)
        found = [one] if one else []
    took = time.monotonic() - began
    for _ in range(wanted - len(found)):
        ready.release()
    return found, took


def ends(url: str, outputs: str) -> Answer:
    """Ends requests that callers wait for: a worker whose image is there already.

    An order has `count`, and `pause`, the seconds between two; the answer has each one's id and when it was committed,
    by the monotonic clock. Without a count, the answer is how many are queued.
    """
    house = House(url, keys=0)
    leases, files = house.store.leases, Files(Path(outputs), 3600.0)
    file = BytesIO()
    Image.new("RGB", (256, 256), "gray").save(file, "jpeg")

    def end(due: float) -> tuple[str, float]:
        request = leases.claim("ends", idle=True)
        if request is None:
            raise RuntimeError("no request waits")
        name = files.put(file.getvalue(), "jpeg")
        about = {"name": name, "size": len(file.getvalue()), "width": 256, "height": 256, "seed": 7}
        result = a_result(format="jpeg", inference_time=0.1, pictures=[about])
        time.sleep(max(0.0, due - time.monotonic()))
        leases.complete(request.id, request.attempt, result)
        return request.id, time.monotonic()

    def answer(asked: dict[str, Any]) -> Any:
        if "count" not in asked:
            return house.store.queue.depth()[0]
        began = time.monotonic()
        return [end(began + (number + 1) * asked["pause"]) for number in range(asked["count"])]

    return answer


def main() -> None:
    """Answer orders until the input ends."""
    what, url, *rest = sys.argv[1:]
    answer: Answer = logged(load, url, *map(int, rest)) if what == "load" else logged(ends, url, *rest)
    print("{}", flush=True)  # noqa: T201 - it is ready
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)  # noqa: T201 - what it is asked for


if __name__ == "__main__":
    main()
