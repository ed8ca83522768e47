"""An API key: its permissions and limits, the server's own limits, and how secrets are drawn, checked and hashed."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from sqlalchemy import Row

from tintype.catalog.limits import LIMITS, KeyLimits, Limit
from tintype.errors import BadRequest
from tintype.settings.groups import Safety
from tintype.store.billing.ledger import dollars, micro
from tintype.store.db.records import utc_day
from tintype.store.db.tables import api_keys

#: Characters of the secret that are stored, so that people can tell their keys apart.
HINT = 7
SECRET = re.compile(r"(sg_|SG_)[A-Za-z0-9]{12,}")
#: Between `SG_` and the digits of a test key's secret; no digit of a drawn one is a `t`.
TEST = "test"


#: As answers say it: whose requests are paid and run by workers, and whose are free and run by the fake worker.
Mode = Literal["live", "test"]
KeyState = Literal["in force", "revoked", "expired"]


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The server's own limits, 0 for none.

    SHARED_LIMITS hold for all keys of an account together, whichever key made them and however often they are
    rotated, except for a key with a number of its own from an operator: that one has it for itself, in addition.
    """

    #: Requests per minute; as many can come at the same time as have been saved up.
    rpm: int = 0
    #: Requests, and images, that have not ended.
    concurrency: int = 0
    max_queued: int = 0
    #: Images of all accounts that have not ended, and the share of them that one account's may be.
    queue: int = 0
    share: float = 1.0

    @property
    def of_queue(self) -> int:
        """Images that one account may have in the queue; 0 for any number."""
        return max(1, int(self.queue * self.share)) if self.queue else 0


NO_CEILINGS = Ceilings()
#: Seconds: the longest TTL that can be asked for (a date of a later year can't be shown); how long an old secret works
#: after a rotation by default, and at most.
MAX_TTL, OVERLAP, MAX_OVERLAP = 100 * 365 * 86_400, 86_400, 30 * 86_400


@dataclass(frozen=True, slots=True)
class Key(KeyLimits):
    """An API key without its secret, which is stored nowhere; with its own limits."""

    id: str
    account_id: str
    name: str
    #: How the secret begins, as in `SG_1a2b`; of a test key's `SG_test1a2b` the same.
    hint: str
    #: Slugs that it may run; None is all.
    models: tuple[str, ...] | None
    read_only: bool
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    #: Until when the secret before the last rotation works.
    old_until: float | None = None
    #: Micro-dollars that it has spent or holds; a cached key's are seconds old.
    spent: int = 0
    #: What is done about content that the safety filter finds; None for the server's `safety`. Stricter or laxer.
    safety: Safety | None = None
    #: The UTC day of its last request, from 1970-01-01; micro-dollars that this day's requests cost or hold, and their
    #: number.
    daily_used_on: int = 0
    daily_spend_used: int = 0
    daily_requests_used: int = 0
    #: Whether its requests are free, and run on test mode's fake worker.
    test: bool = False
    #: Whether it may see the whole server's state, pause its queue and drain its workers.
    operator: bool = False
    #: Whether a key made it, not an operator.
    self_made: bool = False

    @classmethod
    def of(cls, row: Row[Any]) -> Key:
        """The key of a row that has KEY_COLUMNS."""
        own = {column.name: row._mapping[column.name] for column in KEY_COLUMNS}
        return cls(**own | {"models": None if row.models is None else tuple(row.models)})

    @property
    def begins(self) -> str:
        """How the whole secret begins, so that people recognise it."""
        return f"{self.hint[:3]}{TEST}{self.hint[3:]}" if self.test else self.hint

    @property
    def mode(self) -> Mode:
        """As answers say it."""
        return "test" if self.test else "live"

    @property
    def server_only(self) -> bool:
        """Whether it sees the server's state and nothing of its account: an operator's key that may only read.

        Such keys lie where many can read them, in a Prometheus configuration or on a dashboard.
        """
        return self.operator and self.read_only

    def may_run(self, slug: str) -> bool:
        """Whether it may submit requests for the model."""
        return not self.read_only and (self.models is None or slug in self.models)

    def state(self, moment: float) -> KeyState:
        """Whether it works at this moment, in unix seconds, and why not."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= moment else "in force"

    def used(self, limit: Limit, moment: float) -> int:
        """What counts against one of its limits at this moment, in unix seconds."""
        return 0 if limit.daily and self.daily_used_on != utc_day(moment) else getattr(self, limit.used)

    @property
    def limits(self) -> dict[str, float | None]:
        """All limits by name, as they are set: money in dollars; None for none of its own."""
        own = {name: getattr(self, name) for name in LIMITS}
        return {name: dollars(one) if one is not None and LIMITS[name].money else one for name, one in own.items()}


KEY_COLUMNS = [api_keys.c[one.name] for one in fields(Key)]


def stored_limits(limits: Mapping[str, Any]) -> dict[str, int | None]:
    """Limits as they are set → as they are stored: money in micro-dollars."""
    return {name: one if one is None or not LIMITS[name].money else micro(one) for name, one in limits.items()}


def draw(*, test: bool = False) -> str:
    """A new secret: 128 random bits in the vendor's format."""
    return f"SG_{TEST if test else ''}{secrets.token_hex(16)}"


def is_test(secret: str) -> bool:
    """Whether a secret is a test key's."""
    return secret[3:].startswith(TEST)


def hint(secret: str) -> str:
    """What is kept of a secret: `SG_` and the four characters that tell it from others."""
    return (secret[:3] + secret[3 + len(TEST) :] if is_test(secret) else secret)[:HINT]


def check(secret: str) -> None:
    """Raise BadRequest unless clients will take the secret for a key; the words don't repeat it."""
    if not SECRET.fullmatch(secret):
        raise BadRequest("An API key is SG_ or sg_ followed by 12 or more letters and digits")


def digest(secret: str) -> str:
    """What is stored in the secret's place: SHA-256, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()
