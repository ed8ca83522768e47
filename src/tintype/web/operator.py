"""How the whole server does, and its two levers: the queue's pause, and the draining of workers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.store.samples import Sample
from tintype.store.workers import WorkerRow
from tintype.web.auth import Observer, Operator
from tintype.web.openapi import describe_answer, describe_call, describe_query
from tintype.web.query import MOST_MINUTES, Query, describe
from tintype.web.schemas import OVERVIEW, PAUSED, SAMPLES
from tintype.web.services import Services, services
from tintype.web.threads import Threaded


def operator_router() -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/v2/operator", route_class=Threaded)
    overview_words = describe_answer(OVERVIEW, describe_call("The queue and the workers", 403))
    samples_words = describe_query("The last minutes in figures, for plots", [describe("minutes")], 400, 403)
    router.add_api_route("", overview, methods=["GET"], **overview_words)
    router.add_api_route("/samples", samples, methods=["GET"], **describe_answer(SAMPLES, samples_words))
    for path, endpoint, words in (
        ("/queue/pause", pause, describe_answer(PAUSED, describe_call("Pause the queue", 403))),
        ("/queue/resume", resume, describe_answer(PAUSED, describe_call("Let the queue go on", 403))),
        ("/workers/{worker_id}/drain", drain, describe_call("Drain a worker", 400, 403, 404)),
        ("/workers/{worker_id}/recall", recall, describe_call("Fill a drained worker's place again", 400, 403, 404)),
    ):
        router.add_api_route(path, endpoint, methods=["POST"], **words)
    return router


def overview(http: HttpRequest, _key: Observer) -> dict[str, Any]:
    """The queue as it stands and every worker, with what each runs; no prompts, and nobody's name."""
    own = services(http)
    moment, known = own.workers.shown()
    return {"at": _time(moment), "queue": _queue(own), "workers": [_shown(worker, moment) for worker in known]}


def samples(http: HttpRequest, _key: Observer) -> dict[str, Any]:
    """Stretches of the last `minutes`, an hour unless told, the oldest first; of some, nothing is known."""
    minutes = Query(http.query_params).number("minutes", 60, MOST_MINUTES)
    moment, seconds, found = services(http).samples.series(minutes * 60)
    return {"at": _time(moment), "seconds": seconds, "samples": [_sample(one) for one in found]}


def pause(http: HttpRequest, _key: Operator) -> dict[str, Any]:
    """Workers take nothing more; what runs goes on, what is submitted waits, and test keys notice nothing."""
    own = services(http)
    own.controls.pause()
    return _pause(own)


def resume(http: HttpRequest, _key: Operator) -> dict[str, Any]:
    """Workers take requests again, in the order in which they would have."""
    own = services(http)
    own.controls.resume()
    return _pause(own)


def drain(http: HttpRequest, _key: Operator, worker_id: str) -> dict[str, Any]:
    """A worker takes nothing more, ends what it has, and leaves; its place stays empty until it is recalled."""
    own = services(http)
    worker = own.workers.drain(worker_id)
    return {"id": worker.id, "drain_at": _time(worker.drain_at)}


def recall(http: HttpRequest, _key: Operator, worker_id: str) -> dict[str, Any]:
    """The server starts a fresh worker where the drained one was, or will be as soon as that has left."""
    return {"id": services(http).workers.recall(worker_id)}


def _queue(own: Services) -> dict[str, Any]:
    queued, running, oldest = own.requests.depth()
    return {**_pause(own), "queued": queued, "running": running, "oldest_seconds": oldest}


def _pause(own: Services) -> dict[str, Any]:
    since = own.controls.paused_since()
    return {"paused": since is not None, "paused_at": _time(since)}


def _shown(worker: WorkerRow, moment: float) -> dict[str, Any]:
    about = worker.about or {}
    lately = about.get("lately", {})
    return {
        "id": worker.id,
        "device": worker.device,
        "state": worker.state(moment),
        # Why, in the operator's words.
        "paused": worker.paused,
        "started_at": _time(worker.started_at),
        "seen_at": _time(worker.seen_at),
        "drain_at": _time(worker.drain_at),
        "runs": about.get("tasks", []),
        "models": about.get("models", []),
        # Bytes.
        "memory": about.get("memory", {}),
        # Of the last forward passes: rows in one, how many would fit, and its seconds.
        "rows": lately.get("rows"),
        "max_rows": worker.max_rows,
        "step_seconds": lately.get("step_seconds"),
        # Since its start.
        "forward_passes": worker.forward_passes,
        "cold_starts": worker.cold_starts,
        "cold_seconds": round(worker.cold_seconds, 3),
    }


def _sample(one: Sample) -> dict[str, Any]:
    looked = {"queued": one.queued, "running": one.running, "workers": one.workers}
    memory = {"memory": one.memory, "device_memory": one.device_memory}
    steps = {"fill": one.fill, "step_seconds": one.seconds_per_step}
    cold = {"cold_starts": one.cold_starts, "cold_seconds": round(one.cold_seconds, 3)}
    ended = {"completed": one.completed, "failed": one.failed, "refused": one.refused, "cancelled": one.cancelled}
    return {"at": _time(one.at), **looked, **memory, **steps, **cold, **ended, "error_rate": one.error_rate}


def _time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
