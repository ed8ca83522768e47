"""An account's requests of the last weeks and months, under the vendor's addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query
from pydantic import Field

from tintype.core import IMAGE_ROLES, STORED_INPUT
from tintype.errors import Forbidden
from tintype.store.accounts.keys import Key
from tintype.store.billing.reports import DAY, beginning
from tintype.store.db.records import Status
from tintype.store.queue.history import PENDING, Filter, Past, Sort
from tintype.store.store import Store
from tintype.store.webhooks.events import file_url
from tintype.web.auth import Reader
from tintype.web.declared import Allowed, Answer, SentQuery
from tintype.web.dependencies import BaseUrl, StoreDep
from tintype.web.openapi import errors
from tintype.web.query import Absent, Day, Page, PageQuery, WindowQuery
from tintype.web.threads import Threaded
from tintype.web.wire import Dollars, Id, Moment, Omittable, Paged, Url, exact

#: Days that a window spans by default, and at most; rows of a page by default.
DEFAULT_DAYS, MAX_HISTORY_DAYS, ROWS = 7, 31, 20

#: A request's status here: PENDING until it has ended.
PastStatus = Literal["COMPLETED", "FAILED", "PENDING"]
STATUSES: dict[PastStatus, tuple[Status, ...]] = {
    "COMPLETED": (Status.COMPLETED,),
    "FAILED": (Status.FAILED,),
    "PENDING": PENDING,
}
SortName = Literal["model_created", "model_name", "credits_deduction"]
SORTS: dict[SortName, Sort] = {"model_created": "submitted_at", "model_name": "slug", "credits_deduction": "cost"}
SlugPart = Annotated[str | Absent, Field(description="A part of the slug")]

router = APIRouter(prefix="/inference-request", route_class=Threaded, responses=errors(400, 401, 403), tags=["history"])


class OwnQuery(SentQuery):
    """Whose requests: there are no teams here, and a user is an account, which sees itself."""

    user_id: str | Absent = None
    user_email: str | Absent = None

    def check(self, key: Key) -> None:
        """Raises Forbidden for another account."""
        if self.user_id not in (None, key.account_id) or self.user_email:
            words = "This API key sees its own account's requests only: send neither user_id nor user_email"
            raise Forbidden(words)


class HistoryQuery(PageQuery, WindowQuery, OwnQuery):
    """Which requests, and in which order."""

    model_name: SlugPart = None
    status: PastStatus | Absent = None
    sort_by: SortName = "model_created"
    sort_order: Literal["desc", "asc"] = "desc"


class GenerationsQuery(OwnQuery):
    """Which completed requests."""

    page: Page = 1
    model_name: SlugPart = None
    start_date: Day = None
    end_date: Day = None


class RecentQuery(SentQuery):
    """Whose latest images."""

    model_name: Annotated[str, Allowed("the slug of a model")]


class HistoryRow(Answer):
    """A request of any age, with its cost, inputs and outcome."""

    request_id: Id
    model_name: str
    model_status: PastStatus
    status: PastStatus
    credits_deduction: Dollars
    request_body: dict[str, Any]
    parameters: dict[str, Any]
    prompt: str | None
    generation_url: Url | None
    """The first image's address; null once the files have expired."""
    generation_urls: list[Url]
    latency_ms: int | None
    """Milliseconds from its submit to its end."""
    model_created: Moment
    model_started: Moment | None
    model_completed: Moment | None
    error: Omittable[str] = None

    @classmethod
    def rows(cls, pasts: Sequence[Past], store: Store, base: str) -> list[Self]:
        """The requests as their account sees them."""
        there = store.images.there(pasts)
        return [cls.of(past, [file_url(one.output.name, base) for one in there[past.id]]) for past in pasts]

    @classmethod
    def of(cls, past: Past, images: list[str]) -> Self:
        """images: the addresses of those that are still there."""
        status = next(status for status, meant in STATUSES.items() if past.status in meant)
        params = sent_params(past)
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


class HistoryPage(Paged[HistoryRow]):
    """One page of requests."""


@router.get("/request-history", operation_id="listHistory", summary="Requests, failures included")
def history(key: Reader, store: StoreDep, base: BaseUrl, query: Annotated[HistoryQuery, Query()]) -> HistoryPage:
    """One page of the requests in a window of at most 31 days, each with its cost, inputs and outcome."""
    query.check(key)
    since, before = query.window(DEFAULT_DAYS, MAX_HISTORY_DAYS)
    rows, total = store.queue.history.page(
        Filter(
            account_id=key.account_id,
            since=since,
            before=before,
            model=query.model_name or "",
            statuses=STATUSES[query.status] if query.status else tuple(Status),
        ),
        size=query.per_page,
        page=query.page,
        sort=SORTS[query.sort_by],
        descending=query.sort_order == "desc",
    )
    return HistoryPage.of(HistoryRow.rows(rows, store, base), query.page, query.per_page, total)


@router.get(
    "/request-history/{request_id}", operation_id="getHistoryRow", summary="A request of any age", responses=errors(404)
)
def one(key: Reader, store: StoreDep, base: BaseUrl, request_id: str) -> HistoryRow:
    """The same row as in the list, whatever the request's age."""
    [row] = HistoryRow.rows([store.queue.history.find(request_id, key.account_id)], store, base)
    return row


@router.get("/generations", operation_id="listGenerations", summary="Completed requests")
def generations(
    key: Reader, store: StoreDep, base: BaseUrl, query: Annotated[GenerationsQuery, Query()]
) -> HistoryPage:
    """One page of the completed requests."""
    query.check(key)
    completed = Filter(
        account_id=key.account_id,
        since=None if query.start_date is None else beginning(query.start_date),
        before=None if query.end_date is None else beginning(query.end_date) + DAY,
        model=query.model_name or "",
        statuses=STATUSES["COMPLETED"],
    )
    rows, total = store.queue.history.page(completed, size=ROWS, page=query.page)
    return HistoryPage.of(HistoryRow.rows(rows, store, base), query.page, ROWS, total)


@router.get("/recent-generations", operation_id="listRecentGenerations", summary="A model's latest images")
def recent(key: Reader, store: StoreDep, base: BaseUrl, query: Annotated[RecentQuery, Query()]) -> HistoryPage:
    """The latest twenty of one model."""
    completed = Filter(account_id=key.account_id, model=query.model_name, statuses=STATUSES["COMPLETED"])
    rows, total = store.queue.history.page(completed, size=ROWS)
    return HistoryPage.of(HistoryRow.rows(rows, store, base), 1, ROWS, total)


def sent_params(past: Past) -> dict[str, Any]:
    """A request's parameters, in JSON; an image of the body wasn't stored as text."""
    hidden = {name: None for name in IMAGE_ROLES if str(past.params.get(name, "")).startswith(STORED_INPUT)}
    params: dict[str, Any] = exact(dict(past.params))
    return params | hidden
