"""The tree of errors: its statuses, its words, and what goes over the wire."""

from __future__ import annotations

import inspect
import json
import re

import pytest

from tintype import errors
from tintype.errors import (
    InvalidParameter,
    MissingParameter,
    OutOfCredits,
    RequestUnknown,
    SentTwice,
    TintypeError,
    WorkerUnknown,
)

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TintypeError)]
STATUSES = {
    "TintypeError": 500,
    "BadRequest": 400,
    "InvalidParameter": 400,
    "MissingParameter": 400,
    "WebhookRefused": 400,
    "BadPicture": 400,
    "PictureUnreachable": 400,
    "AddressRefused": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "RequestUnknown": 404,
    "MethodNotAllowed": 405,
    "OutOfCredits": 406,
    "SpendCapReached": 406,
    "StillRunning": 409,
    "BodyTooLarge": 413,
    "UnsupportedBody": 415,
    "ContentRefused": 422,
    "IdempotencyMismatch": 422,
    "TooManyRequests": 429,
    "Cancelled": 500,
    "WeightsUnusable": 500,
    "PictureNotFinite": 500,
    "WorkerUnavailable": 502,
    "StoreUnavailable": 503,
    "PerhapsQueued": 503,
    "NotReady": 503,
    "WaitRanOut": 504,
}
#: A repeat can help these; where the request goes on, it would be run and charged twice.
PASSING = {"StillRunning", "TooManyRequests", "StoreUnavailable", "NotReady"}


def made(kind: type[TintypeError]) -> TintypeError:
    if kind is InvalidParameter:
        return InvalidParameter("steps", 0, "a whole number from 1 to 70")
    if kind is MissingParameter:
        return MissingParameter("prompt", "text")
    return kind("7") if kind in (RequestUnknown, SentTwice, WorkerUnknown) else kind()


def test_every_status_of_the_contract() -> None:
    known = {kind.__name__: kind.status for kind in KINDS}
    assert STATUSES.items() <= known.items()


@pytest.mark.parametrize("kind", KINDS)
def test_the_three_fields(kind: type[TintypeError]) -> None:
    error = made(kind)
    assert error.public() == {"error": error.message, "error_description": kind.advice, "status_code": kind.status}
    assert error.message
    assert kind.advice
    assert str(error) == error.message


@pytest.mark.parametrize("kind", KINDS)
def test_whether_to_retry_is_said_on_5xx_429_and_409_alone(kind: type[TintypeError]) -> None:
    headers = made(kind).public_headers()
    assert ("x-should-retry" in headers) == (kind.status >= 500 or kind.status in (409, 429))
    if kind.__name__ in PASSING:
        assert headers["x-should-retry"] == "true"
        assert int(headers["retry-after"]) > 0
    elif kind.__name__ in STATUSES:
        assert headers.get("x-should-retry", "false") == "false"
        assert "retry-after" not in headers


@pytest.mark.parametrize("kind", KINDS)
def test_the_advice_agrees_with_whether_to_retry(kind: type[TintypeError]) -> None:
    """Where a header says that a repetition is in vain, the words don't ask for one; and the other way round."""
    error = made(kind)
    asks = re.search(r"(^|[.,;:] )(try again|wait\b|(then )?send (it|the request) again)", error.advice, re.IGNORECASE)
    if retry := error.public_headers().get("x-should-retry"):
        assert bool(asks) == (retry == "true"), error.advice


def test_own_headers_are_kept() -> None:
    error = errors.WaitRanOut(headers={"x-request-id": "7"})
    assert error.public_headers() == {"x-request-id": "7", "x-should-retry": "false"}
    assert errors.WaitRanOut().headers == {}


def test_a_parameter_is_named_with_what_was_sent_and_what_is_allowed() -> None:
    assert made(InvalidParameter).message == "steps: 0 was sent; allowed: a whole number from 1 to 70"
    assert made(MissingParameter).message == "prompt: required, but not sent; allowed: text"


def test_any_text_can_be_sent_back() -> None:
    json.dumps(errors.BadRequest("\ud800: sent twice").public(), ensure_ascii=False).encode()


def test_what_was_sent_is_cut_short() -> None:
    assert len(InvalidParameter("image", "x" * 10**6, "a URL").message) < 150
    assert len(RequestUnknown("x" * 10**6).message) < 150
    assert RequestUnknown("7").message == "Request 7 not found"


def test_the_page_in_the_module_shows_the_whole_tree() -> None:
    assert errors.__doc__
    for kind in KINDS:
        assert kind.__name__ in errors.__doc__


def test_whether_to_retry_goes_by_the_status_that_is_answered() -> None:
    assert made(OutOfCredits).public_headers() == {}
    assert made(OutOfCredits).public_headers(429) == {"x-should-retry": "false"}


def test_a_401_names_the_scheme_that_is_taken() -> None:
    assert errors.Unauthorized().public_headers() == {"www-authenticate": 'Bearer realm="tintype"'}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        *((True, "true"), (False, "false"), (None, "null"), (7, "7"), (0.5, "0.5"), (float("nan"), "NaN")),
        *(("101", "'101'"), ([None, "é"], '[null, "é"]'), ({"a": [True]}, '{"a": [true]}'), ({1}, '"{1}"')),
    ],
)
def test_what_was_sent_is_shown_in_the_words_of_json(sent: object, shown: str) -> None:
    assert str(InvalidParameter("steps", sent, "more")) == f"steps: {shown} was sent; allowed: more"


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        *((True, True), (None, None), (7, 7), ("101", "101"), ([None, "é"], [None, "é"]), ("x" * 10**6, "x" * 80)),
        *((float("nan"), "NaN"), ({1}, '"{1}"'), ("\ud800", "\\ud800"), (["\ud800"], '["\\ud800"]')),
        (["x" * 10**6], '["' + "x" * 78 + "…"),
    ],
)
def test_what_was_sent_can_be_a_member_of_an_answer(sent: object, echoed: object) -> None:
    assert InvalidParameter("steps", sent, "more").sent == echoed
    json.dumps(echoed, ensure_ascii=False, allow_nan=False).encode()
