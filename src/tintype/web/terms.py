"""What a call's headers ask for beside the picture: to be run only once, to be given up after a while."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request as HttpRequest

from tintype.catalog.spec import NUMERAL
from tintype.errors import BadRequest, InvalidParameter

#: A day is longer than any queue.
LONGEST_WAIT = 86_400.0
PRINTABLE = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class RequestOptions:
    """The headers of one call."""

    idempotency_key: str | None = None
    #: Seconds after which nobody will want the picture any more.
    cancel_after: float | None = None

    @classmethod
    def of(cls, http: HttpRequest) -> RequestOptions:
        """As they were sent; raises InvalidParameter."""
        key = only(http, "Idempotency-Key")
        if key is not None and not PRINTABLE.fullmatch(key):
            raise InvalidParameter("Idempotency-Key", key, "1 to 255 printable ASCII characters without spaces")
        return cls(key, _seconds(only(http, "Cancel-After")))


def only(http: HttpRequest, name: str) -> str | None:
    """The header of that name; raises BadRequest where there are several, of which only one could count."""
    sent = http.headers.getlist(name)
    if len(sent) > 1:
        raise BadRequest(f"{name}: sent twice")
    return sent[0] if sent else None


def fingerprint(path: str, sent: Mapping[str, Any]) -> str:
    """A hash of where a call goes and of its parameters; not of its bytes: a form's differ each time it is sent."""
    return hashlib.sha256(json.dumps([path, sent], sort_keys=True).encode()).hexdigest()


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    seconds = float(text) if NUMERAL.fullmatch(text) else 0.0
    if not 0 < seconds <= LONGEST_WAIT:
        raise InvalidParameter("Cancel-After", text, f"seconds, more than 0 and at most {LONGEST_WAIT:g}")
    return seconds
