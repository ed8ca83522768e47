"""An account: its credits, its ledger by row and by day, its usage by day and model, and its key's rights."""

from __future__ import annotations

from typing import Literal, Self

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field

from tintype.store.billing.reports import CHANGES, Posted
from tintype.store.db.records import Entry
from tintype.store.queue.history import DailyUsage, Filter
from tintype.web.auth import Caller, Reader
from tintype.web.openapi import describe_call, describe_query
from tintype.web.query import Query, describe
from tintype.web.services import services
from tintype.web.threads import Threaded
from tintype.web.wire import Absent, Answer, DayNumber, Dollars, Moment, Page

#: Days of a window by default, and at most; rows of a page.
DEFAULT_DAYS, MAX_DAYS, ROWS = 30, 366, 20
ENTRIES = {"balance": CHANGES, "all": tuple(Entry)}
WINDOW = [*map(describe, ("from_date", "to_date"))]


def account_router() -> APIRouter:
    """Reading one's own account."""
    router = APIRouter(route_class=Threaded)
    rows = [*map(describe, ("page", "per_page", "entries"))]
    for path, endpoint, words in (
        ("/v2/ledger", ledger, describe_query("What changed the balance, the newest first", rows, 400)),
        ("/v2/ledger/days", days, describe_query("The balance day by day", WINDOW, 400)),
        ("/v2/usage", usage, describe_query("Requests and their cost by day and by model", WINDOW, 400)),
        ("/v1/get-user-credits", credits, describe_call("What the account may still spend")),
    ):
        router.add_api_route(path, endpoint, methods=["GET"], **words)
    words = describe_call("Whose key this is")
    router.add_api_route("/api/auth/authenticate", key_owner, methods=["GET"], name="whoever", **words)
    return router


class LedgerRow(Answer):
    """A change of an account's money."""

    id: int
    kind: Entry
    amount: Dollars
    """What it adds to the balance."""
    held: Dollars
    """What it adds to what running requests hold."""
    balance: Dollars
    """The balance after it."""
    request_id: str | None
    key_id: str | None
    note: str | None
    created_at: Moment

    @classmethod
    def of(cls, posted: Posted) -> Self:
        """The row as its account sees it."""
        line, after = posted
        return cls.from_record(line, amount=line.balance, balance=after)


class LedgerPage(Page[LedgerRow]):
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
    mode: Literal["live", "test"]
    operator: bool


class KeyOwner(Answer):
    """The account that a key belongs to; of a key that sees the server alone, nothing but the key."""

    id: Absent[str] = None
    user_id: Absent[str] = None
    name: Absent[str] = None
    credits: Absent[Dollars] = None
    api_key: CallersKey


def ledger(http: HttpRequest, key: Reader) -> LedgerPage:
    """One page of the account's ledger in dollars, each row with the balance after it.

    `entries=all` shows what running requests hold and release as well.
    """
    query = Query(http.query_params)
    page, size = query.page(), query.number("per_page", ROWS, 100)
    kinds = query.choice("entries", ENTRIES, "balance")
    rows, total = services(http).store.billing.page(key.account_id, kinds, size=size, page=page)
    return LedgerPage.of(map(LedgerRow.of, rows), page, size, total)


def days(http: HttpRequest, key: Reader) -> LedgerDays:
    """Every day (UTC) of a window of at most 366 days: credits added and spent, and the balance at its end."""
    since, before = Query(http.query_params).window("from_date", "to_date", days=DEFAULT_DAYS, max_days=MAX_DAYS)
    found = services(http).store.billing.days(key.account_id, since, before)
    return LedgerDays(days=[LedgerDay.from_record(day, date=day.number) for day in found])


def usage(http: HttpRequest, key: Reader) -> Usage:
    """A sum per day (UTC) and model that had requests, and the sum of all, in a window of at most 366 days."""
    since, before = Query(http.query_params).window("from_date", "to_date", days=DEFAULT_DAYS, max_days=MAX_DAYS)
    used = services(http).store.queue.history.usage(Filter(account_id=key.account_id, since=since, before=before))
    rows = [UsageRow.from_record(one, date=one.day, model_name=one.model) for one in used]
    return Usage(data=rows, total=UsageSum.of(used))


def credits(http: HttpRequest, key: Reader) -> Credits:
    """Dollars that are neither spent nor held by running requests."""
    return Credits(credits=services(http).store.accounts.remaining(key.account_id), free_credits=0)


def key_owner(http: HttpRequest, key: Caller) -> KeyOwner:
    """The account, its credits, and what this key may do; of a key that sees the server alone, the last."""
    own, api_key = services(http).store.accounts, CallersKey.from_record(key, hint=key.begins)
    if key.server_only:
        return KeyOwner(api_key=api_key)
    account = own.account(key.account_id)
    remaining = own.remaining(account.id)
    return KeyOwner(id=account.id, user_id=account.id, name=account.name, credits=remaining, api_key=api_key)
