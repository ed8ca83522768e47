"""What bodies, answers and errors of Comfy Router's API say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import Field
from pydantic.json_schema import models_json_schema

from tintype import __version__
from tintype import errors as e
from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.core import Json
from tintype.errors import TintypeError
from tintype.store.db.records import Request
from tintype.web.declared import Allowed, Answer, SentQuery
from tintype.web.dialects import common
from tintype.web.dialects.common import AWAY, ErrorRow, refusals, row_of
from tintype.web.generate import answers, operations
from tintype.web.generate.answers import Result
from tintype.web.generate.submit import OPTIONS, takes
from tintype.web.generate.wait import RETRY_AFTER
from tintype.web.openapi import CONTACT, LICENSE, SCHEMAS, SCHEMES, TAGS, TEXT, Schema
from tintype.web.query import DIGITS
from tintype.web.wire import Id, Url

ROOT = "/v2/models"
#: Whose models are, unless an alias says otherwise.
PROVIDER = "tintype"
#: Models of a page, by default and at most.
PAGE, MAX_PAGE = 50, 100
LIMITS = f"a whole number from 1; more than {MAX_PAGE} is {MAX_PAGE}"
REQUEST_ID, ERROR_TYPE = "X-Comfy-Request-Id", "X-Comfy-Error-Type"
COST, CAP_LEFT = "X-Comfy-Credits-Used", "X-Committed-Spend-Remaining"
#: Headers of answers, in `/openapi.json`.
HEADERS = {
    REQUEST_ID: "The request's id, or one of the call",
    ERROR_TYPE: "What went wrong, in a word",
    COST: "Dollars that the request cost; 0 to a test key",
    CAP_LEFT: "Dollars that the key may still spend, where it has a cap",
}
#: Kinds of errors → their status and type; the first that fits.
ERRORS = (
    ErrorRow((e.InvalidParameter, e.MissingParameter, e.BadPicture), 422, "invalid_input"),
    ErrorRow((e.Unauthorized,), 401, "unauthorized"),
    ErrorRow((e.OutOfCredits,), 402, "insufficient_credits"),
    ErrorRow((e.Forbidden,), 403, "forbidden"),
    ErrorRow((e.ModelUnknown,), 404, "model_not_found"),
    ErrorRow((e.NotFound,), 404, "request_not_found"),
    ErrorRow((e.StillRunning,), 409, "concurrency_limit_exceeded"),
    ErrorRow((e.IdempotencyMismatch,), 409, "invalid_input"),
    ErrorRow((e.ContentRefused,), 400, "content_policy_violation"),
    ErrorRow((e.QueueFull,), 429, "queue_backlog_full"),
    ErrorRow((e.TooManyRequests,), 429, "rate_limited"),
    ErrorRow((e.GoesOn,), 504, "deadline_exceeded"),
    ErrorRow((e.BadRequest, e.MethodNotAllowed, e.BodyTooLarge, e.UnsupportedBody, e.TooSlow), 0, "invalid_input"),
    ErrorRow(AWAY, 503, "service_unavailable"),
    ErrorRow((TintypeError,), 500, "internal_error"),
)
#: What some errors mean at these addresses.
REFUSALS = {
    400: "A body, a query or a header that isn't understood, or content that the safety check refuses",
    404: "No such model, or no such request of this account and model",
    409: "This Idempotency-Key was sent with another call, or its request is still running; or it has not ended",
    422: "A parameter, or an input image, that can't be used",
    504: "The request is still running: the same call, with the same Idempotency-Key, collects it",
}


class RouterError(Answer):
    """Why a call was refused."""

    detail: str
    error_type: str = Field(description=", ".join(dict.fromkeys(row.name for row in ERRORS)))


class RouterFault(Answer):
    """What is wrong with a parameter."""

    loc: list[str]
    msg: str
    type: Literal["value_error", "missing"]
    input: Any


class RouterFaults(Answer):
    """Parameters that can't be used."""

    detail: list[RouterFault]


class RouterBilling(Answer):
    """What is charged for."""

    charges_on_policy_rejection: Literal[False] = False


class RouterModel(Answer):
    """A model."""

    id: str
    provider: str
    model: str
    billing: RouterBilling


class RouterModels(Answer):
    """Some of the models, and where the next ones begin."""

    data: list[RouterModel]
    has_more: bool
    next_cursor: str | None
    limit: int


class RouterQueued(Answer):
    """A request, and where to ask for it."""

    request_id: Id
    status: Literal["IN_QUEUE"]
    queue_position: int = Field(ge=1, description="1 for the next one")
    status_url: Url
    response_url: Url
    cancel_url: Url


class RouterStatus(RouterQueued):
    """How a request stands. One that failed or was cancelled is COMPLETED too, with `error_type`, and costs nothing."""

    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]  # type: ignore[assignment]
    queue_position: int = Field(1, ge=1, description="1 for the next one; absent unless it is IN_QUEUE")
    metrics: dict[str, float] = Field(description="Seconds; empty until it has ended")
    progress: float = Field(ge=0, le=1)
    step: int
    steps: int
    eta: float | None = Field(description="Seconds until it ends, by what such requests took here; null where unknown")
    error_type: str = Field("", description="As in errors, or cancelled, queue_timeout; absent where it went well")
    detail: str = Field("", description="Why; absent where it went well")


class RouterCompleted(Answer):
    """The request had ended before."""

    status: Literal["ALREADY_COMPLETED"]


class ListQuery(SentQuery):
    """Which models."""

    cursor: str = Field("", description="The `next_cursor` of the page before")
    limit: Annotated[int, Field(ge=1, description="Models of a page"), Allowed(LIMITS), DIGITS] = PAGE


class RunQuery(SentQuery):
    """Who is to serve the model: there is one provider."""

    model_provider: str = Field("", description=f"{PROVIDER}, the only one")
    strict_mode: str = Field("", description="Without effect: nothing is translated")
    fallback_provider: str = Field("", description="Without effect: there is no other")


def in_error(error: TintypeError) -> tuple[int, RouterError | RouterFaults, dict[str, str]]:
    """The status, the body and the headers of an error."""
    _, status, kind, _ = row_of(error, ERRORS)
    headers = error.public_headers(status)
    if isinstance(error, e.GoesOn):  # with its Idempotency-Key, the same call collects it
        headers["retry-after"] = str(RETRY_AFTER)
    headers |= {ERROR_TYPE: kind, REQUEST_ID: headers.get("x-request-id") or str(uuid4())}
    said = _faults(error) or RouterError(detail=str(error.public()["error"]), error_type=kind)
    return status, said, headers


def failed(request: Request) -> dict[str, Any]:
    """The type and the words of what ended a request, unless it is COMPLETED."""
    if request.failure is None:
        return {}
    kind = "queue_timeout" if request.timed_out else "cancelled"
    if request.outcome != "cancelled":
        kind = row_of(answers.failure(request), ERRORS).name
    return {"error_type": kind, "detail": request.error}


def _faults(error: TintypeError) -> RouterFaults | None:
    """What is wrong with a parameter, if that is what is wrong."""
    if not isinstance(error, e.InvalidParameter | e.MissingParameter):
        return None
    place = {"limit": "query"} | {one["name"]: "header" for one in OPTIONS}
    about: dict[str, Any] = {"type": "missing", "input": None}
    if isinstance(error, e.InvalidParameter):
        about = {"type": "value_error", "input": error.sent}
    loc = [place.get(error.name, "body"), error.name]
    return RouterFaults(detail=[RouterFault(loc=loc, msg=str(error.public()["error"]), **about)])


def described(
    tag: str, id: str, summary: str, shape: Any, *refused: int, status: int = 200, **more: Any
) -> dict[str, Any]:
    """Arguments of a route. refused: statuses of its errors in addition to all routes'."""
    failed = refusals(
        RouterError | RouterFaults, 403, 422, *refused, words=REFUSALS, told=_headers(REQUEST_ID, ERROR_TYPE)
    )
    told = {"headers": _headers(REQUEST_ID, COST, CAP_LEFT)}
    return common.described(tag, id, summary, told, failed, status_code=status, response_model=shape, **more)


def submits(catalogue: Catalogue, id: str, summary: str, shape: Any, status: int, *refused: int) -> dict[str, Any]:
    """Arguments of a route that takes any model's parameters."""
    bodies = [{"$ref": f"{SCHEMAS}{name}Params"} for name in operations.names(catalogue).values()]
    examples = {slug: {"value": dict(spec.example)} for slug, spec in [*catalogue.items()][:1]}
    content = {"schema": {"anyOf": bodies}, "examples": examples}
    extra = takes({"application/json": content})
    every = (400, 402, 404, 409, 413, 415, 429, *refused)
    return described("images", id, summary, shape, *every, status=status, openapi_extra=extra)


def _headers(*names: str) -> Schema:
    return {name: {"description": HEADERS[name], "schema": TEXT} for name in names}


def document(path: str, specs: Sequence[ModelSpec], base: str, words: str) -> Json:
    """The OpenAPI document of a model's run. specs: the model, or those for text and for an image; words: of a run."""
    catalogue = Catalogue(specs)
    bodies = operations.bodies(catalogue)
    inputs = [{"$ref": f"{SCHEMAS}{name}Params"} for name in operations.names(catalogue).values()]
    forms = [f"{name}{ending}" for name in operations.names(catalogue).values() for ending in ("Form", "Urlencoded")]
    _, made = models_json_schema(
        [(Result, "serialization"), (RouterFaults, "serialization")], ref_template=SCHEMAS + "{model}"
    )

    def content(shape: Schema) -> Schema:
        return {"content": {"application/json": {"schema": shape}}}

    post = {
        "operationId": "run",
        "summary": "Run it and wait",
        "description": words,
        "tags": ["images"],
        "requestBody": {"required": True, **content(inputs[0] if len(inputs) == 1 else {"anyOf": inputs})},
        "responses": {
            "200": {"description": "The images", **content({"$ref": SCHEMAS + "Result"})},
            "422": {"description": REFUSALS[422], **content({"$ref": SCHEMAS + "RouterFaults"})},
        },
    }
    schemas = {name: shape for name, shape in bodies.items() if name not in forms} | made["$defs"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": path.removeprefix(f"{ROOT}/"),
            "version": __version__,
            "description": specs[0].description,
            "contact": CONTACT,
            "license": LICENSE,
        },
        "servers": [{"url": base}],
        "tags": [{"name": "images", "description": TAGS["images"]}],
        "security": [{"bearer": []}],
        "paths": {path: {"post": post}},
        "components": {"schemas": schemas, "securitySchemes": {"bearer": SCHEMES["bearer"]}},
    }
