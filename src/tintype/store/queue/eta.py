"""ETA: how long a request has still to go, by measured speeds and the work before it; and the demand for workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from tintype.store.db.conditions import ALIVE, LIVE, PROCESSING, QUEUED, TAKES
from tintype.store.db.database import read_clock
from tintype.store.db.measurements import Speeds
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import requests, workers
from tintype.store.queue.claim import paused, position_of, positions_of

columns = requests.c

#: Seconds of a step of a model that was never measured: a large one's on a small GPU, roughly. The first request that
#: ends corrects it.
GUESS = 0.5


@dataclass(frozen=True, slots=True)
class Eta:
    """When a request that has not ended will be done."""

    #: In the queue, 1 for the next; None when it is not queued.
    position: int | None = None
    #: Until it is done; None when nothing like it was measured yet, or it can't run: no worker is there, or the queue
    #: is paused.
    seconds: float | None = None


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
    speeds = Speeds.of(view)
    waiting, queued = _seconds(_steps(view, QUEUED), speeds, GUESS)
    running, busy = _seconds(_steps(view, PROCESSING), speeds, GUESS)
    slugs = frozenset(view.scalars(select(columns.slug).where(LIVE).distinct()))
    return Demand(waiting, running, queued, busy, slugs, bool(view.scalar(select(paused()))))


def etas(view: Connection, asked: Sequence[Request]) -> dict[str, Eta]:
    """Of requests as they were when they were read, by id; as many statements for one as for hundreds."""
    speeds, moment = Speeds.of(view), read_clock(view)
    queued = [request for request in asked if request.status is Status.QUEUED]
    positions = positions_of(view, [request.id for request in queued]) if queued else {}
    queue = Queued.of(view, speeds) if positions else None
    found = {}
    for request in asked:
        if request.status is Status.PROCESSING:
            found[request.id] = Eta(seconds=_left(request, speeds, moment))
        elif queue and request.id in positions:
            position = positions[request.id]
            found[request.id] = Eta(position, queue.until(request, position))
        else:  # it has ended, or was claimed since
            found[request.id] = Eta()
    return found


def first_end(view: Connection, which: ColumnElement[bool]) -> float | None:
    """Seconds until the first of these requests ends; None when there is none, or nothing like it was measured yet."""
    speeds, mine = Speeds.of(view), select(requests).where(which)
    running = view.execute(mine.where(PROCESSING)).all()
    if running:
        left = (_left(Request.of(row), speeds, read_clock(view)) for row in running)
        return min((seconds for seconds in left if seconds is not None), default=None)
    in_order = mine.where(QUEUED).order_by(columns.priority.desc(), columns.seq)
    head = view.execute(in_order.limit(1)).one_or_none()
    if head is None or (position := position_of(view, head.id)) is None:
        return None
    return Queued.of(view, speeds).until(Request.of(head), position)


@dataclass(frozen=True, slots=True)
class Queued:
    """What waits and what runs at one moment, from which the wait for any request follows."""

    speeds: Speeds
    #: How many requests run at the same time; 0 while none can.
    slots: int
    waiting: Sequence[Row[Any]]
    running: Sequence[Row[Any]]

    @classmethod
    def of(cls, view: Connection, speeds: Speeds) -> Queued:
        """As it is now."""
        return cls(speeds, _slots(view), _steps(view, QUEUED), _steps(view, PROCESSING))

    def until(self, request: Request, position: int) -> float | None:
        """Seconds of a queued request: the rest of the running work and the work before it, divided; then its own.

        The work before it is taken to be like the queue's average, since claim order decides which it will be.
        """
        own = self.speeds.step(request.speed_key)
        if own is None or not self.slots:
            return None
        waiting, count = _seconds(self.waiting, self.speeds, own)
        running, _ = _seconds(self.running, self.speeds, own)
        ahead = waiting / max(1, count) * (position - 1)
        return round((running + ahead) / self.slots + own * request.steps, 1)


def _left(request: Request, speeds: Speeds, moment: float) -> float | None:
    """Seconds of a running request: by the speed of its kind, or else by its own so far."""
    step, started = speeds.step(request.speed_key), request.timing.started_at
    if step is None and request.step and started is not None:
        step = max(0.0, moment - started) / request.step
    return None if step is None else round(step * max(0, request.steps - request.step), 1)


def _steps(view: Connection, status: ColumnElement[bool]) -> Sequence[Row[Any]]:
    """Steps that are left and number of the live requests in this state, by speed key."""
    left, number = func.sum(columns.steps - columns.step).label("left"), func.count().label("number")
    summed = select(columns.pace, left, number)
    return view.execute(summed.where(status, ~columns.test).group_by(columns.pace)).all()


def _seconds(rows: Sequence[Row[Any]], speeds: Speeds, default: float) -> tuple[float, int]:
    seconds = sum((speeds.step(row.pace) or default) * max(0, row.left) for row in rows)
    return seconds, sum(row.number for row in rows)


def _slots(view: Connection) -> int:
    """As many requests as run now, or one per worker; 0 while no worker takes any."""
    alive = select(func.count()).where(workers.c.seen_at > read_clock(view) - ALIVE, TAKES, ~paused())
    running = select(func.count()).where(PROCESSING, ~columns.test)
    count = view.scalar(alive) or 0
    return max(count, view.scalar(running) or 0) if count else 0
