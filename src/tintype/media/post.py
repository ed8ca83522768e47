"""Post a message to an address that a caller named, never to one inside, and follow it nowhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Self

import httpcore2
import httpx2

from tintype.errors import AddressRefused
from tintype.media.addresses import is_public
from tintype.media.fetch import LOOKUPS, in_words, parse_url, target_of
from tintype.media.network import Deadline, PublicOnly, is_allowed

DEFAULT_PORTS = {"http": 80, "https": 443}
#: Characters of a Retry-After that is read: a date has 29, and some formats a few more.
LONGEST_DATE = 64


class Answer(NamedTuple):
    """What a receiver said."""

    status: int
    #: Seconds; None when it said nothing that can be read.
    retry_after: float | None


def seconds(retry_after: str) -> float | None:
    """What a Retry-After header says, as a number of seconds or as a date, in seconds from now; at least 0.

    None for what is neither: the header is a stranger's, and may say anything.
    """
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:12])
    if len(retry_after) > LONGEST_DATE:
        return None
    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError, IndexError, TypeError):  # as the parser has it with zones and years
        return None
    # A date without a zone is UTC's, as all of HTTP's are; the machine's own would depend on where it stands.
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time())


class Poster:
    """Posts to public addresses; safe to share between threads; close it or use it in a `with`.

    `allow` names the hosts (`name`, `name:port`) whose address need not be public; `timeout` is the seconds that one
    message may take, with the lookup of the name.
    """

    def __init__(self, allow: frozenset[str], timeout: float) -> None:
        self._allow = frozenset(name.lower() for name in allow)
        self._timeout = timeout
        self._tls = httpx2.create_ssl_context()
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="tintype-lookup")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lookups.shutdown(wait=False, cancel_futures=True)

    def post(self, url: str, body: bytes, headers: Sequence[tuple[str, str]]) -> Answer:
        """Post; the answer's body isn't read, and its redirects aren't followed.

        Raises PictureUnreachable and AddressRefused, as for pictures: their words name the host.
        """
        target = parse_url(url)
        address, host = target_of(target)
        # A pool of its own: a connection that was verified yesterday says nothing about today's address.
        backend = PublicOnly(self._allow, Deadline(self._timeout), self._lookups)
        with (
            httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
            in_words(target.host, self._timeout),
            pool.stream("POST", address, headers=[host, *headers], content=body) as response,
        ):
            asked = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            return Answer(int(response.status), seconds(asked.get(b"retry-after", "").strip()))


def check_target(url: str, allow: frozenset[str]) -> None:
    """Raise PictureUnreachable or AddressRefused for what is wrong with an address on its face; it is not looked up."""
    target = parse_url(url)
    port = target.port or DEFAULT_PORTS[target.scheme]
    if not is_allowed(target.host, port, allow) and _is_inside(target.host):
        raise AddressRefused(f"{target.host}: not a public address")


def _is_inside(host: str) -> bool:
    name = host.removesuffix(".")
    try:
        return not is_public(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
