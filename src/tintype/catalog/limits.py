"""What an API key can be limited to: a row each, of which bodies, options, forms, checks, words and documents are made.

A further limit that is a plain maximum is a row here, a column of `api_keys` (`store/db/tables.py`, a migration), and
its check where a request is submitted (`store/queue/submit.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

#: Of every limit, at most: far more than any server needs, far less than the database's integers hold.
MAX_LIMIT = 1_000_000_000

#: What a limit is about, and so what a key may do that has it.
#: request: each request by itself. The keys that it makes inherit it, and have no larger one.
#: key: a sum over its requests. Another key would have a sum of its own, so it makes none.
#: account: the same, and the server has a number too (`limits.key_…` of the settings), which an account's keys share.
#: An operator's number for a key replaces that; one that a key gives a key which it makes is not above it, and only
#: narrows.
Scope = Literal["request", "key", "account"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One row. Its sentences end without a full stop."""

    scope: Scope
    #: What is counted, as in "requests per minute from 1 to 1000000000".
    unit: str
    #: What it bounds, in a sentence.
    help: str
    #: The beginning of its refusal, with `{whose}` it is and its `{max}`.
    refusal: str
    #: In a form: its field, and what stands there while that is empty.
    label: str
    empty: str
    #: In a list of keys, with its `{max}` and what is `{used}` of it.
    listed: str
    #: What such a key has, where another key would multiply it: why it makes none.
    own: str = ""
    #: Whether it is stored in micro-dollars, and set and shown in dollars.
    money: bool = False
    #: The key's attribute that counts against it, and whether it is of the current UTC day.
    used: str = ""
    daily: bool = False
    #: Its name: a column, a member of bodies, an attribute of `KeyLimits`.
    name: str = ""

    @property
    def min(self) -> int:
        """The least that can be set: a key that may spend nothing still runs what is free."""
        return 0 if self.money else 1

    @property
    def allowed(self) -> str:
        """What can be set, in words."""
        return f"{self.unit} from {self.min} to {MAX_LIMIT}"

    @property
    def option(self) -> str:
        """At the command line: `--max-queued`."""
        return "--" + self.name.replace("_", "-")

    def refuses(self, max: object, whose: str = "this API key") -> str:
        """The beginning of a refusal."""
        words = self.refusal.format(whose=whose, max=max)
        return words[0].upper() + words[1:]


def _row(scope: Scope, **about: Any) -> Any:
    return field(default=None, metadata={"row": Limit(scope, **about)})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """The table, and the limits of one key; None for none of its own. Money is in micro-dollars."""

    rpm: int | None = _row(
        "account",
        unit="requests per minute",
        help="Requests per minute",
        refusal="too many requests: {whose} may send {max} per minute",
        label="Requests a minute",
        empty="the account's",
        listed="{max} a minute",
        own="a number of requests per minute of its own",
    )
    daily_requests: int | None = _row(
        "key",
        unit="requests per day",
        help="Requests per day, counted from midnight UTC",
        refusal="too many requests: {whose} may send {max} per day",
        label="Requests a day",
        empty="any number",
        listed="{used} of {max} requests today",
        own="a number of requests per day",
        used="daily_requests_used",
        daily=True,
    )
    concurrency: int | None = _row(
        "account",
        unit="concurrent requests",
        help="Concurrent requests, queued or running",
        refusal="too many requests: {whose} may have {max} at the same time",
        label="Concurrent requests",
        empty="the account's",
        listed="{max} concurrent requests",
        own="a number of concurrent requests of its own",
    )
    max_queued: int | None = _row(
        "account",
        unit="images at the same time",
        help="Concurrent images, queued or running",
        refusal="too many images: {whose} may have {max} at the same time",
        label="Queued images",
        empty="the account's",
        listed="{max} queued images",
        own="a number of concurrent images of its own",
    )
    max_pixels: int | None = _row(
        "request",
        unit="pixels of one request",
        help="Pixels of one request (width × height × images)",
        refusal="too many pixels: {whose} may ask for {max} pixels per request",
        label="Pixels a request",
        empty="any",
        listed="{max} pixels a request",
    )
    spend_cap: int | None = _row(
        "key",
        unit="dollars",
        help="Dollars that it may spend in all",
        refusal="{whose} may spend {max}",
        label="Spends at most, $",
        empty="no cap",
        listed="spent {used} of {max}",
        own="a spend cap",
        money=True,
        used="spent",
    )
    daily_spend: int | None = _row(
        "key",
        unit="dollars per day",
        help="Dollars that it may spend per day, counted from midnight UTC",
        refusal="{whose} may spend {max} per day",
        label="Spends a day, $",
        empty="no cap",
        listed="spent {used} of {max} today",
        own="a spend limit per day",
        money=True,
        used="daily_spend_used",
        daily=True,
    )


#: The rows by name, in their order.
LIMITS: dict[str, Limit] = {one.name: replace(one.metadata["row"], name=one.name) for one in fields(KeyLimits)}
#: Names of those that the keys of an account share, by the server's numbers.
SHARED_LIMITS = [name for name, limit in LIMITS.items() if limit.scope == "account"]
#: Those that begin again at midnight UTC.
DAILY_LIMITS = [limit for limit in LIMITS.values() if limit.daily]
