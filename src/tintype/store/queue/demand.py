"""What is asked of the workers altogether, for those who decide how many there should be."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from tintype.store.db.database import Database
from tintype.store.db.records import Status
from tintype.store.db.tables import requests
from tintype.store.queue.control import paused
from tintype.store.queue.eta import Paces, work

#: Seconds of a step of a model that was never measured here: a large one's on a small GPU, roughly. What is wrong with
#: it is put right by the first request that ends.
GUESS = 0.5


@dataclass(frozen=True)
class Demand:
    """Live requests that have not ended, at one moment."""

    #: Seconds of work that wait, and that are left of what runs, one request after the other.
    waiting: float
    running: float
    #: How many requests these are.
    queued: int
    busy: int
    #: Models that any of them asks for.
    slugs: frozenset[str] = frozenset()
    paused: bool = False


def read_demand(db: Database) -> Demand:
    """What is asked at this moment; raises StoreUnavailable."""
    unended = (requests.c.status.in_((Status.QUEUED, Status.PROCESSING)), ~requests.c.test)
    with db.read() as view:
        known = Paces.of(view)
        waiting, queued = work(view, Status.QUEUED, known, GUESS)
        running, busy = work(view, Status.PROCESSING, known, GUESS)
        slugs = frozenset(view.scalars(select(requests.c.slug).where(*unended).distinct()))
        return Demand(waiting, running, queued, busy, slugs, bool(view.scalar(select(paused()))))
