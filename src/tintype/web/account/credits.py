"""An account: its credits, its ledger by row and by day, its usage by day and model, and its key's rights."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query
from pydantic import Field

from tintype.store.accounts.keys import Mode
from tintype.store.billing.reports import CHANGES, Posted
from tintype.store.db.records import Entry
from tintype.store.queue.history import DailyUsage, Filter
from tintype.web.auth import Caller, Reader
from tintype.web.declared import Answer
from tintype.web.dependencies import StoreDep
from tintype.web.openapi import errors
from tintype.web.query import MAX_USAGE_DAYS, PageQuery, WindowQuery
from tintype.web.threads import Threaded
from tintype.web.wire import DayNumber, Dollars, Id, Moment, Omittable, Paged

#: Days of a window.
DEFAULT_DAYS = 30

router = APIRouter(route_class=Threaded, responses=errors(401), tags=["account"])


class LedgerQuery(PageQuery):
    """Which rows of the ledger."""

    entries: Literal["balance", "all"] = "balance"


class LedgerRow(Answer):
    """A change of an account's money."""

    id: int
    kind: Entry
    amount: Dollars
    """Dollars that it adds to the balance."""
    held: Dollars
    """Dollars that it adds to what running requests hold."""
    balance: Dollars
    """Dollars after it."""
    request_id: Id | None
    key_id: Id | None
    note: str | None
    created_at: Moment

    @classmethod
    def of(cls, posted: Posted) -> Self:
        """The row as its account sees it."""
        line, after = posted
        return cls.from_record(line, amount=line.balance, balance=after)


class LedgerPage(Paged[LedgerRow]):
    """One page of the ledger, the newest row first."""


class LedgerDay(Answer):
    """One day, UTC: what was added to the balance and what was spent, and the balance at its end."""

    date: DayNumber
    given: Dollars
    taken: Dollars
    balance: Dollars


class LedgerDays(Answer):
    """Every day of a window."""

    days: list[LedgerDay]


class UsageSum(Answer):
    """Numbers of requests, those that have not ended included, and what they cost."""

    requests: int
    completed: int
    failed: int
    cost: Dollars

    @classmethod
    def of(cls, used: list[DailyUsage]) -> Self:
        """All of them together."""
        sums = {name: sum(getattr(one, name) for one in used) for name in UsageSum.model_fields}
        return cls(**sums)


class UsageRow(UsageSum):
    """The requests of one day (UTC) and model."""

    date: DayNumber
    model_name: str


class Usage(Answer):
    """A row per day and model that had requests, and their sum."""

    data: list[UsageRow]
    total: UsageSum


class Credits(Answer):
    """Dollars that may still be spent."""

    credits: Dollars
    free_credits: Dollars = Field(serialization_alias="free-credits")


class CallersKey(Answer):
    """The key that the call came with, and what it may do."""

    name: str
    hint: str
    read_only: bool
    models: list[str] | None
    mode: Mode
    operator: bool


class KeyOwner(Answer):
    """The account that a key belongs to; of a key that sees the server alone, nothing but the key."""

    id: Omittable[str] = None
    user_id: Omittable[str] = None
    name: Omittable[str] = None
    credits: Omittable[Dollars] = None
    api_key: CallersKey


@router.get(
    "/v2/ledger",
    operation_id="listLedger",
    summary="What changed the balance, the newest first",
    responses=errors(400, 403),
)
def ledger(key: Reader, store: StoreDep, query: Annotated[LedgerQuery, Query()]) -> LedgerPage:
    """One page of the account's ledger in dollars, each row with the balance after it.

    `entries=all` shows what running requests hold and release as well.
    """
    kinds = CHANGES if query.entries == "balance" else tuple(Entry)
    rows, total = store.billing.page(key.account_id, kinds, size=query.per_page, page=query.page)
    return LedgerPage.of(map(LedgerRow.of, rows), query.page, query.per_page, total)


@router.get(
    "/v2/ledger/days", operation_id="listLedgerDays", summary="The balance day by day", responses=errors(400, 403)
)
def days(key: Reader, store: StoreDep, query: Annotated[WindowQuery, Query()]) -> LedgerDays:
    """Every day (UTC) of a window of at most 366 days: credits added and spent, and the balance at its end."""
    found = store.billing.days(key.account_id, *query.window(DEFAULT_DAYS, MAX_USAGE_DAYS))
    return LedgerDays(days=[LedgerDay.from_record(day, date=day.number) for day in found])


@router.get(
    "/v2/usage",
    operation_id="getUsage",
    summary="Requests and their cost by day and by model",
    responses=errors(400, 403),
)
def usage(key: Reader, store: StoreDep, query: Annotated[WindowQuery, Query()]) -> Usage:
    """A sum per day (UTC) and model that had requests, and the sum of all, in a window of at most 366 days."""
    since, before = query.window(DEFAULT_DAYS, MAX_USAGE_DAYS)
    used = store.queue.history.usage(Filter(account_id=key.account_id, since=since, before=before))
    rows = [UsageRow.from_record(one, date=one.day, model_name=one.model) for one in used]
    return Usage(data=rows, total=UsageSum.of(used))


@router.get(
    "/v1/get-user-credits", operation_id="getCredits", summary="What the account may still spend", responses=errors(403)
)
def credits(key: Reader, store: StoreDep) -> Credits:
    """Dollars that are neither spent nor held by running requests."""
    return Credits(credits=store.accounts.remaining(key.account_id), free_credits=0)


@router.get("/api/auth/authenticate", operation_id="getKeyOwner", summary="Whose key this is")
def key_owner(key: Caller, store: StoreDep) -> KeyOwner:
    """The account, its credits, and what this key may do; of a key that sees the server alone, the last."""
    api_key = CallersKey.from_record(key, hint=key.begins)
    if key.server_only:
        return KeyOwner(api_key=api_key)
    account = store.accounts.account(key.account_id)
    credits = store.accounts.remaining(account.id)
    return KeyOwner(id=account.id, user_id=account.id, name=account.name, credits=credits, api_key=api_key)
