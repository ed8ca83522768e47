"""For operators: the server's state, queue control, draining workers, the audit log, and usage of all accounts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.store.billing.ledger import dollars
from tintype.store.billing.reports import SPLITS, AccountUsage, By, Window, beginning, period
from tintype.store.db.audit import ACTS, THINGS, AuditEntry
from tintype.store.ops.autoscaler import waits, wanted
from tintype.store.ops.metrics import Bucket
from tintype.store.ops.processes import ServerRow, WorkerRow
from tintype.web.auth import Auditor, Observer, Operator
from tintype.web.generate.answers import utc
from tintype.web.openapi import AUDIT, OVERVIEW, PAUSED, SAMPLES, USED, describe_answer, describe_call, describe_query
from tintype.web.query import MAX_MINUTES, MAX_ROWS, Query, describe, paged
from tintype.web.services import Services, services
from tintype.web.threads import Threaded

#: Days of a window, at most; rows of a page.
MAX_DAYS, ROWS = 366, 20
BYS: dict[str, By | None] = {"": None, **{by: by for by in SPLITS}}
#: One act, or all acts on a kind of thing.
ACT_FILTERS = {act: act for act in ("", *THINGS, *ACTS)}
PAGE = ("page", "per_page")


def operator_router() -> APIRouter:
    router = APIRouter(prefix="/v2/operator", route_class=Threaded)
    overview_words = describe_answer(OVERVIEW, describe_call("The queue and the workers", 403))
    samples_words = describe_query("The last minutes in figures, for plots", [describe("minutes")], 400, 403)
    router.add_api_route("", overview, methods=["GET"], **overview_words)
    router.add_api_route("/samples", samples, methods=["GET"], **describe_answer(SAMPLES, samples_words))
    for path, table, summary, shape, names in (
        ("/audit", audit, "Who did what, the newest first", AUDIT, ("since", "act", "account", *PAGE)),
        ("/usage", usage, "What accounts used", USED, ("from", "to", "account", "by", *PAGE)),
    ):
        read = describe_query(summary, [*map(describe, names)], 400, 403, 404)
        router.add_api_route(path, table, methods=["GET"], **describe_answer(shape, read))
    for path, endpoint, words in (
        ("/queue/pause", pause, describe_answer(PAUSED, describe_call("Pause the queue", 403))),
        ("/queue/resume", resume, describe_answer(PAUSED, describe_call("Let the queue go on", 403))),
        ("/workers/{worker_id}/drain", drain, describe_call("Drain a worker", 400, 403, 404)),
        ("/workers/{worker_id}/recall", recall, describe_call("Fill a drained worker's place again", 400, 403, 404)),
    ):
        router.add_api_route(path, endpoint, methods=["POST"], **words)
    return router


def overview(http: HttpRequest, _key: Observer) -> dict[str, Any]:
    """The queue and every worker, with the requests that each runs; no prompts and no names of accounts."""
    own = services(http)
    moment, known = own.store.ops.workers.shown()
    servers = [_server(server, moment) for server in own.store.ops.servers.shown()[1]]
    workers = [_shown(worker, moment) for worker in known]
    return {"at": utc(moment), "queue": _queue(own), "fleet": _fleet(own), "servers": servers, "workers": workers}


def samples(http: HttpRequest, _key: Observer) -> dict[str, Any]:
    """The time series of the last `minutes` (60 by default), the oldest first; it may have gaps."""
    minutes = Query(http.query_params).number("minutes", 60, MAX_MINUTES)
    moment, seconds, found = services(http).store.ops.time_series.series(minutes * 60)
    return {"at": utc(moment), "seconds": seconds, "samples": [_sample(one) for one in found]}


def audit(http: HttpRequest, _key: Auditor) -> dict[str, Any]:
    """One page of the acts of operators, and of accounts about their keys and webhooks.

    `since` is a day, UTC; `act` one act, or all acts on a kind of thing; `account` the one that acted or was changed.
    """
    query = Query(http.query_params)
    page, size, day = query.page(), query.number("per_page", ROWS, MAX_ROWS), query.day("since")
    meant = {"act": query.choice("act", ACT_FILTERS, ""), "account_id": query.text("account")}
    since = None if day is None else beginning(day)
    found, total = services(http).store.audit.page(size=size, page=page, since=since, **meant)
    return {"data": [*map(_deed, found)], **paged(page, size, total)}


def usage(http: HttpRequest, _key: Auditor) -> dict[str, Any]:
    """What each account used from one day to another (UTC, both included; this month), and the sum of all pages.

    Charges are the ledger's, which never expires. `completed` and `failed` are null where requests have expired.
    """
    query = Query(http.query_params)
    first, last = period(query.day("from"), query.day("to"), ("from", "to"), MAX_DAYS)
    by, page, size = query.choice("by", BYS, ""), query.page(), query.number("per_page", ROWS, MAX_ROWS)
    account = query.text("account")
    used, total = services(http).store.billing.usage(Window.of(first, last), by, account, size=size, page=page)
    return {
        "from": first.isoformat(),
        "to": last.isoformat(),
        "data": [*map(_used, used)],
        "total_charged": total.charged,
        "total_cost": dollars(total.cost),
        "total_uncharged": total.uncharged,
        **paged(page, size, total.rows),
    }


def pause(http: HttpRequest, _key: Operator) -> dict[str, Any]:
    """Workers claim no more requests; running ones go on, submitted ones wait, and those of test keys still run."""
    own = services(http)
    own.store.queue.pause()
    return _pause(own)


def resume(http: HttpRequest, _key: Operator) -> dict[str, Any]:
    """Workers claim requests again, in the same order as without the pause."""
    own = services(http)
    own.store.queue.resume()
    return _pause(own)


def drain(http: HttpRequest, _key: Operator, worker_id: str) -> dict[str, Any]:
    """A worker claims no more requests, finishes its own, and stops; its place stays empty until it is recalled."""
    own = services(http)
    worker = own.store.ops.workers.drain(worker_id)
    return {"id": worker.id, "drain_at": utc(worker.drain_at)}


def recall(http: HttpRequest, _key: Operator, worker_id: str) -> dict[str, Any]:
    """The server starts a new worker in place of the drained one, once that has stopped."""
    return {"id": services(http).store.ops.workers.recall(worker_id)}


def _queue(own: Services) -> dict[str, Any]:
    queued, running, oldest = own.store.queue.depth()
    return {**_pause(own), "queued": queued, "running": running, "oldest_seconds": oldest}


def _fleet(own: Services) -> dict[str, Any] | None:
    """How many workers the autoscaler of a Ray fleet wants, and why some have no machine; None without a fleet."""
    with own.store.db.read() as view:
        number, why = wanted(view), waits(view)
    return None if number is None else {"wanted": number, "waits": why or None}


def _pause(own: Services) -> dict[str, Any]:
    since = own.store.queue.paused_since()
    return {"paused": since is not None, "paused_at": utc(since)}


def _server(server: ServerRow, moment: float) -> dict[str, Any]:
    about = {"id": server.id, "version": server.version, "state": server.state(moment)}
    return {**about, "started_at": utc(server.started_at), "seen_at": utc(server.seen_at)}


def _shown(worker: WorkerRow, moment: float) -> dict[str, Any]:
    report = worker.report
    return {
        "id": worker.id,
        "version": worker.version,
        "device": worker.device,
        "state": worker.state(moment),
        # The reason, for the operator.
        "paused": worker.paused,
        "started_at": utc(worker.started_at),
        "seen_at": utc(worker.seen_at),
        "drain_at": utc(worker.drain_at),
        "runs": [one.to_json() for one in report.running],
        "models": [*report.models],
        # Bytes.
        "memory": dict(report.memory),
        # Of the last forward passes: rows in one, how many would fit, and its seconds.
        "rows": report.rows,
        "max_rows": worker.max_rows,
        "step_seconds": report.step_seconds,
        # Since its start.
        "forward_passes": worker.forward_passes,
        "cold_starts": worker.cold_starts,
        "cold_seconds": round(worker.cold_seconds, 3),
    }


def _deed(one: AuditEntry) -> dict[str, Any]:
    return {
        "at": utc(one.at),
        # When it was done last, and how often: repetitions within an hour are one row.
        "last_at": utc(one.last_at),
        "times": one.times,
        "act": one.act,
        # A key's name and how it begins, with the client's address; at the command line, the system's user and host.
        "who": one.who,
        "address": one.address,
        "via": one.via,
        "by_account": one.by_account,
        "by_key": one.by_key,
        "target": one.target,
        "account": one.account_id,
        "details": dict(one.details),
    }


def _used(one: AccountUsage) -> dict[str, Any]:
    return {
        "account": one.account_id,
        "name": one.name,
        "mode": "test" if one.test else "live",
        # The day, month, model, or id of a key.
        "part": one.part,
        "key": one.key,
        "charged": one.charged,
        "cost": dollars(one.cost),
        "uncharged": one.uncharged,
        "completed": one.completed,
        "failed": one.failed,
    }


def _sample(one: Bucket) -> dict[str, Any]:
    sampled = {"queued": one.queued, "running": one.running, "workers": one.workers}
    memory = {"memory": one.memory, "device_memory": one.device_memory}
    steps = {"fill": one.fill, "step_seconds": one.seconds_per_step}
    cold = {"cold_starts": one.cold_starts, "cold_seconds": round(one.cold_seconds, 3)}
    ended = {"completed": one.completed, "failed": one.failed, "refused": one.refused, "cancelled": one.cancelled}
    return {"at": utc(one.at), **sampled, **memory, **steps, **cold, **ended, "error_rate": one.error_rate}
