"""What operators watch: time series of the last day in buckets of ten seconds, and the snapshot for `/metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from tintype.core import WorkerReport
from tintype.store.billing import ledger
from tintype.store.db.conditions import ALIVE, LIVE
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.measurements import BUCKET, INSERT, Ends, bucket
from tintype.store.db.records import Status
from tintype.store.db.tables import counters, requests, samples, workers
from tintype.store.ops.autoscaler import wanted
from tintype.store.ops.processes import STATES, WorkerRow
from tintype.store.queue.claim import paused
from tintype.store.webhooks.outbox import backlog
from tintype.telemetry.exposition import MetricsSnapshot
from tintype.telemetry.metrics import ENDED, MISSED

#: Seconds until a bucket expires.
TTL = 86_400

s = samples.c


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket, or several together: the maximum of each gauge, and the sum of each counter."""

    #: Its beginning, in unix seconds.
    at: int
    #: Live requests, and workers that are alive; None where no web process measured them.
    queued: int | None
    running: int | None
    workers: int | None
    #: Bytes of all workers together.
    memory: int | None
    device_memory: int | None
    forward_passes: int
    rows: int
    #: Rows that would have fitted into the forward passes.
    room: int
    step_seconds: float
    cold_starts: int
    cold_seconds: float
    #: Requests that ended, by `Request.outcome`.
    completed: int
    failed: int
    refused: int
    cancelled: int

    def with_ends(self, more: Mapping[str, int]) -> Bucket:
        """The same with further ends, by outcome."""
        return replace(self, **{outcome: getattr(self, outcome) + number for outcome, number in more.items()})

    @property
    def fill(self) -> float | None:
        """How full the forward passes were, from 0 to 1; None where there were none."""
        return self.rows / self.room if self.room else None

    @property
    def seconds_per_step(self) -> float | None:
        """Of one forward pass and what the samplers make of it; None where there were none."""
        return self.step_seconds / self.forward_passes if self.forward_passes else None

    @property
    def error_rate(self) -> float | None:
        """Part of the requests that failed by this server's fault, those that were cancelled left out; None of none."""
        ended = self.completed + self.failed + self.refused
        return self.failed / ended if ended else None


GAUGES = ("queued", "running", "workers", "memory", "device_memory")
SUMS = tuple(name for name in Bucket.__annotations__ if name not in ("at", *GAUGES))


class TimeSeries:
    """Buckets of the last day. However many web processes measure, each bucket has one row."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def measure(self, *, force: bool = False) -> None:
        """Write this bucket's gauges, unless another process has; delete expired buckets. force: write in any case."""
        with self._db.read() as view:
            begun = bucket(read_clock(view))
            if not force and view.scalar(select(s.queued).where(s.at == begun)) is not None:
                return
            gauges = _gauges(view)
        with self._db.write() as tx:
            moment = read_clock(tx)
            if force:  # SQLite writes no row that stays as it is, and this one shows whether it can be written
                tx.execute(update(samples).where(s.at == bucket(moment)).values(queued=-1))
            fresh = INSERT[tx.dialect.name](samples).values(at=bucket(moment), **gauges)
            tx.execute(fresh.on_conflict_do_update(index_elements=[s.at], set_=gauges))
            tx.execute(delete(samples).where(s.at < moment - TTL))

    def series(self, seconds: int, limit: int = 120) -> tuple[float, int, Sequence[Bucket]]:
        """This moment, the seconds of a bucket, and the last `seconds` in at most `limit` buckets, oldest first."""
        width = BUCKET * ceil(seconds / BUCKET / limit)
        gauges = [func.max(s[name]) for name in GAUGES]
        # Grouped by its name: to Postgres, an expression with the same parameter twice is two expressions.
        stretch = (s.at // width).label("stretch")
        wanted = select(stretch, *gauges, *(func.sum(s[name]) for name in SUMS)).group_by("stretch").order_by("stretch")
        with self._db.read() as view:
            moment = read_clock(view)
            first = (int(moment) - seconds) // width + 1
            rows = view.execute(wanted.where(s.at >= first * width)).all()
            ends = Ends.unfolded(view).buckets
        buckets = {number: _bucket(number * width, *values) for number, *values in rows}
        for at, ended in ends.items():
            if (number := at // width) >= first:
                known = buckets.get(number) or _bucket(number * width, *(None for _ in GAUGES), *(0 for _ in SUMS))
                buckets[number] = known.with_ends(ended)
        return moment, width, [buckets[number] for number in sorted(buckets)]


def _bucket(*values: Any) -> Bucket:
    named = dict(zip(Bucket.__annotations__, values, strict=True))
    # Sums of whole numbers are decimals in Postgres.
    whole = {name: int(named[name]) for name in SUMS if name not in ("step_seconds", "cold_seconds")}
    return Bucket(**named | whole)


def _gauges(view: Connection) -> dict[str, int | None]:
    counted = select(requests.c.status, func.count().label("number")).where(LIVE).group_by(requests.c.status)
    counts = {row.status: row.number for row in view.execute(counted)}
    alive = select(workers.c.about).where(workers.c.seen_at > now() - ALIVE, workers.c.left_at.is_(None))
    memory = [WorkerReport.from_json(about).memory for about in view.scalars(alive)]
    return {
        "queued": counts.get(Status.QUEUED, 0),
        "running": counts.get(Status.PROCESSING, 0),
        "workers": len(memory),
        "memory": _sum(memory, "process"),
        "device_memory": _sum(memory, "reserved"),
    }


def _sum(memory: Sequence[Mapping[str, int]], kind: str) -> int | None:
    known = [amount for of_worker in memory if (amount := of_worker.get(kind)) is not None]
    return sum(known) if known else None


#: The version of a worker from before versions were noted.
UNTOLD = "untold"
#: Kinds of memory that all workers on a device share.
OF_DEVICE = ("total",)


def read_snapshot(db: Database, models: Iterable[str]) -> MetricsSnapshot:
    """The metrics at this moment, with zeros for models without requests; raises StoreUnavailable."""
    none = dict.fromkeys(models, 0)
    with db.read() as view:
        state = view.execute(_state()).one()
        moment = state.moment
        live = [*view.execute(_live())]
        known = [*map(WorkerRow.of, view.execute(select(workers)))]
        alive = _alive(known, moment)
        states = Counter(worker.state(moment) for worker in known)
        return MetricsSnapshot(
            sums=_sums(view),
            waiting=none | {row.slug: row.number for row in live if row.status is Status.QUEUED},
            oldest=none | {row.slug: max(0.0, moment - row.first) for row in live if row.status is Status.QUEUED},
            running=none | {row.slug: row.number for row in live if row.status is Status.PROCESSING},
            paused=bool(state.paused),
            workers={name: states[name] for name in STATES},
            wanted=wanted(view),
            versions=_versions(alive),
            memory=_memory(alive),
            messages=state.messages,
            lateness=max(0.0, moment - (state.first or moment)),
        )


def completed(db: Database, models: Iterable[str]) -> dict[str, int]:
    """How many requests of each model were completed; what is in the journal isn't counted."""
    keys = {ENDED.key(slug, "completed"): slug for slug in models}
    with db.read() as view:
        sums = view.execute(select(counters.c.key, counters.c.value).where(counters.c.key.in_(keys))).all()
    return dict.fromkeys(keys.values(), 0) | {keys[key]: int(value) for key, value in sums}


def _state() -> Any:
    """The moment, whether the queue is paused, and the webhook deliveries that are due: one statement."""
    number, first = backlog()
    columns = (now().label("moment"), paused().label("paused"), number.label("messages"), first.label("first"))
    return select(*columns)


def _live() -> Any:
    """Live requests that have not ended, by model and state."""
    counted = (func.count().label("number"), func.min(requests.c.submitted_at).label("first"))
    return select(requests.c.slug, requests.c.status, *counted).where(LIVE).group_by(requests.c.slug, requests.c.status)


def _sums(view: Connection) -> dict[str, float]:
    """The counters; charges that are missing now are added to those of requests that are gone."""
    sums: dict[str, float] = {row.key: row.value for row in view.execute(select(counters))}
    for key, more in Ends.unfolded(view).counters.items():
        sums[key] = sums.get(key, 0) + more
    return sums | {MISSED.key(): sums.get(MISSED.key(), 0) + ledger.missed(view)}


def _alive(known: Iterable[WorkerRow], moment: float) -> list[WorkerRow]:
    return [worker for worker in known if worker.state(moment) not in ("silent", "drained")]


def _versions(alive: Iterable[WorkerRow]) -> dict[str, int]:
    return dict(Counter(worker.version or UNTOLD for worker in alive))


def _memory(alive: Iterable[WorkerRow]) -> dict[tuple[str, str, str], int]:
    """By labels that outlive a restart: workers' ids would make new series. Kinds that are the device's count once."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for worker in alive:
        for kind, amount in worker.report.memory.items():
            place = worker.host, worker.device, kind
            sums[place] = max(sums[place], amount) if kind in OF_DEVICE else sums[place] + amount
    return dict(sums)
