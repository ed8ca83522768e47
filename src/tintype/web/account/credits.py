"""An account: its credits, its ledger by row and by day, its usage by day and model, and its key's rights."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.store.billing.ledger import dollars
from tintype.store.billing.reports import CHANGES, DAY, Posted
from tintype.store.db.records import Entry
from tintype.store.queue.history import Filter
from tintype.web.auth import Caller, Reader
from tintype.web.generate.answers import utc
from tintype.web.openapi import describe_call, describe_query
from tintype.web.query import Query, describe, paged
from tintype.web.services import services
from tintype.web.threads import Threaded

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


def ledger(http: HttpRequest, key: Reader) -> dict[str, Any]:
    """One page of the account's ledger in dollars, each row with the balance after it.

    `entries=all` shows what running requests hold and release as well.
    """
    query = Query(http.query_params)
    page, size = query.page(), query.number("per_page", ROWS, 100)
    kinds = query.choice("entries", ENTRIES, "balance")
    rows, total = services(http).store.billing.page(key.account_id, kinds, size=size, page=page)
    return {"data": [*map(_row, rows)], **paged(page, size, total)}


def days(http: HttpRequest, key: Reader) -> dict[str, Any]:
    """Every day (UTC) of a window of at most 366 days: credits added and spent, and the balance at its end."""
    since, before = Query(http.query_params).window("from_date", "to_date", days=DEFAULT_DAYS, max_days=MAX_DAYS)
    found = services(http).store.billing.days(key.account_id, since, before)
    return {
        "days": [
            {
                "date": _date(day.number),
                "given": dollars(day.given),
                "taken": dollars(day.taken),
                "balance": dollars(day.balance),
            }
            for day in found
        ]
    }


def usage(http: HttpRequest, key: Reader) -> dict[str, Any]:
    """A sum per day (UTC) and model that had requests, and the sum of all, in a window of at most 366 days."""
    since, before = Query(http.query_params).window("from_date", "to_date", days=DEFAULT_DAYS, max_days=MAX_DAYS)
    used = services(http).store.queue.history.usage(Filter(account_id=key.account_id, since=since, before=before))
    total = {
        "requests": sum(one.requests for one in used),
        "completed": sum(one.completed for one in used),
        "failed": sum(one.failed for one in used),
        "cost": dollars(sum(one.cost for one in used)),
    }
    rows = [
        {
            "date": _date(one.day),
            "model_name": one.model,
            "requests": one.requests,
            "completed": one.completed,
            "failed": one.failed,
            "cost": dollars(one.cost),
        }
        for one in used
    ]
    return {"data": rows, "total": total}


def credits(http: HttpRequest, key: Reader) -> dict[str, float]:
    """Dollars that are neither spent nor held by running requests."""
    own = services(http)
    return {"credits": dollars(own.store.accounts.remaining(key.account_id)), "free-credits": 0.0}


def key_owner(http: HttpRequest, key: Caller) -> dict[str, Any]:
    """The account, its credits, and what this key may do; of a key that sees the server alone, the last."""
    own = services(http).store.accounts
    may = {"name": key.name, "hint": key.begins, "read_only": key.read_only, "models": key.models, "mode": key.mode}
    may["operator"] = key.operator
    if key.server_only:
        return {"api_key": may}
    account = own.account(key.account_id)
    owner = {"id": account.id, "user_id": account.id, "name": account.name}
    return {**owner, "credits": dollars(own.remaining(account.id)), "api_key": may}


def _row(posted: Posted) -> dict[str, Any]:
    line, after = posted
    return {
        "id": line.id,
        "kind": line.kind,
        "amount": dollars(line.balance),
        "held": dollars(line.held),
        "balance": dollars(after),
        "request_id": line.request_id,
        "key_id": line.key_id,
        "note": line.note,
        "created_at": utc(line.created_at),
    }


def _date(number: int) -> str:
    return datetime.fromtimestamp(number * DAY, UTC).date().isoformat()
