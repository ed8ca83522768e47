"""Money: the ledger, of rows that never change and balances that are always their sums; prices; dollars for people.

Amounts are whole micro-dollars everywhere, dollars for people and the wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Double,
    FromClause,
    Integer,
    Row,
    bindparam,
    case,
    cast,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from tintype.catalog.limits import LIMITS
from tintype.catalog.spec import ModelSpec, Tariff
from tintype.errors import OutOfCredits, SpendCapReached
from tintype.settings.values import Price
from tintype.store.db.conditions import UNENDED
from tintype.store.db.database import now
from tintype.store.db.records import Entry, Request, Status, utc_day
from tintype.store.db.statements import Statement
from tintype.store.db.tables import ENDS, accounts, api_keys, ledger, requests, unended

MICRO = 1_000_000

# Built once: building a statement takes longer than running it.
#: The UTC day, from 1970-01-01.
TODAY: BindParameter[int] = bindparam("today", type_=Integer())
LESS: BindParameter[int] = bindparam("less", type_=BigInteger())
#: Of an account, an API key, the ledger: what `_post` changes.
IN_ACCOUNT = Statement(
    update(accounts)
    .where(accounts.c.id == bindparam("own"))
    .values(balance=accounts.c.balance + bindparam("paid"), held=accounts.c.held + bindparam("set_aside"))
)
#: LESS is what its request cost less than was held: the day on which that was submitted has it again, if the key has
#: had no request on a later one.
IN_KEY = Statement(
    update(api_keys)
    .where(api_keys.c.id == bindparam("own"))
    .values(
        spent=api_keys.c.spent - LESS,
        daily_spend_used=case(
            (api_keys.c.daily_used_on != bindparam("day", type_=Integer()), api_keys.c.daily_spend_used),
            # Where a process of a version before 0024 submitted it, it was not counted.
            (api_keys.c.daily_spend_used < LESS, 0),
            else_=api_keys.c.daily_spend_used - LESS,
        ),
    )
)
#: Without the id that the row is given.
IN_LEDGER = Statement(insert(ledger).values(created_at=now()).inline())


#: Whether a request of the day after was faster: one that was submitted before midnight, and waited for the key's row,
#: begins no day again. A day further ahead is that of a clock that was set back.
_OVERTAKEN = api_keys.c.daily_used_on == TODAY + 1


def used_today(column: Column[int]) -> ColumnElement[int]:
    """What a key has used of a limit per day, before its next request."""
    return case((or_(api_keys.c.daily_used_on == TODAY, _OVERTAKEN), column), else_=0)


#: A request's price, and what holding it adds to the sums of its key and its account, in statements that change more of
#: those rows (`queue/submit.py`).
PRICE: BindParameter[int] = bindparam("hold_price", type_=BigInteger())
HELD_BY_KEY = {
    "spent": api_keys.c.spent + PRICE,
    "daily_used_on": case((_OVERTAKEN, api_keys.c.daily_used_on), else_=TODAY),
    "daily_spend_used": used_today(api_keys.c.daily_spend_used) + PRICE,
    "daily_requests_used": used_today(api_keys.c.daily_requests_used) + 1,
}
HELD_BY_ACCOUNT = {"held": accounts.c.held + PRICE}

#: The model's work in seconds, and what it costs in micro-dollars by a rate: not a whole number.
SECONDS: BindParameter[float] = bindparam("seconds", type_=Double())
_WORK = requests.c.rate * SECONDS
_ROUNDED = cast(_WORK, BigInteger)
#: What a request costs that COMPLETES after SECONDS: its price or, by the rate, min(price, ceil(rate * seconds)).
COST = case(
    (requests.c.rate.is_(None), requests.c.price),
    (requests.c.price <= _WORK, requests.c.price),
    # SQLite may lack ceil; its cast rounds towards 0, PostgreSQL's to the nearest.
    else_=_ROUNDED + case((_WORK > _ROUNDED, 1), else_=0),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the ledger; money in micro-dollars, time in unix seconds."""

    id: int
    account_id: str
    key_id: str | None
    request_id: str | None
    kind: Entry
    #: What it adds to the account's balance and to what is held.
    balance: int
    held: int
    note: str | None
    created_at: float


class Imbalance(NamedTuple):
    """A stored sum that differs from the rows it sums: a bug, or a manual change of the database."""

    what: str
    id: str
    stored: int
    summed: int
    #: Whether the sums are micro-dollars.
    money: bool = True


def give(tx: Connection, account_id: str, amount: int, note: str | None = None) -> None:
    """Add an operator's money to the balance; a negative amount takes it back."""
    if amount:
        _post(tx, Entry.GRANT if amount > 0 else Entry.ADJUST, account_id, balance=amount, note=note)


def hold(tx: Connection, request: Request) -> None:
    """Set aside what a new request may cost, together with HELD_BY_KEY and HELD_BY_ACCOUNT."""
    if price := request.billing.price:  # a free request has no rows
        about = {"account_id": request.account_id, "key_id": request.key_id, "request_id": request.id}
        IN_LEDGER.later(tx, {**about, "kind": Entry.HOLD, "balance": 0, "held": price, "note": None})


def check_hold(request: Request, key: Row[Any], account: Row[Any]) -> None:
    """Check the rows of its key and account after that; raises OutOfCredits, SpendCapReached."""
    price, available = request.billing.price, account.balance - account.held
    if available < 0:
        words = f"The balance available is {shown(available + price)}, but this request needs {shown(price)}"
        raise OutOfCredits(words)
    if key.spend_cap is not None and key.spent > key.spend_cap:
        left = shown(max(0, key.spend_cap - key.spent + price))
        words = f"{LIMITS['spend_cap'].refuses(shown(key.spend_cap))}, of which {left} is left"
        raise SpendCapReached(f"{words}, but this request needs {shown(price)}")


def settle(tx: Connection, request: Request) -> None:
    """End the hold of a request that has just COMPLETED, and charge its cost."""
    _post(tx, Entry.SETTLE, request, balance=-(request.billing.cost or 0), held=-request.billing.price)


def release(tx: Connection, request: Request) -> None:
    """End a FAILED request's hold and charge nothing."""
    _post(tx, Entry.RELEASE, request, held=-request.billing.price)


def lines(view: Connection, account_id: str, limit: int) -> list[Line]:
    """The account's last rows, the newest first."""
    newest = select(ledger).where(ledger.c.account_id == account_id).order_by(ledger.c.id.desc()).limit(limit)
    return [Line(**row._mapping) for row in view.execute(newest)]


def imbalances(view: Connection) -> list[Imbalance]:
    """Every stored sum that differs from its rows; empty when all is well."""
    waiting = select(requests).where(UNENDED).subquery()
    return [
        *_differing(view, "balance", accounts.c.balance, ledger, ledger.c.account_id, ledger.c.balance),
        *_differing(view, "held", accounts.c.held, ledger, ledger.c.account_id, ledger.c.held),
        *_differing(view, "held", accounts.c.held, waiting, waiting.c.account_id, waiting.c.price),
        *_differing(view, "spent", api_keys.c.spent, ledger, ledger.c.key_id, ledger.c.held - ledger.c.balance),
        *_miscounted(view),
    ]


def missed(view: Connection, *which: ColumnElement[bool]) -> int:
    """Number of COMPLETED requests with a price that the ledger doesn't charge with their cost: 0."""
    own = (ledger.c.request_id == requests.c.id, ledger.c.kind == Entry.SETTLE, ledger.c.balance == -requests.c.cost)
    # The index's own condition: without it, SQLite would read the whole ledger for every request.
    charged = exists().where(ENDS, *own)
    completed = (requests.c.status == Status.COMPLETED, requests.c.price > 0)
    return view.scalar(select(func.count()).select_from(requests).where(*completed, ~charged, *which)) or 0


def _differing(
    view: Connection, what: str, stored: Column[int], rows: FromClause, whose: Any, amount: Any
) -> list[Imbalance]:
    owner = stored.table.c.id
    summed = func.coalesce(func.sum(amount), 0)
    each = select(owner, stored, summed).select_from(stored.table.outerjoin(rows, whose == owner))
    differing = each.group_by(owner, stored).having(stored != summed)
    return [Imbalance(what, id, has, int(should)) for id, has, should in view.execute(differing)]


def _miscounted(view: Connection) -> Iterator[Imbalance]:
    """The same of `unended`, by key and priority."""
    own = requests.c.key_id, requests.c.priority
    each = select(*own, func.count(), func.sum(requests.c.pictures)).where(UNENDED).group_by(*own)
    counted = {(key_id, priority): sums for key_id, priority, *sums in view.execute(each)}
    stored = {(row.key_id, row.priority): [row.requests, row.images] for row in view.execute(select(unended))}
    for key in sorted(counted.keys() | stored.keys()):
        pairs = zip(("requests", "images"), stored.get(key, [0, 0]), counted.get(key, [0, 0]), strict=True)
        yield from (
            Imbalance(f"unended {what}", key[0], has, int(should), money=False)
            for what, has, should in pairs
            if has != should
        )


def _post(
    tx: Connection, kind: Entry, whose: Request | str, balance: int = 0, held: int = 0, note: str | None = None
) -> None:
    """The only place where money changes, but for a hold: the row and its sums. A free request has no rows.

    whose: the request, or the id of the account.
    """
    account_id, key_id, request_id = whose, None, None
    if isinstance(whose, Request):
        if not whose.billing.price:
            return
        account_id, key_id, request_id = whose.account_id, whose.key_id, whose.id
        if less := balance - held:
            day = utc_day(whose.timing.submitted_at)
            IN_KEY.later(tx, {"own": key_id, "less": less, "day": day})
    own = {"account_id": account_id, "key_id": key_id, "request_id": request_id}
    IN_LEDGER.later(tx, {**own, "kind": kind, "balance": balance, "held": held, "note": note})
    IN_ACCOUNT.later(tx, {"own": account_id, "paid": balance, "set_aside": held})


def dollars(micro: int) -> float:
    """Micro-dollars → dollars."""
    return micro / MICRO


def micro(dollars: float) -> int:
    """Dollars → micro-dollars, half rounded to even; of the decimal digits as written, not of their binary value.

    Raises ValueError or OverflowError when it is not a finite number.
    """
    return round(Decimal(str(dollars)) * MICRO)


def plain(micro: int) -> str:
    """Micro-dollars as a header has them: dollars to the last digit, `0.0037`."""
    return f"{Decimal(micro) / MICRO:f}"


def shown(micro: int) -> str:
    """Micro-dollars as people write them: `$0.0037`."""
    return f"${plain(micro)}" if micro >= 0 else f"-{shown(-micro)}"


def tariff(spec: ModelSpec, own: Price | None, *, billing: bool = True) -> Tariff:
    """A model's price: the operator's own, completed from the catalogue's; nothing without billing."""
    if not billing:
        return replace(spec.tariff, price=0)
    if own is None:
        return spec.tariff
    return Tariff(micro(own.dollars), own.per or spec.tariff.per, own.most_seconds or spec.tariff.most_seconds)
