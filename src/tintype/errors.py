"""The tree of errors, each with its HTTP status and the message for clients.

    TintypeError                    500
    ├── BadRequest                  400
    │   ├── InvalidParameter        400  which parameter, what was sent, what is allowed
    │   ├── MissingParameter        400
    │   ├── SentTwice               400
    │   ├── DontFit                 400  parameters that are allowed, but not together
    │   ├── TextTooLong             400  where no long text can be meant
    │   ├── HeadTooLarge            431
    │   ├── WebhookRefused          400
    │   └── BadPicture              400  the input image is at fault
    │       ├── PictureUnreachable  400
    │       └── AddressRefused      400
    ├── Unauthorized                401
    ├── Forbidden                   403
    ├── NotFound                    404
    │   ├── RequestUnknown          404
    │   ├── ImageUnknown            404
    │   ├── ModelUnknown            404
    │   │   ├── NotServed           404
    │   │   └── VersionUnknown      404
    │   └── WorkerUnknown           404
    ├── MethodNotAllowed            405
    ├── OutOfCredits                406
    │   └── SpendCapReached         406
    ├── TooSlow                     408
    ├── StillRunning                409
    ├── BodyTooLarge                413
    ├── UnsupportedBody             415
    ├── ContentRefused              422  the safety check refused it
    ├── IdempotencyMismatch         422
    ├── TooManyRequests             429
    │   └── QueueFull               429
    ├── Cancelled                   500  by its caller, or by Cancel-After
    ├── LedgerBroken                500
    ├── WeightsUnusable             500
    ├── SafetyUnavailable           500  a required safety check can't be run
    ├── MarkUnavailable             500  an image can't be signed, and must be
    ├── ConfigurationInvalid        500  an operator's mistake
    ├── PullFailed                  500  weights that can't be fetched
    ├── PictureNotFinite            500  the model computed NaN or infinity
    ├── StoreUnavailable            503
    │   └── PerhapsDone             503  the database was lost before it confirmed a commit
    │       └── PerhapsQueued       503
    ├── StorageUnavailable          503
    ├── NotReady                    503
    ├── Restarting                  503  a waiting call ends, and its request with it; or its body came late
    ├── TooManyConnections          503
    ├── NoRoom                      507  the model and the request don't fit in memory
    └── GoesOn                      504  the call ends, its request is still running
        ├── WorkerUnavailable       502
        └── WaitRanOut              504

Nothing here may carry a path, a key or an internal name: `public()` is what goes over the wire.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from math import ceil
from typing import Self

SENT_LENGTH = 80
#: The only text for unforeseen exceptions.
UNFORESEEN = "Something went wrong on this server"
#: What a caller reads of a request that a worker gave up for no reason of the request's own.
MODEL_FAILED = "the model failed on this request"
STORAGE_REFUSED = "the storage of pictures did not take this one"
NOT_UNDERSTOOD = "this server no longer runs that request"


def gave_up(attempts: int) -> str:
    """What a caller reads of a request whose every attempt was lost: its workers died, or fell silent."""
    return f"gave up after {attempts} attempts"


class TintypeError(Exception):
    """Something went wrong on this server; the request was not charged."""

    status = 500
    #: What the client can do next, as `error_description`.
    advice = "Tell the operator of this server, with the request id if there is one: a retry may fail too."
    #: Seconds for `Retry-After` where a retry may succeed; None where it can't. A call whose request is still running
    #: must not be retried: it would run, and be charged, twice.
    retry_after: int | None = None

    def __init__(self, message: str | None = None, *, headers: dict[str, str] | None = None) -> None:
        self.message = message or type(self).__doc__ or ""
        self.headers = headers or {}
        super().__init__(self.message)

    def public(self) -> dict[str, str | int]:
        """The JSON body of the answer; `error` is the only field that the vendor's SDK reads."""
        return {"error": encodable(self.message), "error_description": self.advice, "status_code": self.status}

    def public_headers(self, status: int | None = None) -> dict[str, str]:
        """The error's own headers, with `x-should-retry` on every 5xx, 429 and 409.

        status: the answer's, where an API has another one for it.
        """
        status = status or self.status
        retry = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if status >= 500 or status in (409, 429):
            retry["x-should-retry"] = "false" if self.retry_after is None else "true"
        return self.headers | retry


class BadRequest(TintypeError):
    """The request could not be understood."""

    status = 400
    advice = "Correct the request and send it again; nothing was queued or charged."


class InvalidParameter(BadRequest):
    """A parameter is missing, out of range or of the wrong type."""

    def __init__(self, name: str, sent: object, allowed: str) -> None:
        shown = _shown(sent)
        self.name = name
        #: What was sent, as JSON has it; of more than SENT_LENGTH characters, how it begins.
        self.sent = _echo(sent, shown)
        super().__init__(f"{name}: {shown} was sent; allowed: {allowed}")


def _shown(sent: object) -> str:
    """A value for a message, cut to SENT_LENGTH: a string in quotes, all else as JSON has it.

    Strings are cut first, since the repr of megabytes takes time.
    """
    as_json = partial(json.dumps, ensure_ascii=False, default=repr)
    text = repr(sent[: SENT_LENGTH + 1]) if isinstance(sent, str) else as_json(sent)
    return text if len(text) <= SENT_LENGTH else text[:SENT_LENGTH] + "…"


def _echo(sent: object, shown: str) -> object:
    """What was sent, for a member of an error's JSON. shown: the same for its message."""
    if isinstance(sent, str):
        return encodable(sent[:SENT_LENGTH])
    if len(shown) <= SENT_LENGTH:
        with suppress(TypeError, ValueError):
            json.dumps(sent, ensure_ascii=False, allow_nan=False).encode()
            return sent
    return encodable(shown)


def encodable(text: str) -> str:
    """A lone surrogate, which JSON allows in a text, can't be sent."""
    return text.encode("utf-8", "backslashreplace").decode()


class MissingParameter(BadRequest):
    """A required parameter was not sent."""

    def __init__(self, name: str, allowed: str) -> None:
        self.name = name
        super().__init__(f"{name}: required, but not sent; allowed: {allowed}")


class DontFit(BadRequest):
    """Parameters that are allowed, but not together."""


class SentTwice(BadRequest):
    """A parameter was sent twice: its sender can't know which one counts, and pays for it."""

    def __init__(self, name: str) -> None:
        self.name = name[:SENT_LENGTH]
        super().__init__(f"{self.name}: sent twice")


class TextTooLong(BadRequest):
    """A text in the body is longer than any that is meant there."""

    def __init__(self, message: str | None = None, place: tuple[str, ...] = ()) -> None:
        #: The names of the members that it is in, from the body's own on; empty where it is a name itself.
        self.place = place
        super().__init__(message)


class HeadTooLarge(BadRequest):
    """The request's line and headers are larger than this server allows."""

    status = 431
    advice = "Send shorter headers; parameters and images belong in the body."


class WebhookRefused(BadRequest):
    """Webhooks can't be sent to this address."""

    advice = (
        "Name an http(s) address that this server reaches on the internet, or ask the operator to allow the host "
        "(TINTYPE_WEBHOOK_ALLOW); nothing was queued or charged."
    )


class BadPicture(BadRequest):
    """The input image can't be used."""

    advice = "Send another image; nothing was charged."


class PictureUnreachable(BadPicture):
    """The input image could not be downloaded."""

    advice = "Check that the address answers from the internet with an image, or send it as base64."


class AddressRefused(BadPicture):
    """The address of the input image is not a public one."""

    advice = "Send the image as base64, or ask the operator to allow the host (TINTYPE_FETCH_ALLOW)."


class Unauthorized(TintypeError):
    """The API key is missing, unknown, revoked or expired."""

    status = 401
    advice = "Send a valid key in the x-api-key header (or Authorization: Bearer …)."
    #: Label values in `/metrics`.
    REASONS = ("missing", "unknown", "revoked", "expired", "replaced")

    def __init__(self, message: str | None = None, *, reason: str = "unknown") -> None:
        self.reason = reason
        super().__init__(message, headers={"www-authenticate": 'Bearer realm="tintype"'})


class Forbidden(TintypeError):
    """This API key is not allowed to do that."""

    status = 403
    advice = "Use a key that may, or ask the operator for one; where it asks for too much, ask for less."
    #: Label values in `/metrics`: a key that may only read, isn't an operator's, or sees the server alone; a model;
    #: more than a limit ever allows; more keys, or keys with more rights, than it may make; others.
    REASONS = ("read_only", "not_operator", "server_only", "model", "limit", "keys", "other")

    def __init__(self, message: str | None = None, *, reason: str = "other") -> None:
        self.reason = reason
        super().__init__(message)


class NotFound(TintypeError):
    """There is nothing at this address."""

    status = 404
    advice = "Check the address and the id: what has expired is gone. GET /v1/models lists the models."


class RequestUnknown(NotFound):
    """The request is unknown, expired or another account's."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"Request {request_id[:SENT_LENGTH]} not found")


class ImageUnknown(NotFound):
    """The image is unknown, was deleted, has expired, or is another account's."""

    advice = "GET /v2/images lists the images that are there. What is gone can be made again, with the same seed."

    @classmethod
    def of(cls, name: str, why: str = "") -> Self:
        """why: what has become of it, if that is known: `was deleted`."""
        return cls(f"Image {name[:SENT_LENGTH]} {why or 'not found'}")


class ModelUnknown(NotFound):
    """There is no model of this name."""


class NotServed(ModelUnknown):
    """This model is known, but this server has no weights for it."""

    advice = "Use a model that is served (GET /v1/models), or ask the operator for the weights of this one."


class VersionUnknown(ModelUnknown):
    """No model of this server has this version: its weights may have changed since."""


class WorkerUnknown(NotFound):
    """No worker is known by that name."""

    advice = "GET /v2/operator and `tintype workers list` show the workers that are known."

    def __init__(self, name: str) -> None:
        super().__init__(f"No worker {name[:SENT_LENGTH]} is known")


class MethodNotAllowed(TintypeError):
    """The address exists, but not for this method."""

    status = 405
    advice = "The Allow header names the methods of this address."


class OutOfCredits(TintypeError):
    """The account's balance does not cover this request."""

    status = 406
    advice = "Add credits to the account, or wait until running requests release what they hold."


class SpendCapReached(OutOfCredits):
    """The API key's spend cap does not cover this request."""

    advice = "Use another key, or ask the operator to raise this one's cap."


class TooSlow(TintypeError):
    """The request did not come in time."""

    status = 408
    advice = "Send it again without pauses; nothing was queued or charged."


class StillRunning(TintypeError):
    """The request with this Idempotency-Key is still running."""

    status = 409
    advice = "Send it again a little later for its answer: it runs and is charged once."
    retry_after = 2


class BodyTooLarge(TintypeError):
    """The body of the request is larger than this server allows."""

    status = 413
    advice = "Send a smaller image or its URL; nothing was queued or charged."


class UnsupportedBody(TintypeError):
    """The body's content type is not supported."""

    status = 415
    advice = "Send application/json, multipart/form-data or application/x-www-form-urlencoded, without compression."


class ContentRefused(TintypeError):
    """The safety check refused the content."""

    status = 422
    advice = "Change the prompt or the image; nothing was charged."

    @classmethod
    def of_image(cls, category: str) -> Self:
        """For an output that the check puts into this category."""
        return cls(f"The safety check refused the image: {category}")


class IdempotencyMismatch(TintypeError):
    """This Idempotency-Key was used before, with other parameters or at another address."""

    status = 422
    advice = "Use a new key for a new request, or send the first one unchanged; nothing was queued or charged."


class TooManyRequests(TintypeError):
    """Too many requests."""

    status = 429
    advice = "Send it again after the seconds in Retry-After; nothing was queued or charged."

    def __init__(self, message: str | None = None, wait: float = 1.0, moment: float = 0.0) -> None:
        super().__init__(message, headers=rate_headers(0, moment + wait))
        self.retry_after = max(1, ceil(wait))


class QueueFull(TooManyRequests):
    """The queue has no room for this request, or its account has its share of it."""


def rate_headers(remaining: int, reset_at: float) -> dict[str, str]:
    """Headers of answers: requests that may be sent now, and when that is counted again, in unix seconds."""
    reset = datetime.fromtimestamp(reset_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"x-rate-limit-remaining": str(remaining), "x-rate-limit-reset-at-utc": reset}


class Cancelled(TintypeError):
    """The request was cancelled."""

    advice = "Its caller cancelled it, or its Cancel-After expired: send a new one if you still need it."


class LedgerBroken(TintypeError):
    """A stored sum is not that of its rows: a balance, or a count of the queue."""


class WeightsUnusable(TintypeError):
    """The model's weights can't be loaded."""

    advice = "Tell the operator of this server; nothing was charged."


class SafetyUnavailable(TintypeError):
    """The safety check that this request needs can't be run."""

    advice = "Tell the operator of this server; nothing was charged."


class MarkUnavailable(TintypeError):
    """The image can't be signed as made by this server, which it must be."""

    advice = "Tell the operator of this server; nothing was charged."


class ConfigurationInvalid(TintypeError):
    """The configuration is not understood. Only the operator reads it, so it may name files."""

    advice = "Correct the configuration and start again."


class PullFailed(TintypeError):
    """Weights could not be fetched. Only the operator reads it, so it may name files."""

    advice = "Nothing that was there before has changed; the next pull resumes this one."


class PictureNotFinite(TintypeError):
    """The image came out as NaN or infinite, in float32 too."""

    advice = "Try another seed, sampler or guidance; nothing was charged."


class StoreUnavailable(TintypeError):
    """The database can't be reached at the moment."""

    status = 503
    #: For submits and for status queries alike: the latter must not read as if the request had stopped.
    advice = "Send it again: this call has queued and charged nothing; queued and running requests are not affected."
    retry_after: int | None = 2


class PerhapsDone(StoreUnavailable):
    """The database was lost before it confirmed the change: it may be done, or not."""

    advice = "When the database is back, check whether it is done before you send it again."
    retry_after: int | None = None


class PerhapsQueued(PerhapsDone):
    """The database was lost before it confirmed that the request is queued: it may be, or not."""

    advice = "When the database is back, get the request's status by its id: 404 means that it was not queued."

    @classmethod
    def of(cls, request_id: str, *, once: bool) -> Self:
        """once: whether the call has an Idempotency-Key, and can be retried in either case."""
        error = cls(headers={"x-request-id": request_id})
        if once:
            error.retry_after = StoreUnavailable.retry_after
            error.advice = "Send it again with the same Idempotency-Key: it runs only once."
        return error


class StorageUnavailable(TintypeError):
    """The storage of images can't be used at the moment."""

    status = 503
    advice = "Try again in a moment; this call has charged nothing."
    retry_after = 5
    #: The reason, for the operator only: in logs and the list of workers, never in an answer to a caller.
    why = "it does not answer"
    #: Whether it answers with a refusal, which waiting won't change.
    refuses = False

    @classmethod
    def because(cls, why: str, *, refuses: bool = True) -> Self:
        error = cls()
        error.why, error.refuses = why, refuses
        return error


class NotReady(TintypeError):
    """This server can't run requests at the moment: its database, its storage or its workers are unavailable."""

    status = 503
    advice = "Try again in some seconds: workers may be starting. If it lasts, tell the operator of this server."
    retry_after = 5


class Restarting(TintypeError):
    """This server is being restarted, and the image was not made in time; its request is cancelled."""

    status = 503
    advice = "Nothing was charged: send it again. With an Idempotency-Key, a request survives a restart."
    retry_after = 2


class TooManyConnections(TintypeError):
    """This server has its maximum number of connections open."""

    status = 503
    advice = "Reuse your connections, and open fewer at the same time; then send it again."
    retry_after = 2


class NoRoom(TintypeError):
    """This server doesn't have enough memory for this request."""

    status = 507
    advice = "Ask for a smaller image, or tell the operator of this server; nothing was charged."

    @classmethod
    def of(cls, needed: int, budget: int) -> Self:
        """For work that needs `needed` bytes at the same time, with a budget of `budget` bytes."""
        gigabytes = f"{needed / 2**30:.3g} GB of memory, and this server has {budget / 2**30:.3g} GB for it"
        return cls(f"This model and an image of this size need {gigabytes}")


class GoesOn(TintypeError):
    """The request is still running."""

    status = 504
    advice = "Don't send it again: the request is still running; fetch its result by its id."

    def __init__(self, message: str | None = None, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, headers=headers)
        #: The request's id, and v2's addresses of its status and its result.
        self.places: dict[str, str] = {}

    def public(self) -> dict[str, str | int]:
        """With these addresses."""
        return super().public() | self.places

    def repeatable(self, seconds: int) -> Self:
        """The same error for a call with an Idempotency-Key, which can be retried after these seconds."""
        self.retry_after = seconds
        self.advice = "Send it again with the same Idempotency-Key, or fetch the result by its id: it runs only once."
        return self

    def given_up(self) -> None:
        """Say instead that its request was cancelled with the call."""
        self.message = f"{self.message.partition(';')[0].rstrip('.')}; it was cancelled"
        self.advice = (
            "Nothing was charged. With an Idempotency-Key, a request goes on: send it again later for its images."
        )
        self.places = {}


class WorkerUnavailable(GoesOn):
    """No worker is running at the moment."""

    status = 502
    advice = "Don't send it again: the request stays queued and runs when a worker is back; fetch its result by its id."


class WaitRanOut(GoesOn):
    """The request did not end while this call waited for it."""


#: Errors that requests end with, by the name in their rows: the advice depends on it.
KINDS: dict[str, type[TintypeError]] = {
    "bad_picture": BadPicture,
    "picture_unreachable": PictureUnreachable,
    "address_refused": AddressRefused,
    "content_refused": ContentRefused,
    "weights_unusable": WeightsUnusable,
    "safety_unavailable": SafetyUnavailable,
    "mark_unavailable": MarkUnavailable,
    "picture_not_finite": PictureNotFinite,
    "no_room": NoRoom,
}


def kind_of(error: TintypeError) -> str | None:
    """The name of an error in KINDS, if it is one of them."""
    return next((name for name, kind in KINDS.items() if type(error) is kind), None)
