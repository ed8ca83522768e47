"""What every account used, for operators: its charges, by the ledger, and how its requests ended, by their records.

The ledger is kept for good: charges are known for any time. Requests' records and history go after a while; counts of
them are None for what reaches further back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import (
    ColumnElement,
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
    null,
    or_,
    select,
    union_all,
)

from tintype.errors import InvalidParameter, NotFound
from tintype.store.billing.statement import DAY, beginning, day_of, whole
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import Entry, Status
from tintype.store.db.tables import ENDS, accounts, api_keys, history, ledger, requests

#: What an account's use may be split by.
By = Literal["day", "month", "model", "key"]
SPLITS: tuple[By, ...] = get_args(By)
#: The columns that are summed: of the ledger, and of the tables of requests.
CHARGES, COUNTS = ("charged", "cost", "uncharged"), ("completed", "failed")
RECORDS = (requests, history)


@dataclass(frozen=True)
class Use:
    """What one account, or a part of it, used in a window; money in micro-dollars."""

    account_id: str
    name: str
    #: Whether it is for test keys.
    test: bool
    #: The day or month (UTC), model, or id of a key; None where nothing was split, and for models that went with them.
    part: str | None
    #: The key's name and how it begins; None for one that was forgotten.
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


def period(first: date | None, last: date | None, names: tuple[str, str], most: int) -> tuple[date, date]:
    """Two days, of which the second counts too; else today, and the first of that month.

    Raises InvalidParameter, with what the caller calls the days, for more than `most` or what databases can't date.
    """
    end = last or datetime.now(UTC).date()
    start = first or end.replace(day=1)
    if not (0 <= (end - start).days < most and start.year >= 1970 and end.year < 9999):
        allowed = f"a day from 1970 on, at most {most - 1} days before {names[1]}, {end}"
        raise InvalidParameter(names[0], start.isoformat(), allowed)
    return start, end


class Accounting:
    """Read only. history_life: seconds for which requests are known after their end."""

    def __init__(self, db: Database, history_life: float) -> None:
        self._db = db
        self._history_life = history_life

    def use(
        self, window: Window, by: By | None = None, account_id: str = "", *, size: int | None = None, page: int = 1
    ) -> tuple[list[Use], Total]:
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
            known = read_clock(view) - self._history_life
            total = Total(*view.execute(select(func.count(), *totals).select_from(summed)).one())
            return [_use(row, window, by, known) for row in view.execute(rows)], total


def _summed(window: Window, by: By | None, account_id: str) -> Subquery:
    """A row per account and part; which key sent a request, its history doesn't tell."""
    counts = [] if by == "key" else [_ends(table, window, by, account_id) for table in RECORDS]
    each = union_all(_charges(window, by, account_id), *counts).subquery()
    own = (each.c.account_id, each.c.part)
    sums = [whole(func.sum(each.c[name])).label(name) for name in (*CHARGES, *COUNTS)]
    return select(*own, *sums).group_by(*own).subquery()


def _charges(window: Window, by: By | None, account_id: str) -> Select[Any]:
    """The ends of holds, a row each; the index's own words are among the conditions."""
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
    """The month of a moment in the window: in words that both databases have."""
    month, ends = _date(window.since).replace(day=1), []
    while beginning(month) < window.before:
        following = (month + timedelta(days=31)).replace(day=1)
        ends.append((moment < beginning(following), f"{month:%Y-%m}"))
        month = following
    return case(*ends)


def _meant(table: Table, moment: Any, window: Window, account_id: str) -> list[ColumnElement[bool]]:
    within: list[ColumnElement[bool]] = [moment >= window.since, moment < window.before]
    if account_id:
        beside = select(accounts.c.id).where(or_(accounts.c.id == account_id, accounts.c.test_of == account_id))
        within.append(table.c.account_id.in_(beside))
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


def _use(row: Row[Any], window: Window, by: By | None, known: float) -> Use:
    part, since = row.part, window.since
    if by == "day":
        since = int(part) * DAY
        part = _date(since).isoformat()
    if by == "month":
        since = max(since, beginning(date.fromisoformat(f"{part}-01")))
    counts = (row.completed, row.failed) if by != "key" and since >= known else (None, None)
    key = None if row.hint is None else f"{row.hint}… {row.key_name}"
    sums = (row.charged, row.cost, row.uncharged)
    return Use(row.account_id, row.name, row.test_of is not None, part, key, *sums, *counts)


def _date(moment: float) -> date:
    return datetime.fromtimestamp(moment, UTC).date()
