"""Magic prompts: words that begin with `test:` and say what is to become of a test request."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tintype.catalog.spec import Draw
from tintype.errors import GoesOn, InvalidParameter, TintypeError
from tintype.testmode.outcomes import FAILURES, INTERRUPTIONS, MAX_ATTEMPTS, REFUSALS, Failing

MAGIC = "test:"
#: Seconds of each delay, at most: longer than any client waits.
LONGEST = 600.0
#: Attempts that may fail before the last one that a request is given.
MAX_RETRIES = MAX_ATTEMPTS - 1
SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")


@dataclass(frozen=True)
class Script:
    """What is to become of a test request; as it stands, it is COMPLETED at once."""

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
        """What a v1 call ends with at once, if it does."""
        return INTERRUPTIONS[self.interrupt] if self.interrupt else None

    def check_in(self) -> float:
        """Seconds that the request is to stay in the queue; raises what it is to be refused with."""
        if self.refuse:
            raise REFUSALS[self.refuse]()
        return self.queued


KINDS = [field.name for field in fields(Script)]


def parse(prompt: str) -> Script:
    """The script in a prompt; a prompt whose first word is not magic has none.

    Raises InvalidParameter for a word that is unknown, out of range, or the second of its kind.
    """
    words = prompt.split()
    if not words or not words[0].startswith(MAGIC):
        return Script()
    said: dict[str, Any] = {}
    for word in words:
        kind, _, value = word.removeprefix(MAGIC).partition(":")
        if not word.startswith(MAGIC) or kind not in KINDS or kind in said:
            raise InvalidParameter("prompt", word, allowed())
        said[kind] = _value(kind, value, word)
    return Script(**said)


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
    """Draws the seed from what was asked: the same request is the same picture, without a seed too."""

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
        retried = f", `retry_count` {MAX_RETRIES}" if failing.tried else ""
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
