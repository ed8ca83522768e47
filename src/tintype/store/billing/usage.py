"""What an account has used: its requests and their cost, summed in the database by day and by model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Table, func, select, union_all

from tintype.store.billing.statement import day_of, whole
from tintype.store.db.database import Database
from tintype.store.db.records import Status
from tintype.store.db.tables import history, requests
from tintype.store.queue.history import Filter


@dataclass(frozen=True)
class Used:
    """The requests of one day (UTC) and model, those under way included; `cost` in micro-dollars."""

    #: Days since 1970-01-01.
    day: int
    model: str
    requests: int
    completed: int
    failed: int
    cost: int


class Usage:
    """Read only."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def by_day(self, meant: Filter) -> list[Used]:
        """One sum per day and model that had requests, the oldest first."""
        both = union_all(_rows(requests, meant), _rows(history, meant)).subquery()
        day, model = both.c.day, both.c.slug
        count = func.count()
        ended = [count.filter(both.c.status == status) for status in (Status.COMPLETED, Status.FAILED)]
        cost = whole(func.sum(both.c.cost))
        sums = select(day, model, count, *ended, cost).group_by(day, model).order_by(day, model)
        with self._db.read() as view:
            return [Used(*row) for row in view.execute(sums)]


def _rows(table: Table, meant: Filter) -> Select[Any]:
    day = day_of(table.c.submitted_at).label("day")
    return select(day, table.c.slug, table.c.status, table.c.cost).where(*meant.conditions(table))
