"""What a request looks like to its caller, in every state (contract, sections 4 and 5)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tintype.core import Format, Output, Result
from tintype.errors import KINDS, BadPicture, Cancelled, ContentRefused, NoRoom, TintypeError
from tintype.media.images import content_type
from tintype.media.storage import Storage
from tintype.store.billing.ledger import dollars
from tintype.store.db.records import CANCELLED, Request, Status
from tintype.store.queue.eta import Eta
from tintype.store.webhooks.events import file_url, links

#: Above it, floats lack some whole numbers.
MAX_EXACT = 2**53 - 1


def status(request: Request, base: str, eta: Eta) -> dict[str, Any]:
    """The light answer, without output."""
    body: dict[str, Any] = {"status": request.status, "request_id": request.id, **request.mode}
    if request.status is Status.COMPLETED:
        return body | {"metrics": {"inference_time": _result(request).inference_time}, **_progress(request)}
    if request.status is Status.FAILED:
        return body | {"error": request.error, **_advice(request), "metrics": times(request)}
    waiting: dict[str, Any] = {"metrics": {}, "queue_position": eta.position, "eta": eta.seconds}
    return body | links(request, base) | waiting | _progress(request)


def result(request: Request, base: str, remaining: int, outputs: Storage) -> dict[str, Any]:
    """The whole answer of a request that has ended."""
    body: dict[str, Any] = {"status": request.status, "request_id": request.id, "error": request.error, **request.mode}
    if request.status is not Status.COMPLETED:
        return body | {**_advice(request), "metrics": times(request)}
    made = _result(request)
    images = [_image(one, made.format, base) for one in made.outputs]
    in_base64 = request.params.get("base64", False)
    cost = dollars(request.billing.cost or 0)
    metrics = {"cost": cost, "remaining_credits": dollars(remaining)} | times(request)
    return body | {
        "output": encoded(made.outputs[0], outputs) if in_base64 else images[0]["url"],
        "images": images,
        "seed": str(made.seed),
        "prompt": request.params.get("prompt", ""),
        "metrics": metrics,
        "recipe": None if made.recipe is None else exact(made.recipe.to_json()),
        **({"warnings": [*request.warnings]} if request.warnings else {}),
    }


def notes(request: Request, told: Mapping[str, str]) -> dict[str, str]:
    """The headers `told` of a call, and those of the result: whose weights, seconds of the load, and warnings."""
    words = [*filter(None, [told.get("x-warning")]), *request.warnings]
    said: dict[str, object] = {"x-warning": "; ".join(words)}
    if request.result is not None:
        said |= {"x-weights": request.result.weights, "x-cold-start": request.result.cold_start}
    return {**told, **{name: str(value) for name, value in said.items() if value}}


def encoded(output: Output, outputs: Storage) -> str:
    """A file as base64."""
    return b64encode(outputs.get(output.name)).decode()


def times(request: Request) -> dict[str, float]:
    """Seconds of model work, of waiting and of all; those spent on loading, and the number of retries, where any."""
    made, timing = request.result, request.timing
    ended = timing.ended_at or timing.submitted_at
    started = timing.started_at or ended
    metrics = {
        "inference_time": max(0.0, ended - started) if made is None else made.inference_time,
        "queue_time": max(0.0, started - timing.submitted_at),
        "total_time": max(0.0, ended - timing.submitted_at),
    }
    rounded = {name: round(seconds, 4) for name, seconds in metrics.items()}
    more = {"cold_start": 0 if made is None else made.cold_start, "retry_count": request.retries}
    return rounded | {name: number for name, number in more.items() if number}


def failure(request: Request) -> TintypeError:
    """A FAILED request as v1 answers it: the caller's fault, the safety filter's refusal, or this server's fault."""
    kinds: dict[int, type[TintypeError]] = {kind.status: kind for kind in (BadPicture, ContentRefused, NoRoom)}
    kinds[CANCELLED.status] = Cancelled
    found = request.failure
    kind = TintypeError if found is None else KINDS.get(found.kind or "") or kinds.get(found.status, TintypeError)
    return kind(request.error, headers={"x-request-id": request.id})


def _advice(request: Request) -> dict[str, str]:
    return {"error_description": failure(request).advice}


def _progress(request: Request) -> dict[str, Any]:
    done = request.step / request.steps if request.steps else float(request.status is Status.COMPLETED)
    return {"progress": round(min(done, 1.0), 4), "step": request.step, "steps": request.steps}


def _result(request: Request) -> Result:
    if request.result is None:
        raise TintypeError("the request has no result")
    return request.result


def _image(output: Output, format: Format, base: str) -> dict[str, str]:
    return {
        "url": file_url(output.name, base),
        "content_type": content_type(format),
        "file_name": output.name,
        "file_size": str(output.size),
        "seed": str(output.seed),
    }


def exact(value: Any) -> Any:
    """A JSON value for readers that have floats only, as JavaScript: large whole numbers as strings.

    They may be sent back as they are: parameters that are numbers may come as strings.
    """
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [exact(one) for one in value]
    return str(value) if isinstance(value, int) and abs(value) > MAX_EXACT else value


def utc(moment: float | None) -> str | None:
    """A moment in unix seconds as answers have it, to the millisecond; null for none."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
