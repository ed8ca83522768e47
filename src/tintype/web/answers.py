"""What a request looks like to its caller, in every state (contract, sections 4 and 5)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tintype.core import Format
from tintype.errors import KINDS, BadPicture, Cancelled, ContentRefused, NoRoom, TintypeError
from tintype.media.images import content_type
from tintype.media.storage import Storage
from tintype.store.billing.money import dollars
from tintype.store.db.records import CANCELLED, Json, Request, Status
from tintype.store.queue.eta import Outlook
from tintype.store.webhooks.links import file_url, links

#: Above it, floats lack some whole numbers.
LARGEST_EXACT = 2**53 - 1


def submitted(request: Request, base: str) -> dict[str, Any]:
    """The answer to a v2 submit."""
    poll = f"{base}/v1/requests/{request.id}"
    return {"request_id": request.id, "status": Status.QUEUED, "poll_url": poll, **links(request, base), **request.mode}


def status(request: Request, base: str, outlook: Outlook) -> dict[str, Any]:
    """The light answer, without output."""
    body: dict[str, Any] = {"status": request.status, "request_id": request.id, **request.mode}
    if request.status is Status.COMPLETED:
        return body | {"metrics": {"inference_time": _result(request)["inference_time"]}, **_progress(request)}
    if request.status is Status.FAILED:
        return body | {"error": request.error, **_advice(request), "metrics": times(request)}
    waiting: dict[str, Any] = {"metrics": {}, "queue_position": outlook.position, "eta": outlook.eta}
    return body | links(request, base) | waiting | _progress(request)


def result(request: Request, base: str, remaining: int, outputs: Storage) -> dict[str, Any]:
    """The whole answer of a request that has ended."""
    body: dict[str, Any] = {"status": request.status, "request_id": request.id, "error": request.error, **request.mode}
    if request.status is not Status.COMPLETED:
        return body | {**_advice(request), "metrics": times(request)}
    made = _result(request)
    images = [_image(picture, made["format"], base) for picture in made["pictures"]]
    in_base64 = request.params.get("base64", False)
    metrics = {"cost": dollars(request.cost or 0), "remaining_credits": dollars(remaining)} | times(request)
    return body | {
        "output": encoded(made["pictures"][0], outputs) if in_base64 else images[0]["url"],
        "images": images,
        "seed": str(made["seed"]),
        "prompt": request.params.get("prompt", ""),
        "metrics": metrics,
        "recipe": exact(made["recipe"]),
        **({"warnings": request.warnings} if request.warnings else {}),
    }


def notes(request: Request, told: Mapping[str, str]) -> dict[str, str]:
    """The headers `told` of a call, and what the worker wrote into the result: whose weights drew it, the seconds that
    their load took, and warnings.
    """
    made = request.result or {}
    words = [*filter(None, [told.get("x-warning")]), *request.warnings]
    said = {"x-weights": made.get("weights"), "x-cold-start": made.get("cold_start"), "x-warning": "; ".join(words)}
    return {**told, **{name: str(value) for name, value in said.items() if value}}


def encoded(picture: dict[str, Any], outputs: Storage) -> str:
    """A picture's file as base64."""
    return b64encode(outputs.get(picture["name"])).decode()


def times(request: Request) -> dict[str, float]:
    """Seconds of model work, of waiting and of all; those spent on loading, and the number of retries, where any."""
    ended = request.ended_at or request.submitted_at
    started = request.started_at or ended
    made = (request.result or {}).get("inference_time", max(0.0, ended - started))
    metrics = {
        "inference_time": made,
        "queue_time": max(0.0, started - request.submitted_at),
        "total_time": max(0.0, ended - request.submitted_at),
    }
    rounded = {name: round(seconds, 4) for name, seconds in metrics.items()}
    more = {"cold_start": (request.result or {}).get("cold_start"), "retry_count": request.retries}
    return rounded | {name: number for name, number in more.items() if number}


def failure(request: Request) -> TintypeError:
    """A FAILED request as v1 answers it: the caller's fault or wish, the safety check's, or ours."""
    kinds: dict[int, type[TintypeError]] = {kind.status: kind for kind in (BadPicture, ContentRefused, NoRoom)}
    kinds[CANCELLED.status] = Cancelled
    kind = KINDS.get(request.error_kind or "") or kinds.get(request.error_status or 500, TintypeError)
    return kind(request.error, headers={"x-request-id": request.id})


def _advice(request: Request) -> dict[str, str]:
    return {"error_description": failure(request).advice}


def _progress(request: Request) -> dict[str, Any]:
    done = request.step / request.steps if request.steps else float(request.status is Status.COMPLETED)
    return {"progress": round(min(done, 1.0), 4), "step": request.step, "steps": request.steps}


def _result(request: Request) -> Json:
    if request.result is None:
        raise TintypeError("the request has no result")
    return request.result


def _image(picture: dict[str, Any], format: Format, base: str) -> dict[str, str]:
    return {
        "url": file_url(picture, base),
        "content_type": content_type(format),
        "file_name": picture["name"],
        "file_size": str(picture["size"]),
        "seed": str(picture["seed"]),
    }


def exact(value: Any) -> Any:
    """A JSON value whose whole numbers survive a reader that has floats only, as JavaScript: large ones as strings.

    They may be sent back as they are: parameters that are numbers may come as strings.
    """
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [exact(one) for one in value]
    return str(value) if isinstance(value, int) and abs(value) > LARGEST_EXACT else value


def utc(moment: float | None) -> str | None:
    """A moment in unix seconds as answers have it, to the millisecond; null for none."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
