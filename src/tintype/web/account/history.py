"""An account's requests of the last weeks and months, under the vendor's addresses."""

from __future__ import annotations

from typing import Any, Literal, Self

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.core import IMAGE_ROLES, STORED_INPUT
from tintype.errors import Forbidden, MissingParameter, NotFound
from tintype.store.accounts.keys import Key
from tintype.store.billing.reports import beginning
from tintype.store.db.records import Status
from tintype.store.queue.history import PENDING, Filter, Past, Sort
from tintype.store.webhooks.events import file_url
from tintype.web.auth import Reader
from tintype.web.clients import base_url
from tintype.web.generate.answers import exact
from tintype.web.openapi import describe_call, describe_query
from tintype.web.query import MAX_ROWS, MAX_WINDOW, Query, describe
from tintype.web.services import Services, services
from tintype.web.threads import Threaded
from tintype.web.wire import Absent, Answer, Dollars, Moment, Page

#: Days that a window of the history spans when none is given, and rows of a page.
DEFAULT_DAYS = 7
DEFAULT_ROWS = 20
#: A request's status here: PENDING until it has ended.
PastStatus = Literal["COMPLETED", "FAILED", "PENDING"]
STATUSES: dict[str, tuple[Status, ...]] = {
    "COMPLETED": (Status.COMPLETED,),
    "FAILED": (Status.FAILED,),
    "PENDING": PENDING,
}
SORTS: dict[str, Sort] = {"model_created": "submitted_at", "model_name": "slug", "credits_deduction": "cost"}
ORDERS = {"desc": True, "asc": False}

#: What each route takes, for `/openapi.json`.
WHOSE = ("user_id", "user_email")
DATES = ("from_date", "to_date")
HISTORY = [*map(describe, ("page", "per_page", *DATES, "model_name", "status", "sort_by", "sort_order", *WHOSE))]
RECENT = [describe("model_name", required=True)]
GENERATIONS = [*map(describe, ("page", "model_name", "start_date", "end_date", "user_id"))]


class HistoryRow(Answer):
    """A request of any age, with its cost, inputs and outcome."""

    request_id: str
    model_name: str
    model_status: PastStatus
    status: PastStatus
    credits_deduction: Dollars
    request_body: dict[str, Any]
    parameters: dict[str, Any]
    prompt: str | None
    generation_url: str | None
    """The first image's address; null once the files have expired."""
    generation_urls: list[str]
    latency_ms: int | None
    model_created: Moment
    model_started: Moment | None
    model_completed: Moment | None
    error: Absent[str] = None

    @classmethod
    def of(cls, past: Past, images: list[str]) -> Self:
        """The request as its account sees it. images: the addresses of those that are still there."""
        status = next(status for status, meant in STATUSES.items() if past.status in meant)
        params = _params(past)
        return cls(
            request_id=past.id,
            model_name=past.slug,
            model_status=status,
            status=status,
            credits_deduction=past.cost or 0,
            request_body=params,
            parameters=params,
            prompt=params.get("prompt"),
            generation_url=images[0] if images else None,
            generation_urls=images,
            latency_ms=None if past.ended_at is None else round((past.ended_at - past.submitted_at) * 1000),
            model_created=past.submitted_at,
            model_started=past.started_at,
            model_completed=past.ended_at,
            error=past.error,
        )


class HistoryPage(Page[HistoryRow]):
    """One page of requests."""


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


def listed(http: HttpRequest, key: Reader) -> HistoryPage:
    """One page of the requests in a window of at most 31 days, each with its cost, inputs and outcome."""
    query = Query(http.query_params)
    _own_only(query, key)
    since, before = query.window("from_date", "to_date", days=DEFAULT_DAYS, max_days=MAX_WINDOW)
    statuses = query.choice("status", {"": tuple(Status), **STATUSES}, "")
    filter = Filter(
        account_id=key.account_id, since=since, before=before, model=query.text("model_name"), statuses=statuses
    )
    size, sort = query.number("per_page", DEFAULT_ROWS, MAX_ROWS), query.choice("sort_by", SORTS, "model_created")
    return _page(http, query, filter, size, sort, query.choice("sort_order", ORDERS, "desc"))


def one(http: HttpRequest, key: Reader, request_id: str) -> HistoryRow:
    """The same row as in the list, whatever the request's age."""
    own = services(http)
    return _row(own, own.store.queue.history.find(request_id, key.account_id), base_url(http, own.settings))


def generations(http: HttpRequest, key: Reader) -> HistoryPage:
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


def recent(http: HttpRequest, key: Reader) -> HistoryPage:
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
) -> HistoryPage:
    own, base, page = services(http), base_url(http, services(http).settings), query.page()
    rows, total = own.store.queue.history.page(meant, size=size, page=page, sort=sort, descending=descending)
    return HistoryPage.of((_row(own, row, base) for row in rows), page, size, total)


def _row(own: Services, past: Past, base: str) -> HistoryRow:
    outputs = () if past.result is None else past.result.outputs
    return HistoryRow.of(past, [file_url(one.name, base) for one in outputs if _is_there(own, one.name)])


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
