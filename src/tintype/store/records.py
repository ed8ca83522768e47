"""What a request is once it is stored, and the words for its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

Json = Mapping[str, Any]


class Status(StrEnum):
    """Where a request stands; the words are the wire's."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class Verdict(StrEnum):
    """What a worker learns about each of its requests when it renews."""

    #: Still its own: go on.
    KEEP = "keep"
    #: Still its own, but nobody wants it: stop, then `fail(id, attempt, "cancelled", 499)`.
    CANCEL = "cancel"
    #: Ended, or another worker's: drop it and write nothing.
    LOST = "lost"


@dataclass(frozen=True)
class Mark:
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


CANCELLED = Failure("cancelled", 499)


@dataclass(frozen=True)
class Request:
    """One row of `requests` as it was when it was read; tables.py explains the columns."""

    id: str
    seq: int
    account_id: str
    key_id: str
    slug: str
    params: Json
    #: Micro-dollars.
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

    @classmethod
    def of(cls, row: Row[Any]) -> Request:
        """The request of a whole row."""
        return cls(**row._mapping)

    @property
    def counted(self) -> int:
        """Attempts that count towards the limit, the present one included."""
        return self.attempt - self.hand_backs

    @property
    def retries(self) -> int:
        """Attempts that failed before the present or last one."""
        return max(0, self.counted - 1)

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in (Status.COMPLETED, Status.FAILED)
