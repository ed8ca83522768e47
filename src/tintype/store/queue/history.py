"""What an account has asked for: requests while they have a record, and for long after that their history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, Table, delete, func, insert, select, union_all

from tintype.core import Json, Result
from tintype.errors import RequestUnknown
from tintype.store.billing import ledger
from tintype.store.billing.reports import day_of, whole
from tintype.store.db import measurements
from tintype.store.db.clock import set_back
from tintype.store.db.conditions import find_owned
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import Status
from tintype.store.db.tables import history, image_marks, inputs, requests, workers
from tintype.store.queue.image_log import forget_requests
from tintype.store.queue.lifecycle import Rules, give_up
from tintype.telemetry.metrics import MISSED

#: The columns that both tables have; a request is a row of one of them.
NAMES = [column.name for column in history.c]
PENDING = (Status.QUEUED, Status.PROCESSING)
#: Seconds without a heartbeat after which a worker is removed.
WORKER_TTL = 3600.0

Sort = Literal["submitted_at", "slug", "cost"]


@dataclass(frozen=True, slots=True)
class Past:
    """A request in its account's history; times in unix seconds."""

    id: str
    account_id: str
    #: The model's.
    slug: str
    #: What was sent, validated, in the model's own words.
    params: Json
    status: Status
    #: Micro-dollars; None unless it is COMPLETED.
    cost: int | None
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    result: Result | None
    error: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> Past:
        """The request of a row with NAMES."""
        result = None if row.result is None else Result.from_json(row.result)
        return cls(**{**row._mapping, "result": result})


@dataclass(frozen=True, slots=True)
class DailyUsage:
    """The requests of one day (UTC) and model, those that have not ended included; `cost` in micro-dollars."""

    #: Days since 1970-01-01.
    day: int
    model: str
    requests: int
    completed: int
    failed: int
    cost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Some of an account's requests: times in unix seconds, the last one excluded."""

    account_id: str
    since: float | None = None
    before: float | None = None
    #: A part of the slug.
    model: str = ""
    statuses: tuple[Status, ...] = tuple(Status)

    def conditions(self, table: Table) -> Iterator[Any]:
        """In SQL."""
        yield table.c.account_id == self.account_id
        yield table.c.status.in_(self.statuses)
        if self.since is not None:
            yield table.c.submitted_at >= self.since
        if self.before is not None:
            yield table.c.submitted_at < self.before
        if self.model:
            yield table.c.slug.contains(self.model, autoescape=True)


class History:
    """An account's requests, whatever their age. ttl: seconds until they expire after their end."""

    def __init__(self, db: Database, ttl: float) -> None:
        self._db = db
        self._ttl = ttl

    def page(
        self, which: Filter, *, size: int, page: int = 1, sort: Sort = "submitted_at", descending: bool = True
    ) -> tuple[list[Past], int]:
        """One page of the requests, from page 1, and the number of all."""
        both = _both(which).subquery()
        key = both.c[sort].desc() if descending else both.c[sort].asc()
        # The id last: rows that are otherwise alike must not change pages.
        wanted = select(both).order_by(key, both.c.id).limit(size).offset((page - 1) * size)
        with self._db.read() as view:
            total = view.scalar(select(func.count()).select_from(both))
            return [*map(Past.of, view.execute(wanted))], total or 0

    def find(self, id: str, account_id: str) -> Past:
        """The account's request; raises RequestUnknown."""
        with self._db.read() as view:
            both = _both(Filter(account_id=account_id)).subquery()
            return Past.of(find_owned(view, both, id, account_id, RequestUnknown(id)))

    def usage(self, which: Filter) -> list[DailyUsage]:
        """One sum per day and model that had requests, the oldest first."""
        both = union_all(_usage(requests, which), _usage(history, which)).subquery()
        day, model = both.c.day, both.c.slug
        count = func.count()
        ended = [count.filter(both.c.status == status) for status in (Status.COMPLETED, Status.FAILED)]
        cost = whole(func.sum(both.c.cost))
        sums = select(day, model, count, *ended, cost).group_by(day, model).order_by(day, model)
        with self._db.read() as view:
            return [DailyUsage(*row) for row in view.execute(sums)]

    def expire(self) -> int:
        """Delete the history of requests that ended too long ago, unless an image is kept of them; how many."""
        # EXISTS, not IN: of many, PostgreSQL would read all for each row.
        kept = select(image_marks.c.name).where(image_marks.c.request_id == history.c.id, image_marks.c.kept).exists()
        with self._db.write(no_timeout=True) as tx:
            # Both statements at one moment, or a row that expires between the two would leave its id behind.
            old = (history.c.ended_at < read_clock(tx) - self._ttl, ~kept)
            forget_requests(tx, select(history.c.id).where(*old))
            return tx.execute(delete(history).where(*old)).rowcount


def expire(tx: Connection, rules: Rules, before: float | None = None) -> int:
    """Move expired records to the history, give up what no worker will finish, remove silent workers; how many records.

    And fold the journal of ends.
    Where the clock was set back, what it left in the future comes to the present. before: a moment in unix seconds at
    which the records must have expired; now, if not given.
    """
    moment = read_clock(tx)
    set_back(tx, moment, rules.lease)
    give_up(tx, moment, rules)
    measurements.fold(tx)
    silent = workers.c.seen_at < moment - WORKER_TTL
    tx.execute(delete(workers).where(silent, workers.c.drain_at.is_(None)))
    expired = requests.c.expires_at <= (moment if before is None else before)
    measurements.add(tx, {MISSED.key(): ledger.missed(tx, expired)})
    tx.execute(insert(history).from_select(NAMES, select(*(requests.c[name] for name in NAMES)).where(expired)))
    # What one has left that a worker of an older version ended.
    tx.execute(delete(inputs).where(inputs.c.request_id.in_(select(requests.c.id).where(expired))))
    return tx.execute(delete(requests).where(expired)).rowcount


def _both(which: Filter) -> Any:
    def rows(table: Table) -> Select[Any]:
        return select(*(table.c[name] for name in NAMES)).where(*which.conditions(table))

    return union_all(rows(requests), rows(history))


def _usage(table: Table, which: Filter) -> Select[Any]:
    day = day_of(table.c.submitted_at).label("day")
    return select(day, table.c.slug, table.c.status, table.c.cost).where(*which.conditions(table))
