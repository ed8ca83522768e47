"""An account's requests of the last weeks and months, under the vendor's addresses."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.core import IMAGE_ROLES, STORED_INPUT
from tintype.errors import Forbidden, MissingParameter, NotFound
from tintype.store.accounts.keys import Key
from tintype.store.billing.ledger import dollars
from tintype.store.billing.reports import beginning
from tintype.store.db.records import Status
from tintype.store.queue.history import PENDING, Filter, Past, Sort
from tintype.store.webhooks.events import file_url
from tintype.web.auth import Reader
from tintype.web.clients import base_url
from tintype.web.generate.answers import exact, utc
from tintype.web.openapi import describe_call, describe_query
from tintype.web.query import MAX_ROWS, MAX_WINDOW, Query, describe, paged
from tintype.web.services import Services, services
from tintype.web.threads import Threaded

#: Days that a window of the history spans when none is given, and rows of a page.
DEFAULT_DAYS = 7
DEFAULT_ROWS = 20
STATUSES = {
    "COMPLETED": (Status.COMPLETED,),
    "FAILED": (Status.FAILED,),
    "PENDING": PENDING,
    "": tuple(Status),
}
SORTS: dict[str, Sort] = {"model_created": "submitted_at", "model_name": "slug", "credits_deduction": "cost"}
ORDERS = {"desc": True, "asc": False}

#: What each route takes, for `/openapi.json`.
WHOSE = ("user_id", "user_email")
DATES = ("from_date", "to_date")
HISTORY = [*map(describe, ("page", "per_page", *DATES, "model_name", "status", "sort_by", "sort_order", *WHOSE))]
RECENT = [describe("model_name", required=True)]
GENERATIONS = [*map(describe, ("page", "model_name", "start_date", "end_date", "user_id"))]


def history_router() -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/inference-request", route_class=Threaded)
    for path, endpoint, words in (
        ("/request-history", listed, describe_query("Requests, failures included", HISTORY, 400, 403)),
        ("/request-history/{request_id}", one, describe_call("A request of any age", 400, 404)),
        ("/generations", generations, describe_query("Completed requests", GENERATIONS, 400, 403)),
        ("/recent-generations", recent, describe_query("A model's latest images", RECENT, 400)),
    ):
        router.add_api_route(path, endpoint, methods=["GET"], **words)
    return router


def listed(http: HttpRequest, key: Reader) -> dict[str, Any]:
    """One page of the requests in a window of at most 31 days, each with its cost, inputs and outcome."""
    query = Query(http.query_params)
    _own_only(query, key)
    since, before = query.window("from_date", "to_date", days=DEFAULT_DAYS, max_days=MAX_WINDOW)
    statuses = query.choice("status", STATUSES, "")
    filter = Filter(
        account_id=key.account_id, since=since, before=before, model=query.text("model_name"), statuses=statuses
    )
    size, sort = query.number("per_page", DEFAULT_ROWS, MAX_ROWS), query.choice("sort_by", SORTS, "model_created")
    return _page(http, query, filter, size, sort, query.choice("sort_order", ORDERS, "desc"))


def one(http: HttpRequest, key: Reader, request_id: str) -> dict[str, Any]:
    """The same row as in the list, whatever the request's age."""
    own = services(http)
    return _row(own, own.store.queue.history.find(request_id, key.account_id), base_url(http, own.settings))


def generations(http: HttpRequest, key: Reader) -> dict[str, Any]:
    """One page of the completed requests."""
    query = Query(http.query_params)
    _own_only(query, key)
    first, last = query.day("start_date"), query.day("end_date")
    filter = Filter(
        account_id=key.account_id,
        since=None if first is None else beginning(first),
        before=None if last is None else beginning(last) + 86_400,
        model=query.text("model_name"),
        statuses=(Status.COMPLETED,),
    )
    return _page(http, query, filter)


def recent(http: HttpRequest, key: Reader) -> dict[str, Any]:
    """The latest twenty of one model."""
    query = Query(http.query_params)
    if not query.text("model_name"):
        raise MissingParameter("model_name", "the slug of a model")
    filter = Filter(account_id=key.account_id, model=query.text("model_name"), statuses=(Status.COMPLETED,))
    return _page(http, Query({}), filter)


def _page(
    http: HttpRequest,
    query: Query,
    meant: Filter,
    size: int = DEFAULT_ROWS,
    sort: Sort = "submitted_at",
    descending: bool = True,
) -> dict[str, Any]:
    own, base, page = services(http), base_url(http, services(http).settings), query.page()
    rows, total = own.store.queue.history.page(meant, size=size, page=page, sort=sort, descending=descending)
    data = [_row(own, row, base) for row in rows]
    return {"data": data, **paged(page, size, total)}


def _row(own: Services, past: Past, base: str) -> dict[str, Any]:
    status = "PENDING" if past.status in PENDING else past.status.value
    made = [*_kept(own, past, base)]
    failed = {"error": past.error} if past.status is Status.FAILED else {}
    return {
        "request_id": past.id,
        "model_name": past.slug,
        "model_status": status,
        "status": status,
        "credits_deduction": dollars(past.cost or 0),
        "request_body": (params := _params(past)),
        "parameters": params,
        "prompt": params.get("prompt"),
        # Null once the files have expired.
        "generation_url": made[0] if made else None,
        "generation_urls": made,
        "latency_ms": None if past.ended_at is None else round((past.ended_at - past.submitted_at) * 1000),
        "model_created": utc(past.submitted_at),
        "model_started": utc(past.started_at),
        "model_completed": utc(past.ended_at),
        **failed,
    }


def _kept(own: Services, past: Past, base: str) -> list[str]:
    """Addresses of those images that are still there."""
    outputs = () if past.result is None else past.result.outputs
    return [file_url(one.name, base) for one in outputs if _is_there(own, one.name)]


def _is_there(own: Services, name: str) -> bool:
    try:
        own.outputs.size(name)
    except NotFound:
        return False
    return True


def _params(past: Past) -> dict[str, Any]:
    """The parameters; an image of the body wasn't stored as text."""
    hidden = {name: None for name in IMAGE_ROLES if str(past.params.get(name, "")).startswith(STORED_INPUT)}
    params: dict[str, Any] = exact(dict(past.params))
    return params | hidden


def _own_only(query: Query, key: Key) -> None:
    """There are no teams here: a user is an account, which sees itself."""
    if query.text("user_id", key.account_id) != key.account_id or query.text("user_email"):
        raise Forbidden("This API key sees its own account's requests only: send neither user_id nor user_email")
