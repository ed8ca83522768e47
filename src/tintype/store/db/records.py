"""Rows as they are read (requests, webhook subscriptions, deliveries), and the words for their states."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from tintype.core import Callback, GenerationParams, Json, Result
from tintype.settings.groups import Safety


class Status(StrEnum):
    """Where a request stands; the words are the wire's."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether it is the last one."""
        return self in (Status.COMPLETED, Status.FAILED)


class Entry(StrEnum):
    """The kinds of rows in the ledger."""

    #: Money that an operator gave.
    GRANT = "grant"
    #: What a request may cost is set aside.
    HOLD = "hold"
    #: A request COMPLETED: its cost is paid, and its hold ends.
    SETTLE = "settle"
    #: A request FAILED: its hold ends.
    RELEASE = "release"
    #: Money that an operator took back.
    ADJUST = "adjust"


class LeaseStatus(StrEnum):
    """What a worker learns about each of its requests when it renews their leases."""

    #: Still its own: go on.
    KEEP = "keep"
    #: Still its own, but cancelled or past its deadline: stop, then `end_cancelled`.
    CANCEL = "cancel"
    #: Ended, or another worker's: drop it and write nothing.
    LOST = "lost"


class PreloadState(StrEnum):
    """How far a worker is with loading a model ahead of requests for it."""

    #: Asked for, not finished.
    WARMING = "WARMING"
    #: All of the model's weights are on the device.
    WARM = "WARM"
    #: They were, and some have been evicted since.
    COLD = "COLD"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is with a request; `attempt` is the number that its claim returned."""

    id: str
    attempt: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed."""

    #: In words for the caller.
    error: str
    #: HTTP status of a v1 answer.
    status: int
    #: Its name in `errors.KINDS`, if it has one there.
    kind: str | None = None


CANCELLED = Failure("cancelled", 499)


@dataclass(frozen=True, slots=True, order=True)
class Allowance:
    """What a key with a limit per minute or day may still ask for after a request; of several, the smallest."""

    #: Requests that may be sent immediately.
    remaining: int
    #: When it is counted from the beginning again, in unix seconds.
    full_at: float


DAY = 86_400
#: The dialect of the vendor's own addresses.
VENDOR = "vendor"


def utc_day(moment: float) -> int:
    """The UTC day of a moment in unix seconds, counted from 1970-01-01."""
    return int(moment // DAY)


def counted_attempts(claims: Any, hand_backs: Any) -> Any:
    """Attempts that count, the present one included; 0 before the first. Of numbers, or of columns in SQL.

    Claims that were handed back don't count: a worker stopped, or had no room, and nothing went wrong.
    """
    return claims - hand_backs


@dataclass(frozen=True, slots=True)
class Timing:
    """Moments in unix seconds of the database's clock."""

    submitted_at: float
    #: When its last attempt began.
    started_at: float | None = None
    ended_at: float | None = None
    #: When its record expires.
    expires_at: float | None = None
    #: Before this moment it isn't claimable.
    due_at: float | None = None
    #: Its deadline: then it is cancelled.
    cancel_at: float | None = None
    #: Until when a client follows it: only then are previews made.
    watched_until: float | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Which worker has it."""

    #: The last one that claimed it; None while it is queued.
    worker: str | None = None
    #: Unix seconds; a worker that has not renewed by then is taken for dead.
    until: float | None = None
    #: Claims that were handed back.
    hand_backs: int = 0
    #: Whether it is to stop: its caller has cancelled it, or its deadline has passed.
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Billing:
    """Its money, in micro-dollars."""

    #: What is held while it has not ended: its maximum cost.
    price: int
    #: Per second of the model's work; None where the price is per image.
    rate: int | None = None
    #: Its cost; None until it is COMPLETED.
    cost: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMetadata:
    """What came in next to the parameters."""

    #: The server's address as the caller reached it, without a slash at the end.
    base_url: str | None = None
    #: Where the caller wants its end sent, in addition to the account's subscriptions.
    webhook_url: str | None = None
    #: The caller's Idempotency-Key, and a hash of what was sent with it.
    idempotency_key: str | None = None
    fingerprint: str | None = None
    #: Headers of the answer, which a repetition gets too.
    reply: Json | None = None
    #: The trace that it belongs to, as W3C's header of that name has it.
    traceparent: str | None = None
    #: The public API that it came by, a dialect's name.
    dialect: str = VENDOR
    #: The body as it was sent, each image, file and webhook address null; None where `params` say it all.
    asked: Json | None = None
    callback: Callback | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One row of `requests` as it was when it was read: the record, the queue entry and the lease."""

    id: str
    #: Order of arrival.
    seq: int
    account_id: str
    key_id: str
    #: The model's.
    slug: str
    #: What was sent, validated, in the model's own words.
    params: Json
    #: `GenerationParams` as JSON; None in rows of earlier versions.
    stored_generation: Json | None = None
    status: Status
    #: Number of claims. A worker that names another attempt than the row's is late and changes nothing.
    attempt: int
    #: Model evaluations done, and in all, as far as is known.
    step: int
    steps: int
    images: int = 1
    #: Higher runs first.
    priority: int
    #: Whether a test key sent it: it is free, and for the fake worker alone.
    test: bool = False
    #: How strict the safety filter is with it, as was in force for its key when it came.
    safety: Safety = "off"
    #: What the speed of its steps is filed under; None where nothing is learnt from it.
    speed_key: str | None = None
    #: What was made of it; None unless it is COMPLETED.
    result: Result | None = None
    #: Why it is FAILED.
    failure: Failure | None = None
    timing: Timing
    lease: Lease
    billing: Billing
    metadata: RequestMetadata
    #: Not of the row: what a limited key has left, for the caller that has just submitted it.
    allowance: Allowance | None = None
    #: Nor this: micro-dollars that its account can still spend, for the same caller.
    remaining: int | None = field(default=None, compare=False)

    @classmethod
    def of(cls, row: Sequence[Any], moment: float | None = None) -> Request:
        """The request of a whole row; at this moment, if one is given: past its deadline it is as good as cancelled."""
        # In the order of the table's columns: to ask the row for each by its name would take as long again.
        (id, seq, account_id, key_id, slug, params, generation, price, priority, status, attempt, hand_backs, worker,
         lease_until, cancel_requested, step, steps, submitted_at, started_at, ended_at, expires_at, result, error,
         error_status, error_kind, rate, cost, images, cancel_at, idempotency_key, fingerprint, reply, base_url,
         webhook_url, speed_key, watched_until, test, due_at, traceparent, safety, dialect, asked,
         callback) = row  # fmt: skip
        overdue = moment is not None and cancel_at is not None and cancel_at <= moment
        return cls(
            id=id,
            seq=seq,
            account_id=account_id,
            key_id=key_id,
            slug=slug,
            params=params,
            stored_generation=generation,
            status=status,
            attempt=attempt,
            step=step,
            steps=steps,
            images=images,
            priority=priority,
            test=test,
            safety=safety,
            speed_key=speed_key,
            result=None if result is None else Result.from_json(result),
            failure=None if error is None else Failure(error, error_status, error_kind),
            timing=Timing(submitted_at, started_at, ended_at, expires_at, due_at, cancel_at, watched_until),
            lease=Lease(worker, lease_until, hand_backs, cancel_requested or overdue),
            billing=Billing(price, rate, cost),
            metadata=RequestMetadata(
                base_url=base_url,
                webhook_url=webhook_url,
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
                reply=reply,
                traceparent=traceparent,
                dialect=dialect,
                asked=asked,
                callback=None if callback is None else Callback.from_json(callback),
            ),
        )

    @property
    def generation(self) -> GenerationParams | None:
        """What it asks for; None in rows of earlier versions, which have `params` only.

        Raises TypeError for a newer version's row that this one can't read.
        """
        return None if self.stored_generation is None else GenerationParams.from_json(self.stored_generation)

    @property
    def attempts(self) -> int:
        """Those of its claims that count; 0 before the first."""
        return int(counted_attempts(self.attempt, self.lease.hand_backs))

    @property
    def retries(self) -> int:
        """Attempts that failed before the present or last one."""
        return max(0, self.attempts - 1)

    @property
    def error(self) -> str | None:
        """Why it is FAILED, in words for its caller."""
        return None if self.failure is None else self.failure.error

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its caller should know of the images."""
        return () if self.result is None else self.result.warnings

    @property
    def mode(self) -> dict[str, Any]:
        """What answers say in addition where a test key sent it."""
        return {"mode": "test"} if self.test else {}

    @property
    def ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status.ended

    @property
    def outcome(self) -> str:
        """How it ended, in a word: `refused` is its caller's fault, `failed` this server's."""
        if self.failure is None:
            return "completed"
        if self.failure.status == CANCELLED.status:
            return "cancelled"
        return "failed" if (self.failure.status or 500) >= 500 else "refused"

    @property
    def timed_out(self) -> bool:
        """Whether its deadline has cancelled it, not a call."""
        due, ended_at = self.timing.cancel_at, self.timing.ended_at or 0.0
        in_time = due is None or ended_at < due or self.lease.cancel_requested
        return self.outcome == "cancelled" and not in_time


# Webhooks

PREFIX = "whsec_"
#: Bytes of a secret: the Standard Webhooks specification allows 24 to 64.
SECRET_BYTES = 32
#: Why a delivery of a disabled subscription failed.
DISABLED = "the webhook is disabled; update it, then have this delivery replayed"


class Event(StrEnum):
    """What a webhook can be told of."""

    REQUEST_COMPLETED = "REQUEST_COMPLETED"
    REQUEST_FAILED = "REQUEST_FAILED"


#: A request's last state → the event.
EVENTS = {Status.COMPLETED: Event.REQUEST_COMPLETED, Status.FAILED: Event.REQUEST_FAILED}
#: That a worker has a request for the first time; only a `Callback` is told of it.
STARTED = "REQUEST_STARTED"


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Subscription:
    """One row of `webhooks`: a receiver of an account's events. Times in unix seconds."""

    id: str
    account_id: str
    #: None for the account's own one, which signs what requests with an X-Webhook-URL cause.
    url: str | None
    #: The server's address by which its owner named it, for links in its messages; None where the operator set one.
    base_url: str | None
    events: tuple[str, ...]
    secret: str
    #: The secret before the last rotation, and until when it signs too.
    old_secret: str | None
    old_until: float | None
    created_at: float
    #: When a delivery last succeeded.
    succeeded_at: float | None
    disabled_at: float | None
    disabled_reason: str | None
    #: Whether its owner made it inactive.
    removed: bool

    @classmethod
    def of(cls, row: Row[Any]) -> Subscription:
        """The subscription of a whole row."""
        return cls(**{**row._mapping, "events": tuple(row.events)})

    def secrets(self, moment: float) -> tuple[str, ...]:
        """Those that sign at this moment, in unix seconds: two for a while after a rotation."""
        if self.old_secret is None or self.old_until is None or self.old_until <= moment:
            return (self.secret,)
        return (self.secret, self.old_secret)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of `deliveries`: one message for one receiver, and how far it has come. Times in unix seconds."""

    #: The message's id, the same at every attempt.
    id: str
    webhook_id: str
    account_id: str
    request_id: str
    event: str
    url: str
    #: Scheme, host and port of the address.
    receiver: str
    #: What is signed and sent, to the byte.
    body: str
    status: DeliveryStatus
    #: Number of claims, and those before the last replay.
    attempt: int
    earlier: int
    due_at: float
    lease_until: float | None
    created_at: float
    ended_at: float | None
    #: What came of the last attempt.
    response_status: int | None
    error: str | None
    #: Its request's.
    traceparent: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> Delivery:
        """The delivery of a whole row."""
        return cls(**row._mapping)

    @property
    def tries(self) -> int:
        """Attempts since it was made, or last replayed."""
        return self.attempt - self.earlier


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """What came of one attempt: the receiver's HTTP status, or why there is none."""

    status: int | None = None
    error: str | None = None
    #: Seconds after which the receiver asked for a retry.
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver has taken it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing more, which is what 410 means in the specification."""
        return self.status == 410

    @property
    def words(self) -> str | None:
        """Why it did not succeed."""
        return None if self.succeeded else self.error or f"HTTP status {self.status}"


def draw_secret() -> str:
    """A new secret, in the form that receivers' libraries take."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
