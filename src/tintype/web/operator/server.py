"""For operators: the server's state, queue control, draining workers, the audit log, and usage of all accounts."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal, Self

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field

from tintype.store.billing.reports import SPLITS, AccountUsage, By, Window, beginning, period
from tintype.store.db.audit import ACTS, THINGS
from tintype.store.ops.autoscaler import waits, wanted
from tintype.store.ops.metrics import Bucket
from tintype.store.ops.processes import WorkerRow, WorkerState
from tintype.web.auth import Auditor, Observer, Operator
from tintype.web.openapi import describe_call, describe_query
from tintype.web.query import MAX_MINUTES, MAX_ROWS, Query, describe
from tintype.web.services import Services, services
from tintype.web.threads import Threaded
from tintype.web.wire import Answer, Dollars, Moment, Page

#: Days of a window, at most; rows of a page.
MAX_DAYS, ROWS = 366, 20
BYS: dict[str, By | None] = {"": None, **{by: by for by in SPLITS}}
#: One act, or all acts on a kind of thing.
ACT_FILTERS = {act: act for act in ("", *THINGS, *ACTS)}
PAGE = ("page", "per_page")


class ServerInfo(Answer):
    """A web process."""

    id: str
    version: str
    state: Literal["serving", "silent", "stopped"]
    started_at: Moment
    seen_at: Moment


class RunInfo(Answer):
    """A request that a worker runs: its images, and the steps done and in all."""

    request_id: str
    model: str
    count: int = Field(serialization_alias="pictures")
    step: int
    steps: int


class WorkerInfo(Answer):
    """A worker: what it does, and what it has done since its start."""

    id: str
    version: str
    device: str
    state: WorkerState
    paused: str | None
    """Why it takes no requests although it wasn't drained."""
    started_at: Moment
    seen_at: Moment
    drain_at: Moment | None
    runs: list[RunInfo]
    models: list[str]
    memory: dict[str, int]
    """Bytes by kind."""
    rows: float | None
    """Rows per forward pass, of the last ones."""
    max_rows: int
    """Rows that would fit into one."""
    step_seconds: float | None
    """Seconds of one, of the last ones."""
    forward_passes: int
    cold_starts: int
    cold_seconds: float

    @classmethod
    def of(cls, worker: WorkerRow, moment: float) -> Self:
        """The worker at this moment."""
        report = worker.report
        return cls.from_record(
            worker,
            state=worker.state(moment),
            runs=[RunInfo.from_record(one) for one in report.running],
            models=[*report.models],
            memory=dict(report.memory),
            rows=report.rows,
            step_seconds=report.step_seconds,
            cold_seconds=round(worker.cold_seconds, 3),
        )


class PauseState(Answer):
    """Whether the queue is paused, and since when."""

    paused: bool
    paused_at: Moment | None

    @classmethod
    def of(cls, services: Services) -> Self:
        """At this moment."""
        since = services.store.queue.paused_since()
        return cls(paused=since is not None, paused_at=since)


class QueueState(PauseState):
    """The requests that have not ended, and the age of the oldest in seconds."""

    queued: int
    running: int
    oldest_seconds: float | None


class FleetState(Answer):
    """How many workers the autoscaler of a Ray fleet wants, and why some have no machine."""

    wanted: int
    waits: str | None


class Overview(Answer):
    """The server's state at a moment."""

    at: Moment
    queue: QueueState
    fleet: FleetState | None
    servers: list[ServerInfo]
    workers: list[WorkerInfo]


class BucketInfo(Answer):
    """A bucket of the time series: the maximum of each gauge, null where nothing measured it, and sums."""

    at: Moment
    queued: int | None
    running: int | None
    workers: int | None
    memory: int | None
    device_memory: int | None
    fill: float | None
    """How full the forward passes were, from 0 to 1."""
    step_seconds: float | None
    """Seconds of one forward pass."""
    cold_starts: int
    cold_seconds: float
    completed: int
    failed: int
    refused: int
    cancelled: int
    error_rate: float | None
    """Part of the requests that failed by this server's fault, from 0 to 1."""


class Samples(Answer):
    """The time series, the oldest bucket first; it may have gaps."""

    at: Moment
    seconds: int
    """Of a bucket."""
    samples: list[BucketInfo]


class AuditRow(Answer):
    """An act, and by whom."""

    at: Moment
    last_at: Moment
    """When it was done last: repetitions within an hour are one row."""
    times: int
    act: str
    who: str
    """A key's name and how it begins; at the command line, the system's user and host."""
    address: str | None
    via: Literal["api", "cli", "server"]
    by_account: str | None
    by_key: str | None
    target: str
    """The id of what was changed."""
    account: str | None
    """The target's."""
    details: dict[str, Any]


class AuditPage(Page[AuditRow]):
    """One page of the audit log, the newest act first."""


class UsageOfAccount(Answer):
    """What an account, or a part of it, used."""

    account: str
    name: str
    mode: Literal["live", "test"]
    part: str | None
    """The day, month, model, or id of a key; null without `by`."""
    key: str | None
    charged: int
    cost: Dollars
    uncharged: int
    completed: int | None
    failed: int | None


class UsageOfAccounts(Page[UsageOfAccount]):
    """One page of what accounts used from one day to another, and the sums of all pages."""

    since: date = Field(serialization_alias="from")
    until: date = Field(serialization_alias="to")
    total_charged: int
    total_cost: Dollars
    total_uncharged: int


class DrainedWorker(Answer):
    """A worker that takes no more requests."""

    id: str
    drain_at: Moment | None


class RecalledWorker(Answer):
    """A drained worker whose place is filled again."""

    id: str


def operator_router() -> APIRouter:
    router = APIRouter(prefix="/v2/operator", route_class=Threaded)
    overview_words = describe_call("The queue and the workers", 403)
    samples_words = describe_query("The last minutes in figures, for plots", [describe("minutes")], 400, 403)
    router.add_api_route("", overview, methods=["GET"], **overview_words)
    router.add_api_route("/samples", samples, methods=["GET"], **samples_words)
    for path, table, summary, names in (
        ("/audit", audit, "Who did what, the newest first", ("since", "act", "account", *PAGE)),
        ("/usage", usage, "What accounts used", ("from", "to", "account", "by", *PAGE)),
    ):
        read = describe_query(summary, [*map(describe, names)], 400, 403, 404)
        router.add_api_route(path, table, methods=["GET"], **read)
    for path, endpoint, words in (
        ("/queue/pause", pause, describe_call("Pause the queue", 403)),
        ("/queue/resume", resume, describe_call("Let the queue go on", 403)),
        ("/workers/{worker_id}/drain", drain, describe_call("Drain a worker", 400, 403, 404)),
        ("/workers/{worker_id}/recall", recall, describe_call("Fill a drained worker's place again", 400, 403, 404)),
    ):
        router.add_api_route(path, endpoint, methods=["POST"], **words)
    return router


def overview(http: HttpRequest, _key: Observer) -> Overview:
    """The queue and every worker, with the requests that each runs; no prompts and no names of accounts."""
    own = services(http)
    moment, known = own.store.ops.workers.shown()
    servers = [ServerInfo.from_record(one, state=one.state(moment)) for one in own.store.ops.servers.shown()[1]]
    workers = [WorkerInfo.of(worker, moment) for worker in known]
    return Overview(at=moment, queue=_queue(own), fleet=_fleet(own), servers=servers, workers=workers)


def samples(http: HttpRequest, _key: Observer) -> Samples:
    """The time series of the last `minutes` (60 by default), the oldest first; it may have gaps."""
    minutes = Query(http.query_params).number("minutes", 60, MAX_MINUTES)
    moment, seconds, found = services(http).store.ops.time_series.series(minutes * 60)
    return Samples(at=moment, seconds=seconds, samples=[*map(_bucket, found)])


def audit(http: HttpRequest, _key: Auditor) -> AuditPage:
    """One page of the acts of operators, and of accounts about their keys and webhooks.

    `since` is a day, UTC; `act` one act, or all acts on a kind of thing; `account` the one that acted or was changed.
    """
    query = Query(http.query_params)
    page, size, day = query.page(), query.number("per_page", ROWS, MAX_ROWS), query.day("since")
    meant = {"act": query.choice("act", ACT_FILTERS, ""), "account_id": query.text("account")}
    since = None if day is None else beginning(day)
    found, total = services(http).store.audit.page(size=size, page=page, since=since, **meant)
    rows = (AuditRow.from_record(one, account=one.account_id) for one in found)
    return AuditPage.of(rows, page, size, total)


def usage(http: HttpRequest, _key: Auditor) -> UsageOfAccounts:
    """What each account used from one day to another (UTC, both included; this month), and the sum of all pages.

    Charges are the ledger's, which never expires. `completed` and `failed` are null where requests have expired.
    """
    query = Query(http.query_params)
    first, last = period(query.day("from"), query.day("to"), ("from", "to"), MAX_DAYS)
    by, page, size = query.choice("by", BYS, ""), query.page(), query.number("per_page", ROWS, MAX_ROWS)
    account = query.text("account")
    used, total = services(http).store.billing.usage(Window.of(first, last), by, account, size=size, page=page)
    sums = {"total_charged": total.charged, "total_cost": total.cost, "total_uncharged": total.uncharged}
    return UsageOfAccounts.of(map(_used, used), page, size, total.rows, since=first, until=last, **sums)


def pause(http: HttpRequest, _key: Operator) -> PauseState:
    """Workers claim no more requests; running ones go on, submitted ones wait, and those of test keys still run."""
    own = services(http)
    own.store.queue.pause()
    return PauseState.of(own)


def resume(http: HttpRequest, _key: Operator) -> PauseState:
    """Workers claim requests again, in the same order as without the pause."""
    own = services(http)
    own.store.queue.resume()
    return PauseState.of(own)


def drain(http: HttpRequest, _key: Operator, worker_id: str) -> DrainedWorker:
    """A worker claims no more requests, finishes its own, and stops; its place stays empty until it is recalled."""
    return DrainedWorker.from_record(services(http).store.ops.workers.drain(worker_id))


def recall(http: HttpRequest, _key: Operator, worker_id: str) -> RecalledWorker:
    """The server starts a new worker in place of the drained one, once that has stopped."""
    return RecalledWorker(id=services(http).store.ops.workers.recall(worker_id))


def _queue(own: Services) -> QueueState:
    queued, running, oldest = own.store.queue.depth()
    return QueueState.from_record(PauseState.of(own), queued=queued, running=running, oldest_seconds=oldest)


def _fleet(own: Services) -> FleetState | None:
    """None without a Ray fleet."""
    with own.store.db.read() as view:
        number, why = wanted(view), waits(view)
    return None if number is None else FleetState(wanted=number, waits=why or None)


def _bucket(one: Bucket) -> BucketInfo:
    return BucketInfo.from_record(one, step_seconds=one.seconds_per_step, cold_seconds=round(one.cold_seconds, 3))


def _used(one: AccountUsage) -> UsageOfAccount:
    return UsageOfAccount.from_record(one, account=one.account_id, mode="test" if one.test else "live")
