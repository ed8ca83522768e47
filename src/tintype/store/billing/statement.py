"""An account's ledger as its owner reads it: pages of rows with the balance after each, and sums by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, cast, func, literal_column, select

from tintype.store.billing.ledger import Line
from tintype.store.db.database import Database
from tintype.store.db.records import Entry
from tintype.store.db.tables import accounts, ledger

DAY = 86_400.0

#: What can be looked at: the rows that changed the balance, or the holds and releases between them too.
CHANGES = (Entry.GRANT, Entry.SETTLE, Entry.ADJUST)


class Posted(NamedTuple):
    """A row, and the account's balance after it in micro-dollars."""

    line: Line
    after: int


@dataclass(frozen=True)
class Day:
    """What happened to a balance on one day (UTC), in micro-dollars: what came, what went, what is left at its end."""

    #: Days since 1970-01-01.
    number: int
    given: int
    taken: int
    balance: int


class Statements:
    """Read only; times are unix seconds."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def page(self, account_id: str, kinds: tuple[Entry, ...], *, size: int, page: int = 1) -> tuple[list[Posted], int]:
        """One page of the account's rows of these kinds, the newest first, and the number of all."""
        meant = (ledger.c.account_id == account_id, ledger.c.kind.in_(kinds))
        wanted = select(ledger).where(*meant).order_by(ledger.c.id.desc()).limit(size).offset((page - 1) * size)
        with self._db.read() as view:
            total = view.scalar(select(func.count()).select_from(ledger).where(*meant)) or 0
            lines = [Line(**row._mapping) for row in view.execute(wanted)]
            return _with_balances(view, account_id, lines), total

    def days(self, account_id: str, since: float, before: float) -> list[Day]:
        """Every day from `since` to `before`, both the first moment of a day."""
        own = ledger.c.account_id == account_id
        within = (own, ledger.c.created_at >= since, ledger.c.created_at < before)
        number = day_of(ledger.c.created_at)
        came, went = (_total(part) for part in (ledger.c.balance > 0, ledger.c.balance < 0))
        with self._db.read() as view:
            balance = view.scalar(select(_total()).where(own, ledger.c.created_at < since)) or 0
            sums = view.execute(select(number, came, went).where(*within).group_by(number))
            changes = {day: (given or 0, taken or 0) for day, given, taken in sums}
        days = []
        for day in range(int(since // DAY), int(before // DAY)):
            given, taken = changes.get(day, (0, 0))
            balance += given + taken
            days.append(Day(day, given, -taken, balance))
        return days


def beginning(day: date) -> float:
    """The first moment of a day, UTC, in unix seconds."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def day_of(moment: ColumnElement[Any]) -> ColumnElement[int]:
    """The days since 1970-01-01 of a moment in unix seconds, in SQL; a cast alone would round on Postgres.

    No parameter in it, which Postgres would take for another one where it groups by the same words.
    """
    return cast(func.floor(moment / literal_column(str(DAY))), Integer)


def _total(*which: ColumnElement[bool]) -> Any:
    """What rows add to the balance, as a whole number: Postgres makes a decimal of a sum of big integers."""
    return cast(func.sum(ledger.c.balance).filter(*which) if which else func.sum(ledger.c.balance), BigInteger)


def _with_balances(view: Connection, account_id: str, lines: list[Line]) -> list[Posted]:
    """Backwards from today's balance, so that the newest page, which is asked for most, costs least."""
    if not lines:
        return []
    now = view.scalar(select(accounts.c.balance).where(accounts.c.id == account_id)) or 0
    newer = (ledger.c.account_id == account_id, ledger.c.id > lines[0].id)
    after = now - (view.scalar(select(_total()).where(*newer)) or 0)
    posted = []
    for line in lines:
        posted.append(Posted(line, after))
        after -= line.balance
    return posted


def whole(sum: ColumnElement[Any]) -> Any:
    """A sum, 0 of nothing: Postgres makes a decimal of one of big integers."""
    return cast(func.coalesce(sum, 0), BigInteger)
