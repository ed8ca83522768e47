"""What the store does in a second, on both databases and a real disk: requests by length of queue, and heartbeats."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psutil  # type: ignore[import-untyped]
from sqlalchemy import func, insert, select, text
from tests.databases import SqliteFiles, postgres_server, server_program
from tests.stores import a_result, store_on
from tests.tenants import Tenant

from tintype.core import RunningImages, WorkerReport
from tintype.store.accounts.keys import Ceilings
from tintype.store.db.database import Database, now
from tintype.store.db.records import Progress, Status
from tintype.store.db.tables import requests
from tintype.telemetry.metrics import STAGE_RUNS, STAGE_SECONDS, Stage

#: Requests that wait when one more is submitted, claimed and completed.
LENGTHS = (1, 10, 1_000, 5_000)
#: Measured at each length in a round: with fewer, a 99th percentile says nothing.
CYCLES = 40
KEYS, SLUGS, PRIORITIES = 50, 4, 3
WORKERS, IN_HAND = 8, 4
#: Heartbeats of a worker in a round.
BEATS = 20
#: Seconds that a claim may take with 5,000 queued.
LIMIT = 0.02
PARAMS = {"prompt": "a fox in the snow, oil on canvas, " * 4, "seed": 1, "steps": 20, "guidance_scale": 7.5}
ASKED = ("submit", "claim", "request (submit, claim, complete)")


class Line(NamedTuple):
    """One line of the table: ratios of the rounds, and where it counts something, how many there were in a second."""

    what: str
    ratios: list[float]
    per_second: float | None = None
    target: str = ""


class Cycle(NamedTuple):
    """Seconds of a submit, of a claim, and of the whole, completion included."""

    submit: float
    claim: float
    whole: float


class BusyTenant(Tenant):
    """A tenant on a migrated database, with many keys, a queue and workers."""

    def __init__(self, url: str, keys: int = KEYS) -> None:
        # Limited as a server is, so that a submit counts what it counts there; but all keys are one account's.
        ceilings = Ceilings(queue=10_000, max_queued=10_000)
        asks = {"params": PARAMS, "price": 2_000, "priority": PRIORITIES, "steps": 20, "cancel_after": 3600}
        super().__init__(store_on(Database(url), ceilings=ceilings), 10**15, asks=asks)
        self.keys = [self.new_key(f"key {number}") for number in range(keys)]
        self._numbers = count()

    def fill(self, length: int) -> None:
        """Have so many requests wait, of all keys, models and priorities; those that are measured come before them."""
        with self.db.write() as tx:
            waiting = tx.scalar(select(func.count()).where(requests.c.status == Status.QUEUED)) or 0
            last = tx.scalar(select(func.max(requests.c.seq))) or 0
            rows = [self._row(last + number) for number in range(1, length - waiting + 1)]
            if rows:
                tx.execute(insert(requests).values(submitted_at=now()), rows)
            if self.db.kind == "postgresql":
                tx.execute(text("ANALYZE"))  # as autovacuum does within a minute

    def submit_next(self) -> None:
        """A request that is next."""
        number = next(self._numbers)
        self.submit(f"model-{number % SLUGS}", key=self.keys[number % len(self.keys)])

    def cycle(self, clock: Callable[[], float] = time.perf_counter) -> Cycle:
        """A request that nobody else waits for."""
        began = clock()
        self.submit_next()
        submitted = clock()
        claimed = self.store.leases.claim("w", idle=True)
        taken = clock()
        if claimed is None or not self.store.leases.complete(claimed.id, claimed.attempt, a_result(inference_time=1.0)):
            raise RuntimeError("the request that was submitted is not the one that was claimed")
        return Cycle(submitted - began, taken - submitted, clock() - began)

    def hands(self, number: int) -> Callable[[], None]:
        """The heartbeat of a worker that holds some requests, as `worker/heartbeat.py` makes it."""
        held = [claimed for _ in range(IN_HAND) if (claimed := self.store.leases.claim(f"w{number}", idle=True))]
        beats = count(1)

        def beat() -> None:
            step = next(beats)
            self.store.leases.renew([Progress(one.id, one.attempt, step % 20, 20) for one in held])
            report = WorkerReport(running=tuple(RunningImages(one.id, one.slug, 1, step % 20, 20) for one in held))
            stage = ("model-0", Stage.DECODE)
            self.workers.heartbeat(
                f"w{number}",
                "cuda:0",
                step,
                8 * step,
                step_seconds=step / 10,
                max_rows=16,
                counts={STAGE_RUNS.key(*stage): step, STAGE_SECONDS.key(*stage): step / 8},
                report=report,
            )

        return beat

    def processor(self) -> float:
        """Seconds that processors have spent on this thread, and on its backend where the database is a server."""
        return time.thread_time() + sum(map(_spent, self._servers))

    @cached_property
    def _servers(self) -> list[psutil.Process]:
        """The server's processes that work for this one: none where the database is a file."""
        if self.db.kind == "sqlite":
            return []
        with self.db.read() as view:
            return [psutil.Process(view.execute(text("SELECT pg_backend_pid()")).scalar_one())]

    def _row(self, seq: int) -> dict[str, Any]:
        key = self.keys[seq % len(self.keys)]
        whose = {"id": str(uuid4()), "seq": seq, "account_id": key.account_id, "key_id": key.id}
        fresh = {"status": Status.QUEUED, "attempt": 0, "hand_backs": 0, "cancel_requested": False, "step": 0}
        asked = {
            "slug": f"model-{seq % SLUGS}",
            "params": PARAMS,
            "price": 0,
            "priority": seq % PRIORITIES,
            "steps": 20,
        }
        return whose | fresh | asked


def _spent(process: psutil.Process) -> float:
    """Its processor seconds, to the nanosecond: `cpu_times` has hundredths of a second."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


def measure(rounds: int) -> list[Line]:
    """Every line, of the databases that are on this machine."""
    with tempfile.TemporaryDirectory(prefix="tintype-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as somebody else
        with tenants(folder) as opened:
            lines = []
            for database, tenant in opened.items():
                lines += [*by_length(database, tenant, folder, rounds), *heartbeats(database, tenant, rounds)]
            return lines


@contextmanager
def tenants(folder: Path) -> Iterator[dict[str, BusyTenant]]:
    """A tenant on each database, with every safety that an operator's has; PostgreSQL's where its programs are."""
    mine = BusyTenant(SqliteFiles(folder).fresh())
    if server_program("initdb") is None:
        yield {"SQLite": mine}
    else:
        with postgres_server(folder / "postgres", "fsync=on", "full_page_writes=on") as server:
            other = BusyTenant(server.fresh())
            yield {"SQLite": mine, "PostgreSQL": other}
            other.db.close()
    mine.db.close()


def by_length(database: str, tenant: BusyTenant, folder: Path, rounds: int) -> list[Line]:
    """Rates with one queued over what the disk alone could do, those with more over those with one."""
    lines: list[Line] = []
    first: list[float] = []
    disk = [durable_writes(folder) for _ in range(rounds)]
    claims: list[float] = []
    for length in LENGTHS:
        tenant.fill(length)
        seconds = [[tenant.cycle() for _ in range(CYCLES)] for _ in range(rounds)]
        rates = [[1 / statistics.median(column) for column in zip(*one, strict=True)] for one in seconds]
        claims = [cycle.claim for one in seconds for cycle in one]
        for index, what in enumerate(ASKED):
            mine = [one[index] for one in rates]
            if length == LENGTHS[0]:
                first.append(statistics.median(mine))
            words, over = (
                ("÷ with 1", [first[index]] * rounds) if length > LENGTHS[0] else ("÷ the disk's durable writes", disk)
            )
            ratios = [rate / base for rate, base in zip(mine, over, strict=True)]
            lines.append(Line(f"{database}, {length:,} queued: {what}/s {words}", ratios, statistics.median(mine)))
        spent = [statistics.median(tenant.cycle(tenant.processor)[1] for _ in range(CYCLES)) for _ in range(rounds)]
        what = f"{database}, {length:,} queued: processor's time of a claim ÷ 20 ms"
        lines.append(Line(what, [one / LIMIT for one in spent], 1 / statistics.median(spent), "≤ 1"))
    cuts = statistics.quantiles(claims, n=100)
    for name, cut in (("median", cuts[49]), ("99th percentile", cuts[98])):
        lines.append(
            Line(f"{database}, {LENGTHS[-1]:,} queued: {name} of a claim ÷ 20 ms", [cut / LIMIT], target="≤ 1")
        )
    return lines


def heartbeats(database: str, tenant: BusyTenant, rounds: int) -> list[Line]:
    """Heartbeats of one and several workers over the same as durable changes under the lock; what they cost others."""
    hearts = [tenant.hands(number) for number in range(WORKERS)]
    lines = []
    for those in (hearts[:1], hearts):
        rates = [(together(those), with_lock(tenant, partial(together, those))) for _ in range(rounds)]
        what = f"{database}: heartbeats/s of {len(those)} busy workers ÷ the same as durable changes under the lock"
        lines.append(Line(what, [new / old for new, old in rates], statistics.median(new for new, _ in rates), "≥ 1"))
    quiet = [pace(tenant) for _ in range(rounds)]
    stop = threading.Event()
    with ThreadPoolExecutor(WORKERS) as pool:
        for heart in hearts:
            pool.submit(until_set, stop, heart)
        beside = [pace(tenant) for _ in range(rounds)]
        stop.set()
    ratios = [one / other for one, other in zip(beside, quiet, strict=True)]
    what = f"{database}: requests/s beside {8 * WORKERS} workers' heartbeats ÷ without"
    return [*lines, Line(what, ratios, statistics.median(beside))]


def together(hearts: list[Callable[[], None]]) -> float:
    """Heartbeats per second of workers that beat as fast as they can."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(hearts)) as pool:
        for done in [pool.submit(repeated, heart) for heart in hearts]:
            done.result()
    return len(hearts) * BEATS / (time.perf_counter() - began)


def repeated(heart: Callable[[], None]) -> None:
    """The heartbeats of a round."""
    for _ in range(BEATS):
        heart()


def with_lock(tenant: BusyTenant, work: Callable[[], float]) -> float:
    """What `work` returns while nothing is written but durably and under the lock."""
    tenant.db.note = tenant.db.write  # type: ignore[method-assign]
    try:
        return work()
    finally:
        del tenant.db.note  # the class's own shows again


def until_set(stop: threading.Event, heart: Callable[[], None]) -> None:
    """Sixteen beats a second: eight workers' of two each."""
    while not stop.wait(1 / 16):
        heart()


def pace(tenant: BusyTenant) -> float:
    """Whole requests per second, one after the other."""
    return 1 / statistics.median(tenant.cycle().whole for _ in range(CYCLES))


def durable_writes(folder: Path) -> float:
    """How often a second the disk takes a page for good: what one lock and one commit at a time can reach at most."""
    seconds = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(CYCLES):
            began = time.perf_counter()
            file.write(bytes(8192))
            file.flush()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return 1 / statistics.median(seconds)
