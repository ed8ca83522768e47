"""What bodies, answers and errors of Replicate's API say; and how its lists go on."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Literal

from pydantic import Field

from tintype import errors as e
from tintype.errors import UNFORESEEN, InvalidParameter, MissingParameter, TintypeError, VersionUnknown
from tintype.web.declared import Answer, SentQuery
from tintype.web.dialects import common
from tintype.web.dialects.common import ErrorRow, refusals, row_of
from tintype.web.generate import answers
from tintype.web.generate.submit import option, takes
from tintype.web.openapi import headers
from tintype.web.query import Absent
from tintype.web.wire import Url


class PredictionLinks(Answer):
    """Where a prediction is asked for and cancelled, and a page for people."""

    get: Url
    cancel: Url
    web: Url


class Prediction(Answer):
    """A request."""

    id: str
    """The request's UUID in base 32, in small letters, without padding."""
    model: str
    version: str
    source: Literal["api"]
    status: Literal["starting", "processing", "succeeded", "failed", "canceled"]
    input: dict[str, Any]
    """As it was sent, without images that were in the body."""
    output: list[Url] | None
    """The images' addresses; null until it has succeeded."""
    error: str | None
    data_removed: Literal[False]
    logs: str
    """The seed, how far it is, and notes, each on a line."""
    metrics: dict[str, float]
    """Seconds of the model's work and of all; empty until it has ended."""
    created_at: str
    started_at: str | None
    completed_at: str | None
    urls: PredictionLinks


class PredictionPage(Answer):
    """Some of an account's predictions, the newest first, and where those before and after them are."""

    previous: Url | None
    next: Url | None
    results: list[Prediction]


class InvalidField(Answer):
    """A fault of a body."""

    type: Literal["invalid"]
    field: str
    description: str


class Problem(Answer):
    """Why a call was refused (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    detail: str
    status: int
    invalid_fields: list[InvalidField] = Field([], description="What is wrong with a body; else absent")


INVALID = "Input validation failed"
#: Kinds of errors → their status and title, the first that fits; without a title: by the status.
ERRORS = (
    ErrorRow((InvalidParameter, MissingParameter, e.BadPicture, e.DontFit, e.WebhookRefused), 422, INVALID),
    ErrorRow((VersionUnknown,), 422, "Invalid version or not permitted"),
    ErrorRow((e.ContentRefused,), 422, "Content refused"),
    ErrorRow((e.IdempotencyMismatch,), 422, "Idempotency-Key used before"),
    ErrorRow((e.Unauthorized,), 401, "Unauthenticated"),
    ErrorRow((e.OutOfCredits,), 402, "Insufficient credit"),
    ErrorRow((e.NotFound,), 404, "Not found"),
    ErrorRow((e.NoRoom,), 500),
)


def in_error(error: TintypeError) -> tuple[int, Problem]:
    """The status and the body of an error."""
    _, status, title, _ = row_of(error, ERRORS)
    title, detail = title or HTTPStatus(status).phrase, str(error.public()["error"])
    known: dict[str, Any] = {"type": "about:blank", "title": title, "detail": detail, "status": status}
    if title == INVALID:
        fault = _invalid_field(error)
        known |= {"detail": f"- {fault.field}: {fault.description}", "invalid_fields": [fault]}
    return status, Problem(**known)


def _invalid_field(error: TintypeError) -> InvalidField:
    """What a validation error says of a field, by the name that was sent."""
    words = str(error.public()["error"])
    if isinstance(error, InvalidParameter | MissingParameter):
        field = error.name
    elif isinstance(error, e.BadPicture):
        field = "input.mask" if words.startswith("mask:") else "input.image"
        words = words.removeprefix("mask: ").removeprefix("image: ")
    else:
        field = "input" if isinstance(error, e.DontFit) else words.partition(":")[0]
    return InvalidField(type="invalid", field=field, description=words.removeprefix(f"{field}: "))


#: What some errors mean at these addresses.
REFUSALS = {
    415: "Not JSON, or compressed",
    422: "The input can't be used, or no model has this version",
    500: UNFORESEEN,
}


def described(
    tag: str, id: str, summary: str, *refused: int, told: Collection[str] = (), **more: Any
) -> dict[str, Any]:
    """Arguments of a route. refused: statuses of its errors, besides any call's; told: headers of its answer."""
    answer = {"headers": headers(*told)} if told else {}
    return common.described(tag, id, summary, answer, refusals(Problem, 403, *refused, words=REFUSALS), **more)


class CursorQuery(SentQuery):
    """Which page: `next` and `previous` of another have it."""

    cursor: str | Absent = None


def write_cursor(*place: object) -> str:
    """A place in a list, of JSON values, as the end of a page's address has it."""
    return urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str, *kinds: type) -> list[Any]:
    """What `write_cursor` was told, of these kinds; raises InvalidParameter."""
    with suppress(ValueError, RecursionError):
        place = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), parse_constant=lambda _: None)
        if isinstance(place, list) and [*map(type, place)] == [*kinds]:
            return place
    raise InvalidParameter("cursor", cursor, "what `next` or `previous` of a page has")


EVENTS = ("start", "output", "logs", "completed")
_WORDS = "`wait`: answer when it has ended, within 60 seconds; `wait=N`: within N seconds"
_PREFER = option("Prefer", _WORDS, "string")
_INPUT = {"type": "object", "description": "The model's parameters, by its own names or general ones; null is absent"}
_MEMBERS = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": _INPUT,
        "version": {"type": "string", "description": "The model, where the address doesn't name it"},
        "webhook": {"type": "string", "description": "A public address that is sent the prediction"},
        "webhook_events_filter": {"type": "array", "items": {"type": "string", "enum": [*EVENTS]}},
    },
}
_EXAMPLE = {"version": "stable-diffusion-3.5-turbo-txt2img", "input": {"prompt": "a fox", "steps": 2}}
ASKED = takes({"application/json": {"schema": _MEMBERS, "example": _EXAMPLE}}, _PREFER)
#: Headers of an answer with a prediction, and with a new one; statuses of calls that make one.
TOLD = ("x-request-id", "x-cost", *answers.NOTES)
MADE = ("x-ignored-parameters", "Idempotent-Replayed", *TOLD)
FAULTS = (400, 402, 404, 413, 415, 422, 429)
