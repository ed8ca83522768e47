"""A webhook as it is read from the store: who is told, of what, and with which secrets it is signed."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from tintype.store.db.records import Status

PREFIX = "whsec_"
#: Bytes of a secret: the Standard Webhooks specification allows 24 to 64.
SECRET_BYTES = 32


#: Why a delivery of a disabled webhook failed.
DISABLED = "the webhook is disabled; update it, then have this delivery replayed"


class Event(StrEnum):
    """What a webhook can be told of."""

    REQUEST_COMPLETED = "REQUEST_COMPLETED"
    REQUEST_FAILED = "REQUEST_FAILED"


#: A request's last state → the event.
EVENTS = {Status.COMPLETED: Event.REQUEST_COMPLETED, Status.FAILED: Event.REQUEST_FAILED}


class Delivered(StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Hook:
    """One row of `webhooks`; tables.py explains the columns."""

    id: str
    account_id: str
    url: str | None
    base_url: str | None
    events: tuple[str, ...]
    secret: str
    old_secret: str | None
    old_until: float | None
    created_at: float
    succeeded_at: float | None
    disabled_at: float | None
    disabled_reason: str | None
    removed: bool

    @classmethod
    def of(cls, row: Row[Any]) -> Hook:
        """The webhook of a whole row."""
        return cls(**{**row._mapping, "events": tuple(row.events)})

    def secrets(self, moment: float) -> tuple[str, ...]:
        """Those that sign at this moment, in unix seconds: two for a while after a rotation."""
        if self.old_secret is None or self.old_until is None or self.old_until <= moment:
            return (self.secret,)
        return (self.secret, self.old_secret)


@dataclass(frozen=True)
class Delivery:
    """One row of `deliveries`: one message for one receiver, and how far it has come."""

    id: str
    webhook_id: str
    account_id: str
    request_id: str
    event: str
    url: str
    receiver: str
    body: str
    status: Delivered
    attempt: int
    earlier: int
    due_at: float
    lease_until: float | None
    created_at: float
    ended_at: float | None
    response_status: int | None
    error: str | None
    traceparent: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> Delivery:
        """The delivery of a whole row."""
        return cls(**row._mapping)

    @property
    def tries(self) -> int:
        """Attempts since it was made, or last replayed."""
        return self.attempt - self.earlier


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt: the receiver's HTTP status, or why there is none."""

    status: int | None = None
    error: str | None = None
    #: Seconds after which the receiver asked to be tried again.
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
