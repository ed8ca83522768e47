"""What can be made to happen to a test request: the very errors that a live one meets, under names for prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tintype.errors import (
    AddressRefused,
    BadPicture,
    BodyTooLarge,
    ContentRefused,
    Forbidden,
    GoesOn,
    OutOfCredits,
    PictureNotFinite,
    PictureUnreachable,
    SpendCapReached,
    StoreUnavailable,
    TintypeError,
    TooManyRequests,
    UnsupportedBody,
    WaitRanOut,
    WeightsUnusable,
    WorkerUnavailable,
    kind_of,
)
from tintype.media.sanitize import DAMAGED
from tintype.settings import Settings
from tintype.store.db.records import CANCELLED, Failure

#: What a worker says when the model raises, before and after the last attempt.
TRIED_AGAIN = "the model failed on this request"
HOST = "pictures.example"
#: The default of the setting: after so many attempts a live request is given up.
MAX_ATTEMPTS: int = Settings.model_fields["max_attempts"].default
#: Seconds that a magic 429 says to wait.
WAIT = 2.0


def _too_many() -> TintypeError:
    return TooManyRequests(
        f"Too many requests: this API key may send 30 per minute. Retry in {WAIT:g} s.", WAIT, time.time()
    )


def _queue_full() -> TintypeError:
    return TooManyRequests("The queue is full: it holds 10000 pictures", WAIT, time.time())


#: Refused at once, by v1 and v2 alike: there is no request then.
REFUSALS: Mapping[str, Callable[[], TintypeError]] = {
    "forbidden": lambda: Forbidden("This API key may not run this model", reason="model"),
    "out-of-credits": lambda: OutOfCredits("The balance available is $0, but this request needs $0.01"),
    "spend-cap": lambda: SpendCapReached("This API key may spend $5, of which $0 is left, but this needs $0.01"),
    "too-large": BodyTooLarge,
    "unsupported-body": UnsupportedBody,
    "too-many-requests": _too_many,
    "queue-full": _queue_full,
    "internal": TintypeError,
    "store-unavailable": StoreUnavailable,
}
#: A v1 call ends with these at once; the request goes on.
INTERRUPTIONS: Mapping[str, type[GoesOn]] = {"no-worker": WorkerUnavailable, "wait-ran-out": WaitRanOut}


@dataclass(frozen=True)
class Failing:
    """How a request fails; one that is `tried` again fails so at every attempt, up to the last."""

    error: str
    status: int
    tried: bool = False
    kind: str | None = None


def _of(error: TintypeError | Failure) -> Failing:
    if isinstance(error, Failure):
        return Failing(error.error, error.status, kind=error.kind)
    return Failing(error.message, error.status, kind=kind_of(error))


#: The request is accepted, and ends FAILED.
FAILURES: Mapping[str, Failing] = {
    "unreachable-picture": _of(PictureUnreachable(f"{HOST}: HTTP status 404")),
    "refused-address": _of(AddressRefused(f"{HOST}: not a public address")),
    "bad-picture": _of(BadPicture(DAMAGED)),
    "safety": _of(ContentRefused.of_picture("nsfw")),
    "not-finite": _of(PictureNotFinite()),
    "weights": _of(WeightsUnusable("the weights can't be loaded: OSError")),
    "model": Failing(TRIED_AGAIN, 500, tried=True),
    "out-of-memory": Failing(TRIED_AGAIN, 500, tried=True),
    "crash": Failing(f"gave up after {MAX_ATTEMPTS} attempts", 500, tried=True),
    "time-limit": _of(CANCELLED),
    "cancelled": _of(CANCELLED),
}
