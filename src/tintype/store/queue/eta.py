"""How long a request has still to go, by what this server has measured: its own steps, and the work before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, select, update

from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import paces, requests, workers
from tintype.store.queue import fairness as turns
from tintype.store.queue.control import paused

#: How much of a pace the latest request is: high enough to follow a new machine, low enough to outlive a hiccup.
LATEST = 0.2
#: Seconds without a sign of life after which a worker is not counted on.
ALIVE = 15.0
#: Workers that take requests while they live: not told to leave, and with a storage that takes their pictures.
TAKES = and_(workers.c.drain_at.is_(None), workers.c.about["storage"].as_string().is_(None))


@dataclass(frozen=True)
class Outlook:
    """What can be said of a request that has not ended."""

    #: 1 for the next that is claimed; None when it is not queued.
    position: int | None = None
    #: Seconds until it is done; None when nothing like it was measured yet, or nobody takes it: no worker is there, or
    #: the queue is paused.
    eta: float | None = None


class Paces:
    """Seconds per step, by pace; what was not measured is taken to be like its model's others."""

    def __init__(self, measured: Mapping[str, float]) -> None:
        self._measured = measured

    @classmethod
    def of(cls, view: Connection) -> Paces:
        """All that was measured: a few rows per model."""
        return cls({row.pace: row.seconds for row in view.execute(select(paces))})

    def step(self, pace: str | None) -> float | None:
        """Seconds of one step; None when the model was never measured."""
        if pace is None:
            return None
        slug = pace.split()[0]
        alike = [seconds for name, seconds in self._measured.items() if name.split()[0] == slug]
        return self._measured.get(pace, fmean(alike) if alike else None)


def learn(tx: Connection, request: Request) -> None:
    """Take the time of a request that has ended into its pace, if it was COMPLETED."""
    seconds = float((request.result or {}).get("inference_time", 0.0)) / max(1, request.steps)
    if request.status is not Status.COMPLETED or request.pace is None or seconds <= 0:
        return
    blended = paces.c.seconds + LATEST * (seconds - paces.c.seconds)
    known = update(paces).where(paces.c.pace == request.pace)
    if tx.execute(known.values(seconds=blended, measured=paces.c.measured + 1)).rowcount == 0:
        tx.execute(insert(paces).values(pace=request.pace, seconds=seconds, measured=1))


class Outlooks:
    """Looks ahead."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def alone(self, pace: str, steps: int) -> float | None:
        """Seconds that so many steps take here where nobody else is waiting; None when nothing was measured yet."""
        with self._db.read() as view:
            step = Paces.of(view).step(pace)
        return None if step is None else round(step * steps, 2)

    def of(self, request: Request) -> Outlook:
        """Of a request as it was when it was read."""
        if request.ended:
            return Outlook()
        with self._db.read() as view:
            return outlooks(view, [request])[request.id]


def outlooks(view: Connection, asked: Sequence[Request]) -> dict[str, Outlook]:
    """Of requests as they were when they were read, by id; the statements are as many for one as for hundreds."""
    known, moment = Paces.of(view), read_clock(view)
    queued = [request for request in asked if request.status is Status.QUEUED]
    places = turns.positions(view, [request.id for request in queued]) if queued else {}
    queue = Queue.of(view, known) if places else None
    found = {}
    for request in asked:
        if request.status is Status.PROCESSING:
            found[request.id] = Outlook(eta=_left(request, known, moment))
        elif queue and request.id in places:
            found[request.id] = Outlook(places[request.id], queue.until(request, places[request.id]))
        else:  # it has ended, or was claimed since
            found[request.id] = Outlook()
    return found


def first_end(view: Connection, whose: ColumnElement[bool]) -> float | None:
    """Seconds until the first of these requests ends; None when there is none, or nothing like it was measured yet."""
    known, columns = Paces.of(view), requests.c
    mine = select(requests).where(whose)
    running = view.execute(mine.where(columns.status == Status.PROCESSING)).all()
    if running:
        left = (_left(Request.of(row), known, read_clock(view)) for row in running)
        return min((seconds for seconds in left if seconds is not None), default=None)
    in_turn = mine.where(columns.status == Status.QUEUED).order_by(columns.priority.desc(), columns.seq)
    head = view.execute(in_turn.limit(1)).one_or_none()
    if head is None or (place := turns.position(view, head.id)) is None:
        return None
    return Queue.of(view, known).until(Request.of(head), place)


def _left(request: Request, known: Paces, moment: float) -> float | None:
    """Seconds of a running request: at the pace of its kind, or else at its own so far."""
    step = known.step(request.pace)
    if step is None and request.step and request.started_at is not None:
        step = max(0.0, moment - request.started_at) / request.step
    return None if step is None else round(step * max(0, request.steps - request.step), 1)


class Queue:
    """What waits and what runs at one moment, from which the wait for any request follows."""

    def __init__(self, known: Paces, hands: int, waiting: Sequence[Row[Any]], running: Sequence[Row[Any]]) -> None:
        self._known, self._hands, self._waiting, self._running = known, hands, waiting, running

    @classmethod
    def of(cls, view: Connection, known: Paces) -> Queue:
        """As it is now."""
        hands = _hands(view)
        return cls(known, hands, _steps(view, Status.QUEUED), _steps(view, Status.PROCESSING))

    def until(self, request: Request, position: int) -> float | None:
        """Seconds of a queued request: the running work's rest and the work before it, shared out; then its own.

        The work before it is taken to be like the queue's average, since turns decide which it will be.
        """
        own = self._known.step(request.pace)
        if own is None or not self._hands:
            return None
        waiting, count = _seconds(self._waiting, self._known, own)
        running, _ = _seconds(self._running, self._known, own)
        ahead = waiting / max(1, count) * (position - 1)
        return round((running + ahead) / self._hands + own * request.steps, 1)


def work(view: Connection, status: Status, known: Paces, otherwise: float) -> tuple[float, int]:
    """Seconds of all requests in this state, one after the other, and their number."""
    return _seconds(_steps(view, status), known, otherwise)


def _steps(view: Connection, status: Status) -> Sequence[Row[Any]]:
    """Steps that are left and number of the requests in this state, by their pace."""
    columns = requests.c
    left, number = func.sum(columns.steps - columns.step).label("left"), func.count().label("number")
    summed = select(columns.pace, left, number)
    return view.execute(summed.where(columns.status == status, ~columns.test).group_by(columns.pace)).all()


def _seconds(rows: Sequence[Row[Any]], known: Paces, otherwise: float) -> tuple[float, int]:
    seconds = sum((known.step(row.pace) or otherwise) * max(0, row.left) for row in rows)
    return seconds, sum(row.number for row in rows)


def _hands(view: Connection) -> int:
    """How many requests run at once: as many as do now, or one per worker; 0 while nobody takes any."""
    taking = (TAKES, ~paused())
    alive = select(func.count()).where(workers.c.seen_at > read_clock(view) - ALIVE, *taking)
    running = select(func.count()).where(requests.c.status == Status.PROCESSING, ~requests.c.test)
    count = view.scalar(alive) or 0
    return max(count, view.scalar(running) or 0) if count else 0
