"""How the server does over time: sums that grow with each event, and what a look finds, ten seconds to a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from sqlalchemy import Connection, delete, func, select

from tintype.store.db import counters
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.records import CANCELLED, Request, Status
from tintype.store.db.tables import requests, samples, workers
from tintype.store.queue.eta import ALIVE
from tintype.telemetry.metrics import ENDED

#: Seconds of one row, and for which rows are kept.
EVERY, KEPT = 10, 86_400

s = samples.c


@dataclass(frozen=True)
class Sample:
    """A stretch of time; columns are explained in tables.py. What was looked at is the most that was found."""

    #: Its beginning, in unix seconds.
    at: int
    queued: int | None
    running: int | None
    workers: int | None
    memory: int | None
    device_memory: int | None
    forward_passes: int
    rows: int
    room: int
    step_seconds: float
    cold_starts: int
    cold_seconds: float
    completed: int
    failed: int
    refused: int
    cancelled: int

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


LOOKED_AT = ("queued", "running", "workers", "memory", "device_memory")
SUMS = tuple(name for name in Sample.__annotations__ if name not in ("at", *LOOKED_AT))


def add(tx: Connection, moment: float, **amounts: float) -> None:
    """Add to the sums of the row that holds this moment."""
    _put(tx, moment, amounts, {name: s[name] + amount for name, amount in amounts.items()})


def add_end(tx: Connection, request: Request) -> None:
    """Count a request that has just ended, unless it was a test."""
    if request.test or request.ended_at is None:
        return
    add(tx, request.ended_at, **{outcome(request): 1})
    counters.add(tx, {ENDED.key(request.slug, outcome(request)): 1})


def outcome(request: Request) -> str:
    """How an ended request ended, in a word: refused is the caller's fault, failed this server's."""
    if request.status is Status.COMPLETED:
        return "completed"
    if request.error_status == CANCELLED.status:
        return "cancelled"
    return "failed" if (request.error_status or 500) >= 500 else "refused"


class Samples:
    """Rows of the last day. However many web processes look, each stretch has one row."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def look(self, *, anew: bool = False) -> None:
        """Write down how the server stands, if nobody has in these ten seconds; forget what is older than a day.

        anew: even if somebody has.
        """
        with self._db.read() as view:
            if not anew and view.scalar(select(s.queued).where(s.at == _begin(read_clock(view)))) is not None:
                return
            found = _look(view)
        with self._db.write() as tx:
            moment = read_clock(tx)
            _put(tx, moment, found, found)
            tx.execute(delete(samples).where(s.at < moment - KEPT))

    def series(self, seconds: int, most: int = 120) -> tuple[float, int, Sequence[Sample]]:
        """This moment, the seconds of a stretch, and the last `seconds` in at most so many of them, oldest first."""
        width = EVERY * ceil(seconds / EVERY / most)
        seen = [func.max(s[name]) for name in LOOKED_AT]
        # Grouped by its name: to Postgres, an expression with the same parameter twice is two expressions.
        stretch = (s.at // width).label("stretch")
        wanted = select(stretch, *seen, *(func.sum(s[name]) for name in SUMS)).group_by("stretch").order_by("stretch")
        with self._db.read() as view:
            moment = read_clock(view)
            first = (int(moment) - seconds) // width + 1
            rows = view.execute(wanted.where(s.at >= first * width)).all()
        return moment, width, [_sample(number * width, *figures) for number, *figures in rows]


def _sample(*figures: Any) -> Sample:
    named = dict(zip(Sample.__annotations__, figures, strict=True))
    # Sums of whole numbers are decimals in Postgres.
    whole = {name: int(named[name]) for name in SUMS if name not in ("step_seconds", "cold_seconds")}
    return Sample(**named | whole)


def _look(view: Connection) -> dict[str, int | None]:
    live = (requests.c.status.in_((Status.QUEUED, Status.PROCESSING)), ~requests.c.test)
    counted = select(requests.c.status, func.count().label("number")).where(*live).group_by(requests.c.status)
    counts = {row.status: row.number for row in view.execute(counted)}
    alive = select(workers.c.about).where(workers.c.seen_at > now() - ALIVE, workers.c.left_at.is_(None))
    told = [about or {} for about in view.scalars(alive)]
    return {
        "queued": counts.get(Status.QUEUED, 0),
        "running": counts.get(Status.PROCESSING, 0),
        "workers": len(told),
        "memory": _sum(told, "process"),
        "device_memory": _sum(told, "reserved"),
    }


def _sum(told: Sequence[dict[str, Any]], name: str) -> int | None:
    known = [figure for about in told if (figure := about.get("memory", {}).get(name)) is not None]
    return sum(known) if known else None


def _put(tx: Connection, moment: float, fresh: dict[str, Any], changed: dict[str, Any]) -> None:
    row = counters.INSERT[tx.dialect.name](samples).values(at=_begin(moment), **fresh)
    tx.execute(row.on_conflict_do_update(index_elements=[s.at], set_=changed))


def _begin(moment: float) -> int:
    return int(moment) // EVERY * EVERY
