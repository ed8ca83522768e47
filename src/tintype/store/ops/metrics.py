"""How the whole server stands, for `/metrics`: a few small queries on one state of the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

from tintype.store.billing import ledger
from tintype.store.db.database import Database, now
from tintype.store.db.records import Status
from tintype.store.db.tables import counters, requests, workers
from tintype.store.ops.autoscaler import wanted
from tintype.store.ops.workers import STATES, WorkerRow
from tintype.store.queue.control import paused
from tintype.store.webhooks.outbox import backlog
from tintype.telemetry.exposition import MetricsSnapshot
from tintype.telemetry.metrics import MISSED

#: What is said of a worker that doesn't tell its version: it is older than those that do.
UNTOLD = "untold"
#: Kinds of memory that all workers on a device share.
OF_DEVICE = ("total",)


def read_figures(db: Database, models: Iterable[str]) -> MetricsSnapshot:
    """The figures at this moment, with zeros for the models that nobody asks for; raises StoreUnavailable."""
    none = dict.fromkeys(models, 0)
    with db.read() as view:
        state = view.execute(_state()).one()
        moment = state.moment
        live = [*view.execute(_live())]
        known = [WorkerRow(**row._mapping) for row in view.execute(select(workers))]
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


def _state() -> Any:
    """The moment, whether the queue is paused, and what webhooks' senders have before them: one statement."""
    number, first = backlog()
    columns = (now().label("moment"), paused().label("paused"), number.label("messages"), first.label("first"))
    return select(*columns)


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


def _alive(known: Iterable[WorkerRow], moment: float) -> list[WorkerRow]:
    return [worker for worker in known if worker.state(moment) not in ("silent", "drained")]


def _versions(alive: Iterable[WorkerRow]) -> dict[str, int]:
    return dict(Counter(worker.version or UNTOLD for worker in alive))


def _memory(alive: Iterable[WorkerRow]) -> dict[tuple[str, str, str], int]:
    """By what outlives a restart: a worker's own name would make new series. What is the device's counts once."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for worker in alive:
        for kind, amount in (worker.about or {}).get("memory", {}).items():
            place = worker.host, worker.device, kind
            sums[place] = max(sums[place], amount) if kind in OF_DEVICE else sums[place] + amount
    return dict(sums)
