"""Which of several workers a request is for: for a moment, one that has its model loaded and has room.

All workers may run all requests; what is said here only keeps a model from being loaded a second time while a worker
that has it could begin. It is read in the query that a claim makes anyway.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from tintype.store.db.records import Status
from tintype.store.db.tables import requests, warmups, workers
from tintype.store.queue.eta import ALIVE, TAKES

columns = requests.c

#: Pictures in hand with which a worker has no room: a model that is asked for more than that is worth a second load.
BUSY = 2


def left_to_others(
    worker: str, loaded: Collection[str], wait: float, moment: ColumnElement[float] | float
) -> ColumnElement[bool]:
    """Requests that this worker leaves alone at this moment, because another one has their model loaded, and room.

    loaded: slugs of the models that it has loaded itself. wait: seconds since a request came, after which it is left
    to nobody. A retry never is: it wants a worker of its own, which is not likely to be the other one.
    """
    young = func.coalesce(columns.due_at, columns.submitted_at) > moment - wait
    elsewhere = columns.slug.in_(_ready_elsewhere(worker, moment))
    return and_(young, columns.attempt == columns.hand_backs, columns.slug.not_in(loaded), elsewhere)


def idle_elsewhere(worker: str, needed: int, moment: ColumnElement[float] | float) -> ColumnElement[bool]:
    """Other workers that have nothing in hand, and whose memory has so many bytes for weights and work."""
    running = select(columns.worker).where(columns.status == Status.PROCESSING)
    room = workers.c.about["memory", "budget"].as_float() >= float(needed)
    return and_(_taking(worker, moment), workers.c.id.not_in(running), room)


def _ready_elsewhere(worker: str, moment: ColumnElement[float] | float) -> Select[tuple[str]]:
    """Slugs of the models that other workers have loaded and have room for; the same for all rows of a query."""
    owned = warmups.join(workers, workers.c.id == warmups.c.worker)
    ready = (warmups.c.loaded, _taking(worker, moment), workers.c.id.not_in(_busy()))
    return select(warmups.c.slug).select_from(owned).where(*ready)


def _busy() -> Select[tuple[str]]:
    """Workers without room: they have enough in hand, or a retry, which runs alone."""
    enough = or_(func.sum(columns.pictures) >= BUSY, func.max(columns.attempt - columns.hand_backs) > 1)
    running = select(columns.worker).where(columns.status == Status.PROCESSING)
    return running.group_by(columns.worker).having(enough)


def _taking(worker: str, moment: ColumnElement[float] | float) -> ColumnElement[bool]:
    """Other workers that are alive and take requests."""
    return and_(workers.c.id != worker, workers.c.seen_at > moment - ALIVE, TAKES)
