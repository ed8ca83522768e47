"""What a request is once it is stored, and the words for its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypedDict

from sqlalchemy import Row

from tintype.settings import Safety

Json = Mapping[str, Any]


class Status(StrEnum):
    """Where a request stands; the words are the wire's."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class Entry(StrEnum):
    """The kinds of rows in the ledger."""

    #: Money that an operator gave.
    GRANT = "grant"
    #: What a request may cost is set aside.
    HOLD = "hold"
    #: A request COMPLETED: what it did cost is paid, and its hold is over.
    SETTLE = "settle"
    #: A request FAILED: its hold is over.
    RELEASE = "release"
    #: Money that an operator took back.
    ADJUST = "adjust"


class LeaseStatus(StrEnum):
    """What a worker learns about each of its requests when it renews."""

    #: Still its own: go on.
    KEEP = "keep"
    #: Still its own, but nobody wants it: stop, then `fail(id, attempt, "cancelled", 499)`.
    CANCEL = "cancel"
    #: Ended, or another worker's: drop it and write nothing.
    LOST = "lost"


class Warmth(StrEnum):
    """How far a worker is with loading a model that it was asked to load."""

    #: It was asked, and has not finished.
    WARMING = "WARMING"
    #: All of the model's weights are where they work.
    WARM = "WARM"
    #: They were, and some have left for others since.
    COLD = "COLD"
    FAILED = "FAILED"


class RequestMetadata(TypedDict, total=False):
    """Columns of a new request beside what it asks for; tables.py explains them."""

    id: str
    rate: int | None
    pictures: int
    base_url: str | None
    webhook_url: str | None
    pace: str | None
    traceparent: str | None
    safety: Safety
    idempotency_key: str
    #: Needed with an idempotency key.
    fingerprint: str
    reply: Json


@dataclass(frozen=True)
class Progress:
    """How far a worker is with a request; `attempt` is the number that its claim returned."""

    id: str
    attempt: int
    step: int
    steps: int


@dataclass(frozen=True)
class Failure:
    """Why a request failed: words for the caller, and the HTTP status of a v1 answer."""

    error: str
    status: int
    #: Its name in `errors.KINDS`, if it has one there.
    kind: str | None = None


CANCELLED = Failure("cancelled", 499)


@dataclass(frozen=True, order=True)
class Allowance:
    """What a key with a limit per minute may still ask for after a request; the least of several counts."""

    #: Requests that it may send at once.
    remaining: int
    #: When it may send a whole minute's at once again, in unix seconds.
    full_at: float


@dataclass(frozen=True)
class Request:
    """One row of `requests` as it was when it was read; tables.py explains the columns."""

    id: str
    seq: int
    account_id: str
    key_id: str
    slug: str
    params: Json
    #: Micro-dollars held while it has not ended: the most it can cost.
    price: int
    priority: int
    status: Status
    attempt: int
    hand_backs: int
    worker: str | None
    lease_until: float | None
    cancel_requested: bool
    step: int
    steps: int
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    expires_at: float | None
    result: Json | None
    error: str | None
    error_status: int | None
    error_kind: str | None = None
    rate: int | None = None
    cost: int | None = None
    pictures: int = 1
    cancel_at: float | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None
    reply: Json | None = None
    base_url: str | None = None
    webhook_url: str | None = None
    pace: str | None = None
    watched_until: float | None = None
    test: bool = False
    due_at: float | None = None
    traceparent: str | None = None
    safety: Safety = "off"
    #: Not of the row: told to who has just submitted it, where its key is limited.
    allowance: Allowance | None = None

    @classmethod
    def of(cls, row: Row[Any]) -> Request:
        """The request of a whole row."""
        return cls(**row._mapping)

    def at(self, moment: float) -> Request:
        """The request as it stands at this moment: past its deadline it is as good as cancelled."""
        overdue = self.cancel_at is not None and self.cancel_at <= moment
        return replace(self, cancel_requested=True) if overdue else self

    @property
    def counted(self) -> int:
        """Attempts that count towards the limit, the present one included."""
        return self.attempt - self.hand_backs

    @property
    def retries(self) -> int:
        """Attempts that failed before the present or last one."""
        return max(0, self.counted - 1)

    @property
    def warnings(self) -> list[str]:
        """What the worker found worth a word in the pictures."""
        found: list[str] = (self.result or {}).get("warnings", [])
        return found

    @property
    def mode(self) -> dict[str, str]:
        """What is said beside the rest of a request that a test key sent; nothing of a live one."""
        return {"mode": "test"} if self.test else {}

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in (Status.COMPLETED, Status.FAILED)
