"""For operators: the server's state, queue control, draining workers, the audit log, and usage of all accounts."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field

from tintype.store.accounts.keys import Mode
from tintype.store.billing.reports import AccountUsage, By, Window, beginning, period
from tintype.store.db.audit import ACTS, THINGS, Via
from tintype.store.ops.autoscaler import waits, wanted
from tintype.store.ops.metrics import TTL, Bucket
from tintype.store.ops.processes import ServerState, WorkerRow, WorkerState
from tintype.store.store import Store
from tintype.web.auth import Auditor, Observer, Operator
from tintype.web.declared import Allowed, Answer, SentQuery
from tintype.web.dependencies import StoreDep
from tintype.web.openapi import errors
from tintype.web.query import DIGITS, MAX_USAGE_DAYS, Absent, Day, PageQuery
from tintype.web.threads import Threaded
from tintype.web.wire import Dollars, Id, Moment, Paged

#: One act, or all acts on a kind of thing.
ACT_FILTERS = (*THINGS, *ACTS)

router = APIRouter(prefix="/v2/operator", route_class=Threaded, responses=errors(401, 403), tags=["operator"])


def _known(act: str | None) -> str | None:
    if act is not None and act not in ACT_FILTERS:
        raise ValueError("unknown act")
    return act


ActFilter = Annotated[
    str | Absent,
    AfterValidator(_known),
    Allowed("one of " + ", ".join(ACT_FILTERS)),
    Field(json_schema_extra={"enum": [*ACT_FILTERS]}),
]


class SamplesQuery(SentQuery):
    """For how long."""

    minutes: Annotated[int, Field(ge=1, le=TTL // 60), DIGITS] = 60


class AuditQuery(PageQuery):
    """Which acts."""

    since: Day = None
    act: ActFilter = None
    account: str | Absent = None


class AccountsQuery(PageQuery):
    """Whose usage, and split by what."""

    first: Annotated[Day, Field(alias="from")] = None
    last: Annotated[Day, Field(alias="to")] = None
    account: str | Absent = None
    by: By | Absent = None


class ServerInfo(Answer):
    """A web process."""

    id: str
    version: str
    state: ServerState
    started_at: Moment
    seen_at: Moment


class RunInfo(Answer):
    """A request that a worker runs: its images, and the steps done and in all."""

    request_id: Id
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
    def of(cls, store: Store) -> Self:
        """At this moment."""
        since = store.queue.paused_since()
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
    """Bytes of the workers' processes."""
    device_memory: int | None
    """Bytes that they have reserved on their devices."""
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

    @classmethod
    def of(cls, one: Bucket) -> Self:
        """The bucket, or several together."""
        return cls.from_record(one, step_seconds=one.seconds_per_step, cold_seconds=round(one.cold_seconds, 3))


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
    via: Via
    by_account: str | None
    by_key: str | None
    target: str
    """The id of what was changed."""
    account: str | None
    """The target's."""
    details: dict[str, Any]


class AuditPage(Paged[AuditRow]):
    """One page of the audit log, the newest act first."""


class UsageOfAccount(Answer):
    """What an account, or a part of it, used."""

    account: str
    name: str
    mode: Mode
    part: str | None
    """The day, month, model, or id of a key; null without `by`."""
    key: str | None
    charged: int
    cost: Dollars
    uncharged: int
    completed: int | None
    failed: int | None

    @classmethod
    def of(cls, one: AccountUsage) -> Self:
        """The row as operators see it."""
        return cls.from_record(one, account=one.account_id, mode="test" if one.test else "live")


class UsageOfAccounts(Paged[UsageOfAccount]):
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


@router.get("", operation_id="getOverview", summary="The queue and the workers")
def overview(_key: Observer, store: StoreDep) -> Overview:
    """The queue and every worker, with the requests that each runs; no prompts and no names of accounts."""
    moment, known = store.ops.workers.shown()
    queued, running, oldest = store.queue.depth()
    return Overview(
        at=moment,
        queue=QueueState.from_record(PauseState.of(store), queued=queued, running=running, oldest_seconds=oldest),
        fleet=_fleet(store),
        servers=[ServerInfo.from_record(one, state=one.state(moment)) for one in store.ops.servers.shown()[1]],
        workers=[WorkerInfo.of(worker, moment) for worker in known],
    )


@router.get(
    "/samples", operation_id="getSamples", summary="The last minutes in figures, for plots", responses=errors(400)
)
def samples(_key: Observer, store: StoreDep, query: Annotated[SamplesQuery, Query()]) -> Samples:
    """The time series of the last `minutes` (60 by default), the oldest first; it may have gaps."""
    moment, seconds, found = store.ops.time_series.series(query.minutes * 60)
    return Samples(at=moment, seconds=seconds, samples=[*map(BucketInfo.of, found)])


@router.get("/audit", operation_id="listAudit", summary="Who did what, the newest first", responses=errors(400, 404))
def audit(_key: Auditor, store: StoreDep, query: Annotated[AuditQuery, Query()]) -> AuditPage:
    """One page of the acts of operators, and of accounts about their keys and webhooks.

    `since` is a day, UTC; `act` one act, or all acts on a kind of thing; `account` the one that acted or was changed.
    """
    since = None if query.since is None else beginning(query.since)
    found, total = store.audit.page(
        size=query.per_page, page=query.page, since=since, act=query.act or "", account_id=query.account or ""
    )
    rows = (AuditRow.from_record(one, account=one.account_id) for one in found)
    return AuditPage.of(rows, query.page, query.per_page, total)


@router.get("/usage", operation_id="listAccountUsage", summary="What accounts used", responses=errors(400, 404))
def usage(_key: Auditor, store: StoreDep, query: Annotated[AccountsQuery, Query()]) -> UsageOfAccounts:
    """What each account used from one day to another (UTC, both included; this month), and the sum of all pages.

    Charges are the ledger's, which never expires. `completed` and `failed` are null where requests have expired.
    """
    first, last = period(query.first, query.last, ("from", "to"), MAX_USAGE_DAYS)
    window, size = Window.of(first, last), query.per_page
    used, total = store.billing.usage(window, query.by, query.account or "", size=size, page=query.page)
    sums = {"total_charged": total.charged, "total_cost": total.cost, "total_uncharged": total.uncharged}
    rows = map(UsageOfAccount.of, used)
    return UsageOfAccounts.of(rows, query.page, size, total.rows, since=first, until=last, **sums)


@router.post("/queue/pause", operation_id="pauseQueue", summary="Pause the queue")
def pause(_key: Operator, store: StoreDep) -> PauseState:
    """Workers claim no more requests; running ones go on, submitted ones wait, and those of test keys still run."""
    store.queue.pause()
    return PauseState.of(store)


@router.post("/queue/resume", operation_id="resumeQueue", summary="Let the queue go on")
def resume(_key: Operator, store: StoreDep) -> PauseState:
    """Workers claim requests again, in the same order as without the pause."""
    store.queue.resume()
    return PauseState.of(store)


@router.post(
    "/workers/{worker_id}/drain", operation_id="drainWorker", summary="Drain a worker", responses=errors(400, 404)
)
def drain(_key: Operator, store: StoreDep, worker_id: str) -> DrainedWorker:
    """A worker claims no more requests, finishes its own, and stops; its place stays empty until it is recalled."""
    return DrainedWorker.from_record(store.ops.workers.drain(worker_id))


@router.post(
    "/workers/{worker_id}/recall",
    operation_id="recallWorker",
    summary="Fill a drained worker's place again",
    responses=errors(400, 404),
)
def recall(_key: Operator, store: StoreDep, worker_id: str) -> RecalledWorker:
    """The server starts a new worker in place of the drained one, once that has stopped."""
    return RecalledWorker(id=store.ops.workers.recall(worker_id))


def _fleet(store: Store) -> FleetState | None:
    """None without a Ray fleet."""
    with store.db.read() as view:
        number, why = wanted(view), waits(view)
    return None if number is None else FleetState(wanted=number, waits=why or None)
