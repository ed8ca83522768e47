"""ETA: how long a request has still to go, by measured speeds and the work before it; and the demand for workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, func, select

from tintype.store.db.conditions import ALIVE, LIVE, PROCESSING, QUEUED, TAKES, UNENDED
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.measurements import Speeds
from tintype.store.db.recent import Recent
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import requests, workers
from tintype.store.queue.claim import paused
from tintype.store.queue.positions import positions

columns = requests.c

#: Seconds of a step of a model that was never measured: a large one's on a small GPU, roughly. The first request that
#: ends corrects it.
GUESS = 0.5
#: What a queued request waits for in addition to its turn: that the queue is resumed, or that a worker takes requests.
Obstacle = Literal["resume", "worker"]
#: Up to this many queued requests, the queue is also read again for whatever this process has changed since: a longer
#: one takes too long to be read after every submit.
LONG = 250


@dataclass(frozen=True, slots=True)
class Eta:
    """When a request that has not ended will be done."""

    #: In the queue, 1 for the next; None when it is not queued, or was so lately that a long queue was not read since.
    position: int | None = None
    #: Until it is done; None when nothing like it was measured yet, or it can't run: no worker is there, or the queue
    #: is paused.
    seconds: float | None = None
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """Live requests that have not ended, at one moment."""

    #: Seconds of work that is queued, and that is left of what runs, one request after the other.
    waiting: float
    running: float
    #: How many requests these are.
    queued: int
    busy: int
    #: Models that any of them asks for.
    slugs: frozenset[str] = frozenset()
    paused: bool = False


def demand(view: Connection) -> Demand:
    """For the autoscaler."""
    speeds, steps = Speeds.of(view), _steps(view)
    waiting, queued = _seconds(steps, Status.QUEUED, speeds, GUESS)
    running, busy = _seconds(steps, Status.PROCESSING, speeds, GUESS)
    slugs = frozenset(view.scalars(select(columns.slug).where(LIVE).distinct()))
    return Demand(waiting, running, queued, busy, slugs, bool(view.scalar(select(paused()))))


class Etas:
    """ETAs by one read of the speeds, and of the queue, per moment: positions change by the second in any case."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._speeds = Recent(db, Speeds.of)
        self._queue = Recent(db, Queued.of, lasts=lambda queue: len(queue.positions) > LONG)

    @property
    def speeds(self) -> Speeds:
        """What was measured."""
        return self._speeds.read()

    def of(self, request: Request, clock: Callable[[], float] | None = None) -> Eta:
        """Of a request as it was when it was read. clock: the database's, in unix seconds, unless it is to be read."""
        if request.ended:
            return Eta()
        speeds = self.speeds
        if request.status is Status.PROCESSING:
            return Eta(seconds=_left(request, speeds, clock or self._clock))
        queue = self._queue.read()
        if request.seq not in queue.positions and len(queue.positions) <= LONG:
            queue = self._queue.read(again=True)  # another process has queued it since
        return queue.eta(request, speeds)

    def first_end(self, which: ColumnElement[bool]) -> float | None:
        """Seconds until the first of these requests ends; None when there is none, or nothing was measured yet."""
        in_order = columns.priority.desc(), columns.seq
        # Of a long queue the index alone is read: the rows are large.
        head = select(columns.seq).where(which, QUEUED).order_by(*in_order).limit(1).scalar_subquery()
        with self._db.read() as view:
            first = view.execute(select(requests).where(which, PROCESSING)).all()
            first = first or view.execute(select(requests).where(columns.seq == head)).all()
        clock = cache(self._clock)  # read once at most, however many run
        left = (self.of(Request.of(row), clock).seconds for row in first)
        return min((seconds for seconds in left if seconds is not None), default=None)

    def _clock(self) -> float:
        with self._db.read() as view:
            return read_clock(view)


@dataclass(frozen=True, slots=True)
class Queued:
    """What waits and what runs at one moment, from which the wait for any request follows."""

    #: How many requests run at the same time; 0 while none can, for this reason.
    slots: int
    obstacle: Obstacle | None
    steps: Sequence[Row[Any]]
    #: By the `seq` of each queued request.
    positions: Mapping[int, int]

    @classmethod
    def of(cls, view: Connection) -> Queued:
        """As it is now."""
        steps, (alive, is_paused) = _steps(view), view.execute(WORKERS).one()
        running = sum(row.number for row in steps if row.status is Status.PROCESSING)
        obstacle: Obstacle | None = "resume" if is_paused else None if alive else "worker"
        # As many as run now, or one per worker.
        return cls(0 if obstacle else max(alive, running), obstacle, steps, positions(view))

    def eta(self, request: Request, speeds: Speeds) -> Eta:
        """Of a queued request; of one that was claimed since, nothing.

        Its seconds: the rest of the running work and the work before it, divided; then its own. The work before it is
        taken to be like the queue's average, since claim order decides which it will be.
        """
        position, own = self.positions.get(request.seq), speeds.step(request.speed_key)
        if self.obstacle and not request.test:  # test keys' requests run in any case
            return Eta(position, obstacle=self.obstacle)
        if position is None or own is None or not self.slots:
            return Eta(position)
        waiting, count = _seconds(self.steps, Status.QUEUED, speeds, own)
        running, _ = _seconds(self.steps, Status.PROCESSING, speeds, own)
        ahead = waiting / max(1, count) * (position - 1)
        return Eta(position, round((running + ahead) / self.slots + own * request.steps, 1))


def _left(request: Request, speeds: Speeds, clock: Callable[[], float]) -> float | None:
    """Seconds of a running request: by the speed of its kind, or else by its own so far."""
    step, started = speeds.step(request.speed_key), request.timing.started_at
    if step is None and request.step and started is not None:
        step = max(0.0, clock() - started) / request.step
    return None if step is None else round(step * max(0, request.steps - request.step), 1)


#: Steps that are left and number of the live requests, by state and speed key.
STEPS = (
    select(
        columns.status,
        columns.pace,
        func.sum(columns.steps - columns.step).label("left"),
        func.count().label("number"),
    )
    .where(UNENDED, ~columns.test)
    .group_by(columns.status, columns.pace)
)
#: Number of the workers that take requests, and whether the queue is paused.
WORKERS = select(func.count(), paused()).where(workers.c.seen_at > now() - ALIVE, TAKES)


def _steps(view: Connection) -> Sequence[Row[Any]]:
    return view.execute(STEPS).all()


def _seconds(rows: Sequence[Row[Any]], status: Status, speeds: Speeds, default: float) -> tuple[float, int]:
    """Of the work of the requests in this state, and their number."""
    mine = [row for row in rows if row.status is status]
    seconds = sum((speeds.step(row.pace) or default) * max(0, row.left) for row in mine)
    return seconds, sum(row.number for row in mine)
