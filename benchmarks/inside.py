"""What runs on a measured version of tintype: the store under load, and what ends requests without a model.

`python -m benchmarks.inside`, with that version's `src` on the path: it takes what all measured versions have, and
nothing of this tree's tests. One order a line, in JSON, on stdin; one answer a line on stdout.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple
from uuid import uuid4

from PIL import Image
from sqlalchemy import func, insert, select, text

from tintype.core import Output, Result
from tintype.media.storage import Files
from tintype.settings import Settings
from tintype.store.accounts.keys import Ceilings, Key
from tintype.store.db.database import Database
from tintype.store.db.migrations import migrate
from tintype.store.db.records import Request
from tintype.store.db.tables import requests
from tintype.store.queue.claim import Claim
from tintype.store.queue.lifecycle import Rules
from tintype.store.queue.queue import Leases
from tintype.store.queue.submit import NewRequest
from tintype.store.store import Store
from tintype.telemetry.logs import set_up_logs

#: Wake-ups on both databases, where the version has them; its idle workers send fewer heartbeats, too.
NOTIFY = "tintype.store.db.notify"
notify: Any = import_module(NOTIFY) if find_spec(NOTIFY) else None
#: Fresh interpreters, as workers are.
PROCESSES = multiprocessing.get_context("spawn")
#: Requests that are submitted and not completed, at most: the queue neither runs empty nor grows.
BACKLOG = 64
#: Submits that are committed together, at most.
MAX_BUNCH = 32
#: As a worker has them: requests in its hands, threads that complete them; and requests of one claim.
IN_HAND, COMPLETERS, BUNCH = 32, 4, 8
#: Seconds of a run before it is counted.
LEAD = 0.4
#: Accounts with a key each; models; priorities of what waits, which all others come before.
ACCOUNTS, SLUGS, PRIORITIES = 20, 4, 3
PARAMS = {"prompt": "a fox in the snow, oil on canvas, " * 4, "seed": 1, "steps": 20, "guidance_scale": 7.5}

#: When something ended, by the machine's monotonic clock, and the seconds that it took.
Took = tuple[float, float]
Answer = Callable[[dict[str, Any]], Any]


class Turn(NamedTuple):
    """What all processes share: places for further requests, and requests that are queued and not claimed."""

    room: Any
    ready: Any


def opened(url: str, process: str) -> Store:
    """The store, with limits as a server has them: a submit counts what it counts there."""
    ceilings = Ceilings(queue=100_000, max_queued=100_000)
    return Store(Database(url, process=process), Settings(), Rules(lease=15, retention=3600, ceilings=ceilings))


def prepared(url: str) -> list[Key]:
    """The keys of a new database."""
    store = opened(url, "command")
    migrate(store.db)
    owners = [store.accounts.create(f"account {number}", 10**15).id for number in range(ACCOUNTS)]
    keys = [store.accounts.keys.create(owner, "key")[0] for owner in owners]
    store.close()
    return keys


def new_request(key: Key, number: int, priority: int = 0) -> NewRequest:
    """One of a paid image; the number says of which model."""
    slug = f"model-{number % SLUGS}"
    return NewRequest(key, slug, PARAMS, 2_000, priority=priority, steps=20, cancel_after=3600)


def result(*outputs: Output) -> Result:
    """What a worker made."""
    return Result(outputs=outputs, format="jpeg", seed=7, inference_time=1.0)


def fill(store: Store, keys: Sequence[Key], length: int) -> None:
    """Have so many requests wait, of all keys, models and priorities: copies of one that was submitted."""
    waiting, _, _ = store.queue.depth()
    if waiting >= length:
        return
    first = store.queue.submit(new_request(keys[0], 0))
    with store.db.write() as tx:
        row = dict(tx.execute(select(requests).where(requests.c.id == first.id)).mappings().one())
        last = tx.scalar(select(func.max(requests.c.seq))) or 0
        copies = []
        for number in range(1, length - waiting):
            key, slug = keys[number % len(keys)], f"model-{number % SLUGS}"
            own = {"id": str(uuid4()), "seq": last + number, "slug": slug, "priority": number % PRIORITIES, "price": 0}
            copies.append({**row, **own, "key_id": key.id, "account_id": key.account_id})
        if copies:
            tx.execute(insert(requests), copies)
        if store.db.kind == "postgresql":
            tx.execute(text("ANALYZE"))  # as autovacuum does within a minute


def load(url: str, processes: int, threads: int, workers: int) -> Answer:
    """Submitters and workers as they are: threads of `processes` web processes, and a process for each worker.

    An order has `queued`, the requests that wait behind those that are measured, and `seconds`.
    """
    keys, store = prepared(url), opened(url, "command")
    turn = Turn(PROCESSES.Semaphore(BACKLOG), PROCESSES.Semaphore(0))
    every = [started(submitting, url, keys, threads, turn) for _ in range(processes)]
    every += [started(working, url, turn) for _ in range(workers)]
    for pipe in every:
        pipe.recv()

    def answer(asked: dict[str, Any]) -> Any:
        fill(store, keys, asked["queued"])
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


def submitting(url: str, keys: list[Key], threads: int, turn: Turn, pipe: Connection) -> None:
    """A web process without HTTP."""
    queue, numbers = opened(url, "web").queue, count()
    submitted: Callable[[NewRequest], object] = (
        Together(queue).submit if hasattr(queue, "submit_each") else queue.submit
    )

    def submit(until: float) -> list[Took]:
        took: list[Took] = []
        while (left := until - time.monotonic()) > 0 and turn.room.acquire(timeout=left):
            number, began = next(numbers), time.monotonic()
            submitted(new_request(keys[number % len(keys)], number, PRIORITIES))
            turn.ready.release()
            took.append((time.monotonic(), time.monotonic() - began))
        return took

    with ThreadPoolExecutor(threads) as pool:

        def run(_began: float, until: float) -> dict[str, list[Took]]:
            done = [pool.submit(submit, until) for _ in range(threads)]
            return {"submit": [one for each in done for one in each.result()]}

        runs(pipe, run)


class Together:
    """Submits of many callers as a web process makes them (`web/threads.py`): what comes meanwhile is the next one."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._waiting: list[tuple[NewRequest, Future[Request]]] = []
        self._busy = False

    def submit(self, new: NewRequest) -> Request:
        """Submit it, in this thread or in that of another caller."""
        mine: Future[Request] = Future()
        with self._lock:
            self._waiting.append((new, mine))
            first, self._busy = not self._busy, True
        while first and (bunch := self._next()):
            news = [one for one, _ in bunch]
            for (one, told), outcome in zip(bunch, self._queue.submit_each(news), strict=True):
                told.set_result(self._queue.submitted(one, outcome))
        return mine.result()

    def _next(self) -> list[tuple[NewRequest, Future[Request]]]:
        with self._lock:
            bunch, self._waiting = self._waiting[:MAX_BUNCH], self._waiting[MAX_BUNCH:]
            self._busy = bool(bunch)
            return bunch


def working(url: str, turn: Turn, pipe: Connection) -> None:
    """A worker without a model: its loop claims, its threads complete, as `worker/loop.py` and `worker/outputs.py` do.

    It is woken by a semaphore, at no cost to the database.
    """
    leases = opened(url, "worker").leases
    name, hands = f"w-{os.getpid()}", threading.Semaphore(IN_HAND)

    def complete(request: Request, took: list[Took]) -> None:
        began = time.monotonic()
        if not leases.complete(request.id, request.attempt, result()):
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
    bunches, wanted = hasattr(leases, "claim_bunch"), 1
    while bunches and wanted < BUNCH and ready.acquire(block=False):
        wanted += 1
    began = time.monotonic()
    found = claim(leases, worker, wanted, idle=True)
    took = time.monotonic() - began
    for _ in range(wanted - len(found)):
        ready.release()
    return found, took


# What versions differ in


def claim(leases: Leases, worker: str, wanted: int, *, idle: bool) -> list[Request]:
    """So many of the next requests at most; one where the version claims no more in one transaction."""
    if bunch := getattr(leases, "claim_bunch", None):
        asked = Claim(worker=worker, idle=idle)
        return [*bunch(lambda _: asked, wanted)]
    one = leases.claim(worker, idle=idle)
    return [one] if one else []


def polled(store: Store, id: str, account_id: str) -> Request:
    """The request, read as the status route reads it: with its ETA, of which credits may be a part."""
    queue: Any = store.queue
    if poll := getattr(queue, "poll_one", None):
        found: Request = poll(id, account_id).request
        return found
    found = queue.find(id, account_id)
    queue.eta(found)
    return found


def listen(store: Store, heard: Callable[[], None]) -> bool:
    """Hear that something is claimable, until the process ends; whether this version is woken on this database."""
    if notify is not None:
        notify.Listener(store.db, {notify.Channel.QUEUED: lambda _: heard()}).start()
        return bool(notify.can_wake(store.db))
    database: Any = import_module("tintype.store.db.database")
    database.Listener(store.db, heard).__enter__()
    return store.db.kind == "postgresql"


def ends(url: str, outputs: str) -> Answer:
    """Ends requests that callers wait for: a worker whose image is there already.

    An order has `count`, and `pause`, the seconds between two; the answer has each one's id and when it was committed,
    by the monotonic clock. Without a count, the answer is how many are queued.
    """
    store, files = opened(url, "worker"), Files(Path(outputs), 3600.0)
    file = BytesIO()
    Image.new("RGB", (256, 256), "gray").save(file, "jpeg")

    def end(due: float) -> tuple[str, float]:
        request = store.leases.claim("ends", idle=True)
        if request is None:
            raise RuntimeError("no request waits")
        name = files.put(file.getvalue(), "jpeg")
        made = result(Output(name, len(file.getvalue()), 256, 256, 7))
        time.sleep(max(0.0, due - time.monotonic()))
        store.leases.complete(request.id, request.attempt, made)
        return request.id, time.monotonic()

    def answer(asked: dict[str, Any]) -> Any:
        if "count" not in asked:
            return store.queue.depth()[0]
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
