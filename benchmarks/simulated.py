"""What runs on a measured version of tintype: a fleet's workers and clients, as they are but for models and HTTP.

As `inside.py` does, it takes what all versions have; each level of load is a line of JSON. A process has many workers,
or many clients, and some threads that do what is due. What the store is asked for is counted by its kind.
"""

from __future__ import annotations

import heapq
import json
import random
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import event

from benchmarks.inside import PROCESSES, claim, listen, new_request, notify, opened, polled, prepared, result
from tintype.core import RunningImages, WorkerReport
from tintype.settings import Settings
from tintype.store.accounts.keys import Key
from tintype.store.db.database import Database
from tintype.store.db.records import Progress, Request
from tintype.telemetry.logs import set_up_logs

T = TypeVar("T")

#: Threads of a process: a few of those that a web process may have.
THREADS = 12
#: Requests that a worker holds at the same time, at most.
IN_HAND = 4
#: Seconds for which a worker holds a request, at least and at most; and between polls of a client.
HELD, POLL = (0.5, 1.5), 1.0
QUEUE = Settings().queue
#: Seconds between heartbeats of a worker with nothing in hand.
IDLE = max(2.0, QUEUE.heartbeat) if notify else QUEUE.heartbeat
#: What brackets statements, or sets a connection up.
NO_STATEMENTS = ("PRAGMA", "BEGIN", "SAVEPOINT", "RELEASE", "SET ")


class Took(NamedTuple):
    """One call: its seconds, its thread's processor seconds, its statements."""

    seconds: float
    spent: float = 0.0
    statements: int = 0


class Meter:
    """Counts what is asked of the store, by its kind."""

    def __init__(self, db: Database) -> None:
        #: Statements of each thread since its start.
        self._asked = threading.local()
        self._lock = threading.Lock()
        self._took: dict[str, list[Took]] = defaultdict(list)
        self._times = db.times
        self._before = 0.0, 0.0
        event.listen(db._engine, "before_cursor_execute", self._ask)

    def run(self, call: Callable[[], T], kind: Callable[[T], str]) -> T:
        """What a call returns, by which it has its kind."""
        began, spent, asked = time.monotonic(), time.thread_time(), self._statements
        found = call()
        self.note(kind(found), time.monotonic() - began, time.thread_time() - spent, self._statements - asked)
        return found

    def note(self, kind: str, seconds: float, spent: float = 0.0, statements: int = 0) -> None:
        """Something that has taken so long."""
        with self._lock:
            self._took[kind].append(Took(seconds, spent, statements))

    def begin(self) -> None:
        """Count from now on."""
        with self._lock:
            self._took.clear()
        self._before = time.process_time(), self._writing()

    def taken(self) -> dict[str, Any]:
        """What has ended since, by kind; processor seconds of this process, and seconds of its changes."""
        with self._lock:
            calls = {kind: [*found] for kind, found in self._took.items()}
        spent, writing = self._before
        return {"calls": calls, "spent": time.process_time() - spent, "writing": self._writing() - writing}

    def _writing(self) -> float:
        """Seconds of changes since the process's start, each from when it has the lock to its commit."""
        samples = (one for family in self._times.collect() for one in family.samples)
        return sum(one.value for one in samples if one.name.endswith("_sum") and one.labels.get("kind") == "write")

    @property
    def _statements(self) -> int:
        return getattr(self._asked, "count", 0)

    def _ask(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(NO_STATEMENTS):
            self._asked.count = self._statements + 1


class Agenda:
    """What is due when, done by some threads."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._changed = threading.Condition()

    def run(self) -> None:
        """Begin."""
        for _ in range(THREADS):
            threading.Thread(target=self._work, daemon=True).start()

    def add(self, seconds: float, work: Callable[[], None]) -> None:
        """Do it so much later."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), work))
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                _, _, work = heapq.heappop(self._due)
            work()


class Client:
    """Submits a request, polls it once a second until it has ended, and thinks."""

    def __init__(self, process: ClientProcess, key: Key) -> None:
        self._process = process
        self._key = key
        self._request: Request | None = None
        self._began = 0.0
        #: Of its next request; an earlier one that is still due is not made.
        self.turn = 0

    def think(self) -> None:
        """Until its next request, as long as the load has it: a new draw, whenever it is made."""
        if self._request is None:
            self.turn += 1
            rate = self._process.rate
            if rate:
                self._process.agenda.add(random.expovariate(rate), partial(self._submit, self.turn))

    def _submit(self, turn: int) -> None:
        if turn != self.turn or self._request is not None:
            return
        self._began = time.monotonic()
        new = new_request(self._key, random.randrange(100))  # noqa: S311
        submit = partial(self._process.store.queue.submit, new)
        self._request = self._process.meter.run(submit, lambda _: "submit")
        self._process.agenda.add(POLL, self._poll)

    def _poll(self) -> None:
        """As the status route does."""
        if self._request is None:
            return
        find = partial(polled, self._process.store, self._request.id, self._key.account_id)
        found = self._process.meter.run(find, lambda _: "poll")
        if not found.ended:
            self._process.agenda.add(POLL, self._poll)
            return
        timing = found.timing
        self._process.meter.note("wait for a worker", (timing.started_at or 0) - timing.submitted_at)
        self._process.meter.note("request, as its client sees it", time.monotonic() - self._began)
        self._request = None
        self.think()


class ClientProcess:
    """A web process without HTTP, and its clients."""

    def __init__(self, url: str, keys: list[Key], clients: int) -> None:
        self.store = opened(url, "web")
        self.meter, self.agenda, self.rate = Meter(self.store.db), Agenda(), 0.0
        self._clients = [Client(self, keys[number % len(keys)]) for number in range(clients)]

    def level(self, rate: float) -> None:
        """So many requests a second of all clients here."""
        self.rate = rate / len(self._clients)
        for one in self._clients:
            one.think()


class Worker:
    """Claims while it has hands free, holds each request for a while, sends heartbeats, completes."""

    def __init__(self, process: WorkerProcess, name: str) -> None:
        self._process, self._name = process, name
        self._held: dict[str, Request] = {}
        self._lock = threading.Lock()
        self._woken = False
        self._heartbeats = count(1)
        self._beat = 0

    def begin(self) -> None:
        """Its timers, each at a moment of its own."""
        self._process.agenda.add(random.uniform(0, self._process.poll), self._polls)  # noqa: S311
        self._beat_after(random.uniform(0, QUEUE.heartbeat))  # noqa: S311

    def wake(self) -> None:
        """There may be a request, or a hand for one."""
        if not self._woken:
            self._woken = True
            self._process.agenda.add(0.0, self._claim)

    def _polls(self) -> None:
        self._claim()
        self._process.agenda.add(self._process.poll, self._polls)

    def _claim(self) -> None:
        with self._lock:
            self._woken = False
            while room := IN_HAND - len(self._held):
                call = partial(claim, self._process.store.leases, self._name, room, idle=not self._held)
                found = self._process.meter.run(call, lambda found: "claim" if found else "claim of nothing")
                if not found:
                    return
                if not self._held:  # news: told as soon as a busy worker would tell it
                    self._beat_after(QUEUE.heartbeat)
                for one in found:
                    self._held[one.id] = one
                    self._process.agenda.add(random.uniform(*HELD), partial(self._complete, one))  # noqa: S311

    def _complete(self, request: Request) -> None:
        complete = partial(self._process.store.leases.complete, request.id, request.attempt, result())
        self._process.meter.run(complete, lambda _: "complete")
        del self._held[request.id]
        self.wake()

    def _beat_after(self, seconds: float) -> None:
        """The next heartbeat; one that was to come at another time does not."""
        self._beat = next(self._heartbeats)
        self._process.agenda.add(seconds, partial(self._heartbeat, self._beat))

    def _heartbeat(self, beat: int) -> None:
        """As `worker/heartbeat.py` sends it."""
        if beat == self._beat:
            self._process.meter.run(partial(self._send, beat), lambda _: "heartbeat")
            self._beat_after(QUEUE.heartbeat if self._held else IDLE)

    def _send(self, beat: int) -> None:
        held = [*self._held.values()]
        report = WorkerReport(running=tuple(RunningImages(one.id, one.slug, 1, beat % 20, 20) for one in held))
        self._process.store.leases.renew([Progress(one.id, one.attempt, beat % 20, 20) for one in held])
        about = (self._name, "cuda:0", beat, 8 * beat)
        self._process.store.ops.workers.heartbeat(*about, step_seconds=beat / 10, max_rows=16, report=report)


class WorkerProcess:
    """Some of the fleet's workers. They are woken together: each would listen by itself."""

    def __init__(self, url: str, names: list[str]) -> None:
        self.store = opened(url, "worker")
        self.meter, self.agenda = Meter(self.store.db), Agenda()
        self._workers = [Worker(self, name) for name in names]
        self.poll = QUEUE.poll_with_notify if listen(self.store, self._wake) else QUEUE.poll
        for one in self._workers:
            one.begin()

    def level(self, rate: float) -> None:
        """Workers take what there is."""

    def _wake(self) -> None:
        for one in self._workers:
            one.wake()


def serve(kind: type[ClientProcess] | type[WorkerProcess], url: str, *given: Any) -> None:
    """A process of that kind: what it did in each level, told at its end."""
    *about, pipe = given
    set_up_logs(process="simulated")
    process = kind(url, *about)
    process.agenda.run()
    pipe.send("ready")
    while True:
        rate, since, until = pipe.recv()
        process.level(rate)
        time.sleep(max(0.0, since - time.monotonic()))
        process.meter.begin()
        time.sleep(max(0.0, until - time.monotonic()))
        pipe.send({"kind": kind.__name__, **process.meter.taken()})


def started(*given: Any) -> Connection:
    """A process, and the pipe to it."""
    here, there = PROCESSES.Pipe()
    PROCESSES.Process(target=serve, args=(*given, there), daemon=True).start()
    return here


def main() -> None:
    """Levels of load until the input ends: `rate`, of all clients together, and `since` and `until` by the clock."""
    url, workers, clients, processes = sys.argv[1], *map(int, sys.argv[2:])
    set_up_logs(process="simulated")
    keys, store = prepared(url), opened(url, "command")
    names = [[f"w-{number}" for number in range(own, workers, processes)] for own in range(processes)]
    pipes = [started(WorkerProcess, url, own) for own in names]
    pipes += [started(ClientProcess, url, keys, clients // processes) for _ in range(processes)]
    for pipe in pipes:
        pipe.recv()
    print("{}", flush=True)  # noqa: T201 - it is ready
    for line in sys.stdin:
        asked = json.loads(line)
        for pipe in pipes:
            pipe.send((asked["rate"] / processes, asked["since"], asked["until"]))
        told = [pipe.recv() for pipe in pipes]
        queued, running, _ = store.queue.depth()
        print(json.dumps({"told": told, "queued": queued, "running": running}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
