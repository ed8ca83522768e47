"""How the whole server stands, for `/metrics`: a few small queries on one state of the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

from tintype.store import ledger
from tintype.store.controls import paused
from tintype.store.database import Database, read_clock
from tintype.store.keepers import wanted
from tintype.store.records import Status
from tintype.store.tables import counters, requests, workers
from tintype.store.workers import STATES, WorkerRow
from tintype.telemetry.metrics import MISSED, Figures


def read_figures(db: Database, models: Iterable[str]) -> Figures:
    """The figures at this moment, with zeros for the models that nobody asks for; raises StoreUnavailable."""
    none = dict.fromkeys(models, 0)
    with db.read() as view:
        moment = read_clock(view)
        live = [*view.execute(_live())]
        known = [WorkerRow(**row._mapping) for row in view.execute(select(workers))]
        states = Counter(worker.state(moment) for worker in known)
        return Figures(
            sums=_sums(view),
            waiting=none | {row.slug: row.number for row in live if row.status is Status.QUEUED},
            oldest=none | {row.slug: max(0.0, moment - row.first) for row in live if row.status is Status.QUEUED},
            running=none | {row.slug: row.number for row in live if row.status is Status.PROCESSING},
            paused=bool(view.scalar(select(paused()))),
            workers={state: states[state] for state in STATES},
            wanted=wanted(view),
            memory=_memory(known, moment),
        )


def _live() -> Any:
    """Requests that have not ended, test keys' left out, by model and state."""
    unended = (requests.c.status.in_((Status.QUEUED, Status.PROCESSING)), ~requests.c.test)
    counted = (func.count().label("number"), func.min(requests.c.submitted_at).label("first"))
    return (
        select(requests.c.slug, requests.c.status, *counted)
        .where(*unended)
        .group_by(requests.c.slug, requests.c.status)
    )


def _sums(view: Connection) -> dict[str, float]:
    """What was counted; charges that are missing now are added to those of requests that are gone."""
    sums = {row.key: row.value for row in view.execute(select(counters))}
    return sums | {MISSED.key(): sums.get(MISSED.key(), 0) + ledger.missed(view)}


def _memory(known: Iterable[WorkerRow], moment: float) -> dict[tuple[str, str], int]:
    alive = [worker for worker in known if worker.state(moment) not in ("silent", "drained")]
    told = {worker.id: (worker.about or {}).get("memory", {}) for worker in alive}
    return {(id, kind): amount for id, memory in told.items() for kind, amount in memory.items()}
