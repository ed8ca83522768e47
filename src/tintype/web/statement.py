"""What an account had, paid and used: its ledger row by row and day by day, and its requests by day and model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.store.billing.money import dollars
from tintype.store.billing.reports import CHANGES, DAY, Posted
from tintype.store.db.records import Entry
from tintype.store.queue.history import Filter
from tintype.web.answers import utc
from tintype.web.auth import Reader
from tintype.web.openapi import describe_query
from tintype.web.query import Query, describe, paged
from tintype.web.services import services
from tintype.web.threads import Threaded

#: Days of a window when none is given, and at most; rows of a page.
USUAL, MOST, ROWS = 30, 366, 20
ENTRIES = {"balance": CHANGES, "all": tuple(Entry)}
WINDOW = [*map(describe, ("from_date", "to_date"))]


def statement_router() -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/v2", route_class=Threaded)
    rows = [*map(describe, ("page", "per_page", "entries"))]
    for path, endpoint, words in (
        ("/ledger", ledger, describe_query("What changed the balance, the newest first", rows, 400)),
        ("/ledger/days", days, describe_query("The balance day by day", WINDOW, 400)),
        ("/usage", usage, describe_query("Requests and their cost by day and by model", WINDOW, 400)),
    ):
        router.add_api_route(path, endpoint, methods=["GET"], **words)
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
    """Every day (UTC) of a window of at most 366 days: what was given and spent, and the balance at its end."""
    since, before = Query(http.query_params).window("from_date", "to_date", days=USUAL, most=MOST)
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
    since, before = Query(http.query_params).window("from_date", "to_date", days=USUAL, most=MOST)
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
