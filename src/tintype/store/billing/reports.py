"""Reports that only read: an account's statement, and what every account used.

The ledger is kept for good, so charges are known for any time. Requests' records and history expire: counts of requests
are None for what reaches further back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    Subquery,
    Table,
    Text,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    union_all,
)

from tintype.errors import InvalidParameter, NotFound
from tintype.store.billing.ledger import Line
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import Entry, Status
from tintype.store.db.tables import ENDS, accounts, api_keys, history, ledger, requests

DAY = 86_400.0

#: Kinds of rows that change the balance, without the holds and releases between them.
CHANGES = (Entry.GRANT, Entry.SETTLE, Entry.ADJUST)


class Posted(NamedTuple):
    """A row, and the account's balance after it in micro-dollars."""

    line: Line
    after: int


@dataclass(frozen=True, slots=True)
class Day:
    """What happened to a balance on one day (UTC), in micro-dollars: given, taken, and the balance at its end."""

    #: Days since 1970-01-01.
    number: int
    given: int
    taken: int
    balance: int


#: What an account's usage may be split by.
By = Literal["day", "month", "model", "key"]
SPLITS: tuple[By, ...] = get_args(By)
#: The columns that are summed: of the ledger, and of the tables of requests.
CHARGES, COUNTS = ("charged", "cost", "uncharged"), ("completed", "failed")
RECORDS = (requests, history)


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """What one account, or a part of it, used in a window; money in micro-dollars."""

    account_id: str
    name: str
    #: Whether it is for test keys.
    test: bool
    #: The day or month (UTC), model, or id of a key; None without a split, and for models that are no longer known.
    part: str | None
    #: The key's name and how it begins; None for one that was deleted.
    key: str | None
    #: Requests that were charged, how much, and those whose hold was released: they failed or were cancelled.
    charged: int
    cost: int
    uncharged: int
    #: Requests that ended so, free ones and tests included; None where not all of them are still known, or by key.
    completed: int | None
    failed: int | None


class Total(NamedTuple):
    """All rows together."""

    rows: int
    charged: int
    cost: int
    uncharged: int


class Window(NamedTuple):
    """Whole days, UTC: from the first moment, in unix seconds, to the one after the last."""

    since: float
    before: float

    @classmethod
    def of(cls, first: date, last: date) -> Window:
        """Both days included."""
        return cls(beginning(first), beginning(last) + DAY)


def period(first: date | None, last: date | None, names: tuple[str, str], max_days: int) -> tuple[date, date]:
    """Two days, of which the second counts too; else today, and the first of that month.

    Raises InvalidParameter, with what the caller calls the days, for more than `max_days` or what databases can't date.
    """
    end = last or datetime.now(UTC).date()
    start = first or end.replace(day=1)
    if not (0 <= (end - start).days < max_days and start.year >= 1970 and end.year < 9999):
        allowed = f"a day from 1970 on, at most {max_days - 1} days before {names[1]}, {end}"
        raise InvalidParameter(names[0], start.isoformat(), allowed)
    return start, end


class BillingReports:
    """Read only; times are unix seconds. history_ttl: seconds for which requests are known after their end."""

    def __init__(self, db: Database, history_ttl: float) -> None:
        self._db = db
        self._history_ttl = history_ttl

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

    def usage(
        self, window: Window, by: By | None = None, account_id: str = "", *, size: int | None = None, page: int = 1
    ) -> tuple[list[AccountUsage], Total]:
        """One page of the rows, or all, and the sum of all: the account that paid most first, unless they are split.

        account_id: that account's and its test keys' alone. Raises NotFound.
        """
        summed = _summed(window, by, account_id)
        rows = _named(summed).order_by(*_order(summed, by)).limit(size)
        rows = rows.offset(None if size is None else (page - 1) * size)
        totals = [whole(func.sum(summed.c[name])) for name in CHARGES]
        with self._db.read() as view:
            if account_id and not view.scalar(select(exists().where(accounts.c.id == account_id))):
                raise NotFound(f"Account {account_id[:80]} not found")
            known = read_clock(view) - self._history_ttl
            total = Total(*view.execute(select(func.count(), *totals).select_from(summed)).one())
            return [_use(row, window, by, known) for row in view.execute(rows)], total


def beginning(day: date) -> float:
    """The first moment of a day, UTC, in unix seconds."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def day_of(moment: ColumnElement[Any]) -> ColumnElement[int]:
    """The days since 1970-01-01 of a moment in unix seconds, in SQL; a cast alone would round on Postgres.

    Without parameters: Postgres would take the expression it groups by for another one.
    """
    return cast(func.floor(moment / literal_column(str(DAY))), Integer)


def _total(*which: ColumnElement[bool]) -> Any:
    """What rows add to the balance, as a whole number: Postgres makes a decimal of a sum of big integers."""
    return cast(func.sum(ledger.c.balance).filter(*which) if which else func.sum(ledger.c.balance), BigInteger)


def _with_balances(view: Connection, account_id: str, lines: list[Line]) -> list[Posted]:
    """Backwards from today's balance, so that the newest page, which is read most often, is cheapest."""
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


def _summed(window: Window, by: By | None, account_id: str) -> Subquery:
    """A row per account and part; history has no keys."""
    counts = [] if by == "key" else [_ends(table, window, by, account_id) for table in RECORDS]
    each = union_all(_charges(window, by, account_id), *counts).subquery()
    own = (each.c.account_id, each.c.part)
    sums = [whole(func.sum(each.c[name])).label(name) for name in (*CHARGES, *COUNTS)]
    return select(*own, *sums).group_by(*own).subquery()


def _charges(window: Window, by: By | None, account_id: str) -> Select[Any]:
    """The ends of holds, a row each; the index's own condition is among the conditions."""
    settled, moment = ledger.c.kind == Entry.SETTLE, ledger.c.created_at
    sums = (case((settled, 1), else_=0), case((settled, -ledger.c.balance), else_=0), case((settled, 0), else_=1))
    models = [select(table.c.slug).where(table.c.id == ledger.c.request_id).scalar_subquery() for table in RECORDS]
    part = _part(by, window, moment, func.coalesce(*models), ledger.c.key_id)
    columns = (part, *_labelled(CHARGES, sums), *_labelled(COUNTS, (literal(0), literal(0))))
    return select(ledger.c.account_id, *columns).where(ENDS, *_meant(ledger, moment, window, account_id))


def _ends(table: Table, window: Window, by: By | None, account_id: str) -> Select[Any]:
    """Requests that have ended, a row each."""
    counts = [case((table.c.status == end, 1), else_=0) for end in (Status.COMPLETED, Status.FAILED)]
    part = _part(by, window, table.c.ended_at, table.c.slug, null())
    columns = (part, *_labelled(CHARGES, [literal(0)] * len(CHARGES)), *_labelled(COUNTS, counts))
    return select(table.c.account_id, *columns).where(*_meant(table, table.c.ended_at, window, account_id))


def _labelled(names: tuple[str, ...], columns: Any) -> list[Any]:
    return [column.label(name) for name, column in zip(names, columns, strict=True)]


def _part(by: By | None, window: Window, moment: Any, model: Any, key: Any) -> ColumnElement[Any]:
    if by == "month":
        return cast(_month_of(moment, window), Text).label("part")
    return cast({"day": day_of(moment), "model": model, "key": key, None: null()}[by], Text).label("part")


def _month_of(moment: ColumnElement[Any], window: Window) -> ColumnElement[Any]:
    """The month of a moment in the window: in SQL that both databases have."""
    month, ends = _date(window.since).replace(day=1), []
    while beginning(month) < window.before:
        following = (month + timedelta(days=31)).replace(day=1)
        ends.append((moment < beginning(following), f"{month:%Y-%m}"))
        month = following
    return case(*ends)


def _meant(table: Table, moment: Any, window: Window, account_id: str) -> list[ColumnElement[bool]]:
    within: list[ColumnElement[bool]] = [moment >= window.since, moment < window.before]
    if account_id:
        family = select(accounts.c.id).where(or_(accounts.c.id == account_id, accounts.c.test_of == account_id))
        within.append(table.c.account_id.in_(family))
    return within


def _named(summed: Subquery) -> Select[Any]:
    whose = summed.join(accounts, accounts.c.id == summed.c.account_id)
    with_keys = whose.outerjoin(api_keys, api_keys.c.id == summed.c.part)
    named = (accounts.c.name, accounts.c.test_of, api_keys.c.name.label("key_name"), api_keys.c.hint)
    return select(summed, *named).select_from(with_keys)


def _order(summed: Subquery, by: By | None) -> tuple[Any, ...]:
    if by is None:
        return (summed.c.cost.desc(), accounts.c.created_at, accounts.c.id)
    return (accounts.c.created_at, accounts.c.id, summed.c.part)


def _use(row: Row[Any], window: Window, by: By | None, known: float) -> AccountUsage:
    part, since = row.part, window.since
    if by == "day":
        since = int(part) * DAY
        part = _date(since).isoformat()
    if by == "month":
        since = max(since, beginning(date.fromisoformat(f"{part}-01")))
    counts = (row.completed, row.failed) if by != "key" and since >= known else (None, None)
    key = None if row.hint is None else f"{row.hint}… {row.key_name}"
    sums = (row.charged, row.cost, row.uncharged)
    return AccountUsage(row.account_id, row.name, row.test_of is not None, part, key, *sums, *counts)


def _date(moment: float) -> date:
    return datetime.fromtimestamp(moment, UTC).date()
