"""What an account has asked for: requests while they have a record, and for long after that their history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, Table, delete, func, insert, select, union_all

from tintype.errors import RequestUnknown
from tintype.store.db.database import Database, now
from tintype.store.db.records import Json, Status
from tintype.store.db.tables import history, requests

#: The columns that both tables have; a request is a row of one of them.
NAMES = [column.name for column in history.c]
PENDING = (Status.QUEUED, Status.PROCESSING)

Sort = Literal["submitted_at", "slug", "cost"]


@dataclass(frozen=True)
class Past:
    """A request as its history tells it; tables.py explains the columns."""

    id: str
    account_id: str
    slug: str
    params: Json
    status: Status
    cost: int | None
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    result: Json | None
    error: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> Past:
        """The request of a row with NAMES."""
        return cls(**row._mapping)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which of an account's requests are meant: times in unix seconds, the last one excluded."""

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


def archive(tx: Connection, moment: float) -> None:
    """Keep what an account may want to know of the records that are about to be removed."""
    over = select(*(requests.c[name] for name in NAMES)).where(requests.c.expires_at <= moment)
    tx.execute(insert(history).from_select(NAMES, over))


class History:
    """An account's requests, whatever their age; `life` is the seconds that they are kept after their end."""

    def __init__(self, db: Database, life: float) -> None:
        self._db = db
        self._life = life

    def page(
        self, meant: Filter, *, size: int, page: int = 1, sort: Sort = "submitted_at", descending: bool = True
    ) -> tuple[list[Past], int]:
        """One page of what is meant, from page 1, and the number of all."""
        both = _both(meant).subquery()
        key = both.c[sort].desc() if descending else both.c[sort].asc()
        # The id last: rows that are otherwise alike must not change pages.
        wanted = select(both).order_by(key, both.c.id).limit(size).offset((page - 1) * size)
        with self._db.read() as view:
            total = view.scalar(select(func.count()).select_from(both))
            return [*map(Past.of, view.execute(wanted))], total or 0

    def find(self, id: str, account_id: str) -> Past:
        """The account's request; raises RequestUnknown."""
        both = _both(Filter(account_id=account_id)).subquery()
        with self._db.read() as view:
            row = view.execute(select(both).where(both.c.id == id)).one_or_none()
        if row is None:
            raise RequestUnknown(id)
        return Past.of(row)

    def expire(self) -> int:
        """Forget what ended too long ago; how many requests."""
        with self._db.write(unhurried=True) as tx:
            return tx.execute(delete(history).where(history.c.ended_at < now() - self._life)).rowcount


def _both(meant: Filter) -> Any:
    def rows(table: Table) -> Select[Any]:
        return select(*(table.c[name] for name in NAMES)).where(*meant.conditions(table))

    return union_all(rows(requests), rows(history))
