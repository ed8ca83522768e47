"""A request as Replicate's API shows it: in its answers, and in the messages to its callers' webhooks."""

from __future__ import annotations

from base64 import b32decode, b32encode
from binascii import Error
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from tintype.core import STORED_INPUT, Json
from tintype.store.db.records import Request, Status

#: The dialect's name in rows; and whom every model of ours belongs to.
DIALECT, OWNER = "replicate", "tintype"
#: Names of the init image.
IMAGE_NAMES = ("image", "input_image", "init_image")
STATUSES = {
    Status.QUEUED: "starting",
    Status.PROCESSING: "processing",
    Status.COMPLETED: "succeeded",
    Status.FAILED: "failed",
}
#: Characters of an id, and of a progress bar.
ID_LENGTH, BAR = 26, 10
PADDING = "=" * 6


def prediction_id(request_id: str) -> str:
    """A request's UUID in base 32 (RFC 4648), in small letters, without padding."""
    return b32encode(UUID(request_id).bytes).decode().rstrip("=").lower()


def request_id(id: str) -> str:
    """The UUID of an id, or of a UUID itself; anything else as it is."""
    with suppress(Error, ValueError):
        return str(UUID(bytes=b32decode(id.upper() + PADDING)) if len(id) == ID_LENGTH else UUID(id))
    return id


def prediction(request: Request, base: str, version: str, moment: float) -> dict[str, Any]:
    """The request as it stands at a moment, in unix seconds, with links below `base`, in JSON.

    version: the id of its model's version.
    """
    id, timing, result = prediction_id(request.id), request.timing, request.result
    own = f"{base}/v1/predictions/{id}"
    files = [f"{base}/files/{one.name}" for one in result.outputs] if result else None
    cancelled = request.outcome == "cancelled"
    return {
        "id": id,
        "model": f"{OWNER}/{request.slug}",
        "version": version,
        "source": "api",
        "status": "canceled" if cancelled else STATUSES[request.status],
        "input": _input(request, base),
        "output": files,
        "error": None if cancelled else request.error,
        "data_removed": False,
        "logs": "".join(f"{line}\n" for line in _logs(request, moment)),
        "metrics": _metrics(request),
        "created_at": written(timing.submitted_at),
        "started_at": None if timing.started_at is None else written(timing.started_at),
        "completed_at": None if timing.ended_at is None else written(timing.ended_at),
        "urls": {"get": own, "cancel": f"{own}/cancel", "web": f"{base}/account"},
    }


def written(moment: float) -> str:
    """A moment in unix seconds as this API writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _input(request: Request, base: str) -> dict[str, Any]:
    """As it was sent or, where that isn't known or was another API's, the model's parameters.

    Its images are addresses, or left out where they were in the body.
    """
    params = request.params
    asked = (request.metadata.asked or {}).get("input") if request.metadata.dialect == DIALECT else None
    sent = asked if isinstance(asked, dict) else params
    found = {name: _shown(name, value, params, base) for name, value in sent.items()}
    return {name: value for name, value in found.items() if value is not None}


def _shown(name: str, value: Any, params: Json, base: str) -> Any:
    """A value of the input: where the row doesn't have it as it was sent, the parameter that was made of it."""
    if "image" not in name and name != "mask":
        return value
    value = params.get(name, params.get("image") if name in IMAGE_NAMES else None) if value is None else value
    if not isinstance(value, str) or not value.startswith(("/", STORED_INPUT)):
        return value
    return None if value.startswith(STORED_INPUT) else base + value


def _logs(request: Request, moment: float) -> Iterator[str]:
    """The seed, how far it is, and what its caller should know."""
    seed = request.result.seed if request.result else (request.stored_generation or request.params).get("seed")
    if seed is not None:
        yield f"Using seed: {seed}"
    if request.timing.started_at is not None and (request.steps or request.status is Status.COMPLETED):
        yield _progress(request, request.timing.started_at, moment)
    reply = request.metadata.reply or {}
    ignored = unquote(reply.get("x-ignored-parameters", ""))
    notes = filter(None, reply.get("x-warning", "").split("; "))
    for note in (*notes, *request.warnings, *([f"ignored input: {ignored}"] if ignored else ())):
        yield f"Warning: {note}"


def _progress(request: Request, started_at: float, moment: float) -> str:
    """A line as tqdm writes it, which client libraries read."""
    steps = request.steps or 1
    step = steps if request.status is Status.COMPLETED else min(request.step, steps)
    taken = max(0.0, (request.timing.ended_at or moment) - started_at)
    left = taken / step * (steps - step) if step else 0.0
    full = BAR * step // steps
    bar = "█" * full + " " * (BAR - full)
    return f"{100 * step // steps}%|{bar}| {step}/{steps} [{_clock(taken)}<{_clock(left)}]"


def _clock(seconds: float) -> str:
    return "{:02d}:{:02d}".format(*divmod(int(seconds), 60))


def _metrics(request: Request) -> dict[str, float]:
    """Seconds of the model's work and of all; empty until it has ended."""
    timing = request.timing
    if timing.ended_at is None:
        return {}
    ran = timing.ended_at - (timing.started_at or timing.ended_at)
    seconds = {
        "predict_time": request.result.inference_time if request.result else ran,
        "total_time": timing.ended_at - timing.submitted_at,
    }
    return {name: round(max(0.0, value), 4) for name, value in seconds.items()}
