"""What a request looks like to its caller, in every state (contract, sections 4 and 5)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from math import isinf
from typing import Any, Literal

from pydantic import Field

from tintype import core
from tintype.catalog.formats import FORMATS
from tintype.core import Output
from tintype.errors import KINDS, BadPicture, Cancelled, ContentRefused, NoRoom, TintypeError
from tintype.media.storage import Storage
from tintype.store.billing.ledger import dollars, plain
from tintype.store.db.records import CANCELLED, Request, Status
from tintype.store.queue.eta import Eta, Obstacle
from tintype.store.webhooks.events import file_url, links
from tintype.web.declared import Answer
from tintype.web.generate.dialect import Accepted
from tintype.web.wire import Id, Moment, Url, exact

#: The states of a request, and what each means to its caller.
STATES = {
    "QUEUED": "Accepted, waiting for a worker",
    "PROCESSING": "Running on a worker",
    "COMPLETED": "Done: the images are ready",
    "FAILED": "Failed, refused or cancelled: the error says why, and nothing was charged",
}
IN_WORDS = "; ".join(": ".join(state) for state in STATES.items())
#: Of what a test key sent; else it is absent.
Mode = Literal["test"]


class Submitted(Answer):
    """A request that is queued."""

    request_id: Id
    status: Literal["QUEUED"]
    poll_url: Url
    status_url: Url
    response_url: Url
    mode: Mode = "test"


class Running(Answer):
    """A request that waits or runs."""

    status: Literal["QUEUED", "PROCESSING"] = Field(description=IN_WORDS)
    request_id: Id
    status_url: Url
    response_url: Url
    metrics: dict[str, float] = Field(description="Empty until it has ended")
    queue_position: int | None = Field(description="1 for the next one; null where it isn't known, or it runs")
    eta: float | None = Field(description="Seconds until it ends, by what such requests took here; null where unknown")
    progress: float = Field(ge=0, le=1)
    step: int
    steps: int
    waiting_for: Obstacle = Field(
        "worker",
        description="What it waits for in addition to its turn: `resume`, as the operator has paused the queue, or "
        "`worker`, as none takes requests at the moment; absent where neither",
    )
    mode: Mode = "test"


class InferenceTime(Answer):
    """Seconds of the model's work."""

    inference_time: float


class Completed(Answer):
    """A request that is done, without its images."""

    status: Literal["COMPLETED"]
    request_id: Id
    metrics: InferenceTime
    progress: float = Field(ge=0, le=1)
    step: int
    steps: int
    mode: Mode = "test"


class Times(InferenceTime):
    """Seconds of the model's work, of waiting and of all."""

    queue_time: float
    total_time: float
    cold_start: float = Field(
        0, description="Seconds spent on loading the model, never charged; absent where none were"
    )
    retry_count: int = Field(0, description="Absent where the request needed no retry")


class Metrics(Times):
    """The same, and dollars."""

    cost: float
    remaining_credits: float


class Failed(Answer):
    """A request that failed, was refused or was cancelled; nothing was charged."""

    status: Literal["FAILED"]
    request_id: Id
    error: str
    error_description: str = Field(description="What to do next")
    metrics: Times
    mode: Mode = "test"


class Image(Answer):
    """One image of a request."""

    url: Url
    content_type: str
    file_name: str
    file_size: str = Field(description="Bytes, in digits")
    seed: str
    kept_until: Moment | None
    """When it expires, unless its account keeps it, or earlier if the server needs the room; null for no end."""


class Result(Answer):
    """A request that is done, with its images."""

    status: Literal["COMPLETED"]
    request_id: Id
    error: None
    output: str = Field(description="The first image's address, or its base64 where the parameters ask for that")
    images: list[Image] = Field(min_length=1)
    seed: str
    prompt: str
    metrics: Metrics
    recipe: dict[str, Any] | None = Field(description="How the first image was made, to make it again")
    warnings: list[str] = Field([], description="What was replaced, and what the safety check found; absent where none")
    mode: Mode = "test"


def status(request: Request, base: str, eta: Eta) -> Running | Completed | Failed:
    """The light answer, without output."""
    if request.status is Status.FAILED:
        return _failed(request)
    if request.status is Status.COMPLETED:
        metrics = InferenceTime(inference_time=_made(request).inference_time)
        known = {**progress(request), **request.mode}
        return Completed(status="COMPLETED", request_id=request.id, metrics=metrics, **known)
    obstacle = {"waiting_for": eta.obstacle} if eta.obstacle else {}
    return Running(
        status="QUEUED" if request.status is Status.QUEUED else "PROCESSING",
        request_id=request.id,
        metrics={},
        queue_position=eta.position,
        eta=eta.seconds,
        **links(request, base),
        **progress(request),
        **obstacle,
        **request.mode,
    )


def result(request: Request, base: str, remaining: int, outputs: Storage, image_ttl: float) -> Result | Failed:
    """The whole answer of a request that has ended. image_ttl: seconds from its end to its images', or infinite."""
    if request.status is not Status.COMPLETED:
        return _failed(request)
    made = _made(request)
    until = (request.timing.ended_at or 0.0) + image_ttl
    images = [_image(one, made.format, base, None if isinf(until) else until) for one in made.outputs]
    in_base64 = request.params.get("base64", False)
    cost = dollars(request.billing.cost or 0)
    warnings = {"warnings": [*request.warnings]} if request.warnings else {}
    return Result(
        status="COMPLETED",
        request_id=request.id,
        error=None,
        output=encoded(made.outputs[0], outputs) if in_base64 else images[0].url,
        images=images,
        seed=str(made.seed),
        prompt=request.params.get("prompt", ""),
        metrics=Metrics(cost=cost, remaining_credits=dollars(remaining), **times(request)),
        recipe=None if made.recipe is None else exact(made.recipe.to_json()),
        **warnings,
        **request.mode,
    )


#: Headers of answers with a request's result, where they apply.
NOTES = ("x-weights", "x-cold-start", "x-warning")


def notes(request: Request, told: Mapping[str, str]) -> dict[str, str]:
    """The headers `told` of a call, and those of the result: whose weights, seconds of the load, and warnings."""
    words = [*filter(None, [told.get("x-warning")]), *request.warnings]
    said: dict[str, object] = {"x-warning": "; ".join(words)}
    if request.result is not None:
        said |= {"x-weights": request.result.weights, "x-cold-start": request.result.cold_start}
    return {**told, **{name: str(value) for name, value in said.items() if value}}


def made(accepted: Accepted) -> core.Result:
    """What was made of a request that has ended; raises the error of one that is FAILED."""
    if accepted.request.result is None:
        error = failure(accepted.request)
        error.headers |= accepted.headers
        raise error
    return accepted.request.result


def made_headers(accepted: Accepted) -> dict[str, str]:
    """The headers of the answer to a request that is COMPLETED, whatever it is answered with."""
    return notes(accepted.request, accepted.headers) | {"x-cost": plain(accepted.request.billing.cost or 0)}


def encoded(output: Output, outputs: Storage) -> str:
    """A file as base64."""
    return b64encode(outputs.get(output.name)).decode()


def times(request: Request) -> dict[str, Any]:
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


def progress(request: Request) -> dict[str, Any]:
    """How far it is, from 0 to 1, and in steps."""
    done = request.step / request.steps if request.steps else float(request.status is Status.COMPLETED)
    return {"progress": round(min(done, 1.0), 4), "step": request.step, "steps": request.steps}


def failure(request: Request) -> TintypeError:
    """A FAILED request as v1 answers it: the caller's fault, the safety filter's refusal, or this server's fault."""
    kinds: dict[int, type[TintypeError]] = {kind.status: kind for kind in (BadPicture, ContentRefused, NoRoom)}
    kinds[CANCELLED.status] = Cancelled
    found = request.failure
    kind = TintypeError if found is None else KINDS.get(found.kind or "") or kinds.get(found.status, TintypeError)
    return kind(request.error, headers={"x-request-id": request.id})


def _failed(request: Request) -> Failed:
    return Failed(
        status="FAILED",
        request_id=request.id,
        error=request.error,
        error_description=failure(request).advice,
        metrics=Times(**times(request)),
        **request.mode,
    )


def _made(request: Request) -> core.Result:
    if request.result is None:
        raise TintypeError("the request has no result")
    return request.result


def _image(output: Output, format: str, base: str, until: float | None) -> Image:
    return Image(
        url=file_url(output.name, base),
        content_type=FORMATS[format].content_type,
        file_name=output.name,
        file_size=str(output.size),
        seed=str(output.seed),
        kept_until=until,
    )
