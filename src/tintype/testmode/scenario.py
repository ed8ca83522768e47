"""Scenarios: what a test request's prompt says, in words that begin with `test:`, is to become of it."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tintype.catalog.spec import Draw
from tintype.errors import (
    MODEL_FAILED,
    AddressRefused,
    BadPicture,
    BodyTooLarge,
    ContentRefused,
    Forbidden,
    GoesOn,
    InvalidParameter,
    OutOfCredits,
    PictureNotFinite,
    PictureUnreachable,
    QueueFull,
    SpendCapReached,
    StoreUnavailable,
    TintypeError,
    TooManyRequests,
    UnsupportedBody,
    WaitRanOut,
    WeightsUnusable,
    WorkerUnavailable,
    gave_up,
    kind_of,
)
from tintype.media.sanitize import DAMAGED
from tintype.settings import Settings
from tintype.store.db.records import CANCELLED, Failure

MAGIC = "test:"
#: Max seconds of each delay: longer than any client waits.
LONGEST = 600.0
#: The default of the setting: attempts after which a live request is given up.
MAX_ATTEMPTS = Settings().queue.max_attempts
#: Attempts that may fail before a request's last one.
MAX_RETRIES = MAX_ATTEMPTS - 1
SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")
HOST = "pictures.example"
#: Seconds that a magic 429 says to wait.
WAIT = 2.0


def _too_many() -> TintypeError:
    said = f"Too many requests: this API key may send 30 per minute. Retry in {WAIT:g} s."
    return TooManyRequests(said, WAIT, time.time())


def _queue_full() -> TintypeError:
    return QueueFull("The queue is full: it holds 10000 images", WAIT, time.time())


#: Refused when it is submitted, by v1 and v2 alike: there is no request then.
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
#: A v1 call ends with these immediately; the request goes on.
INTERRUPTIONS: Mapping[str, type[GoesOn]] = {"no-worker": WorkerUnavailable, "wait-ran-out": WaitRanOut}


@dataclass(frozen=True)
class Failing:
    """How a request fails; one that is `retried` fails so at every attempt, up to the last."""

    error: str
    status: int
    retried: bool = False
    kind: str | None = None

    def after(self, max_attempts: int) -> str:
        """Its error where a live request gets `max_attempts` attempts."""
        return gave_up(max_attempts) if self.error == gave_up(MAX_ATTEMPTS) else self.error


def _of(error: TintypeError | Failure) -> Failing:
    if isinstance(error, Failure):
        return Failing(error.error, error.status, kind=error.kind)
    return Failing(error.message, error.status, kind=kind_of(error))


#: The request is accepted, and ends FAILED.
FAILURES: Mapping[str, Failing] = {
    "unreachable-picture": _of(PictureUnreachable(f"{HOST}: HTTP status 404")),
    "refused-address": _of(AddressRefused(f"{HOST}: not a public address")),
    "bad-picture": _of(BadPicture(DAMAGED)),
    "safety": _of(ContentRefused.of_image("nsfw")),
    "not-finite": _of(PictureNotFinite()),
    "weights": _of(WeightsUnusable("the weights can't be loaded: OSError")),
    "model": Failing(MODEL_FAILED, 500, retried=True),
    "out-of-memory": Failing(MODEL_FAILED, 500, retried=True),
    "crash": Failing(gave_up(MAX_ATTEMPTS), 500, retried=True),
    "time-limit": _of(CANCELLED),
    "cancelled": _of(CANCELLED),
}


@dataclass(frozen=True)
class Scenario:
    """What is to become of a test request; by default, it is COMPLETED immediately."""

    ok: bool = True
    #: Seconds in each state.
    queued: float = 0.0
    processing: float = 0.0
    #: Attempts that fail before one succeeds.
    retries: int = 0
    fail: str = ""
    refuse: str = ""
    interrupt: str = ""

    @property
    def failing(self) -> Failing | None:
        """How it ends FAILED, if it does."""
        return FAILURES[self.fail] if self.fail else None

    @property
    def interruption(self) -> type[GoesOn] | None:
        """What a v1 call ends with immediately, if it does."""
        return INTERRUPTIONS[self.interrupt] if self.interrupt else None

    def check_in(self) -> float:
        """Seconds that the request is to stay in the queue; raises what it is to be refused with."""
        if self.refuse:
            raise REFUSALS[self.refuse]()
        return self.queued


KINDS = [field.name for field in fields(Scenario)]


def parse(prompt: str) -> Scenario:
    """The scenario in a prompt; a prompt whose first word is not magic has the default one.

    Raises InvalidParameter for a word that is unknown, out of range, or the second of its kind.
    """
    words = prompt.split()
    if not words or not words[0].startswith(MAGIC):
        return Scenario()
    said: dict[str, Any] = {}
    for word in words:
        kind, _, value = word.removeprefix(MAGIC).partition(":")
        if not word.startswith(MAGIC) or kind not in KINDS or kind in said:
            raise InvalidParameter("prompt", word, allowed())
        said[kind] = _value(kind, value, word)
    return Scenario(**said)


def _value(kind: str, value: str, word: str) -> Any:
    """What comes after the kind, checked."""
    if kind == "ok" and not value:
        return True
    if kind in ("queued", "processing") and SECONDS.fullmatch(value) and float(value) <= LONGEST:
        return float(value)
    if kind == "retries" and value in [str(count + 1) for count in range(MAX_RETRIES)]:
        return int(value)
    if value in _names().get(kind, ()):
        return value
    raise InvalidParameter("prompt", word, allowed())


def _names() -> Mapping[str, Mapping[str, Any]]:
    return {"fail": FAILURES, "refuse": REFUSALS, "interrupt": INTERRUPTIONS}


def allowed() -> str:
    """Every magic word, in one line."""
    named = [f"{MAGIC}{kind}:{'|'.join(names)}" for kind, names in _names().items()]
    timed = f"{MAGIC}queued:SECONDS, {MAGIC}processing:SECONDS (up to {LONGEST:g})"
    return f"{MAGIC}ok, {timed}, {MAGIC}retries:1|{MAX_RETRIES}, {', '.join(named)}; each kind once, nothing else"


def steady_draw(params: Mapping[str, Any]) -> Draw:
    """Draws the seed from the parameters: the same request makes the same image, without a seed too."""

    def draw(below: int) -> int:
        return int.from_bytes(hashlib.sha256(json.dumps(params, sort_keys=True).encode()).digest()) % below

    return draw


def table() -> str:
    """All magic words with what v1 and v2 answer, in Markdown: the documentation's own words."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (("prompt", "v1", "v2"), ("---", "---", "---"), *_rows()))


def _rows() -> Iterator[tuple[str, str, str]]:
    yield f"`{MAGIC}ok`, or any without magic", "200, at once", "COMPLETED at once"
    yield f"`{MAGIC}queued:SECONDS`", "200, so much later", "QUEUED for so long"
    yield f"`{MAGIC}processing:SECONDS`", "200, so much later", "PROCESSING for so long, step by step"
    yield f"`{MAGIC}retries:1`, `{MAGIC}retries:2`", "200", "COMPLETED with this `metrics.retry_count`"
    for name, failing in FAILURES.items():
        v1 = failing.status if failing.status in (400, 422) else 500
        retried = f", `retry_count` {MAX_RETRIES}" if failing.retried else ""
        yield f"`{MAGIC}fail:{name}`", str(v1), f"FAILED (422): {failing.error}{retried}"
    for name, refusal in REFUSALS.items():
        words = _summary(refusal())
        yield f"`{MAGIC}refuse:{name}`", words, words
    for name, kind in INTERRUPTIONS.items():
        yield f"`{MAGIC}interrupt:{name}`", f"{_summary(kind())}; the request goes on", "as without it"


def _summary(error: TintypeError) -> str:
    """An error in a table's cell: its status, and when to come back."""
    wait = "" if error.retry_after is None else f", `Retry-After: {error.retry_after}`"
    return f"{error.status}{wait}"
