"""HTTP to addresses that callers name, never to internal ones: downloads, and webhooks' posts.

httpx2's core is used without its client: it has no proxies, cookies, redirects or content decoding to switch off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Self

import httpcore2
import httpx2

from tintype.errors import AddressRefused, PictureUnreachable
from tintype.media.network import MAX_HEAD, Cancellation, Deadline, PublicOnly, is_allowed, is_public

REDIRECTS, MAX_REDIRECTS = {301, 302, 303, 307, 308}, 5
HEADERS = [
    ("User-Agent", "tintype"),
    ("Accept", "image/jpeg, image/png, image/webp, image/*;q=0.8, */*;q=0.1"),
    # A compressed answer could be small on the wire and endless in memory.
    ("Accept-Encoding", "identity"),
]
PORTS = range(1, 65536)
DEFAULT_PORTS = {"http": 80, "https": 443}
#: Concurrent lookups of names; one whose nameserver doesn't answer holds its thread until the resolver gives up.
LOOKUPS = 16
#: A body may come in this many pieces of any size, and in more while they have this many bytes on average: each takes
#: some 20 µs of this process, in which it draws nothing. Packets have twice as many bytes, servers' chunks more.
MAX_PIECES, MIN_PIECE = 2_000, 512
#: Max characters of a Retry-After: a date has 29, and some formats a few more.
MAX_DATE = 64


class HttpAnswer(NamedTuple):
    """A receiver's answer to a post."""

    status: int
    #: Seconds; None without a readable Retry-After.
    retry_after: float | None


class PublicClient:
    """Calls public addresses within limits; safe to share between threads; close it or use it in a `with`.

    `allow` names the hosts (`name`, `name:port`) whose address need not be public; `timeout` is the seconds that one
    download or post may take, with its lookups, redirects and reads.
    """

    def __init__(self, allow: frozenset[str], timeout: float) -> None:
        self._allow = frozenset(name.lower() for name in allow)
        self._timeout = timeout
        self._tls = httpx2.create_ssl_context()
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="tintype-lookup")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the threads; calls under way end by themselves."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    def deadline(self, cancellation: Cancellation | None = None) -> Deadline:
        """For a call that begins now, and that may be cancelled."""
        return Deadline(self._timeout, cancellation)

    def get(
        self, url: str, max_bytes: int, deadline: Deadline | None = None, max_redirects: int = MAX_REDIRECTS
    ) -> bytes:
        """The body at an http or https address; raises PictureUnreachable and AddressRefused, which name its host.

        When its deadline is cancelled, from another thread, it stops immediately, with CancelledError.
        """
        deadline = deadline or self.deadline()
        target = parse_url(url)
        with self._connections(deadline) as pool:
            for _ in range(max_redirects + 1):
                answer = self._ask(pool, target, deadline, max_bytes)
                if isinstance(answer, bytes):
                    return answer
                target = answer
        raise PictureUnreachable(f"{target.host}: more than {max_redirects} redirects")

    def post(self, url: str, body: bytes, headers: Sequence[tuple[str, str]]) -> HttpAnswer:
        """Post; the answer's body isn't read, and its redirects aren't followed.

        Raises PictureUnreachable and AddressRefused, as `get` does: their words name the host.
        """
        target = parse_url(url)
        address, host = target_of(target)
        with (
            self._connections(self.deadline()) as pool,
            _readable_errors(target.host, self._timeout),
            pool.stream("POST", address, headers=[host, *headers], content=body) as response,
        ):
            answered = _headers(response)
            return HttpAnswer(int(response.status), seconds(answered.get(b"retry-after", "").strip()))

    def _connections(self, deadline: Deadline) -> httpcore2.ConnectionPool:
        """A new pool for every call: a reused connection's address would have been verified for an earlier one."""
        backend = PublicOnly(self._allow, deadline, self._lookups)
        return httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=backend)

    def _ask(
        self, pool: httpcore2.ConnectionPool, url: httpx2.URL, deadline: Deadline, max_bytes: int
    ) -> bytes | httpx2.URL:
        """One request: the body, or the address that it is redirected to."""
        address, host = target_of(url)
        deadline.allow(MAX_HEAD)
        with (
            _readable_errors(url.host, self._timeout),
            pool.stream("GET", address, headers=[host, *HEADERS]) as response,
        ):
            headers = _headers(response)
            if response.status in REDIRECTS and b"location" in headers:
                return parse_url(headers[b"location"], url)
            if response.status != httpx2.codes.OK:
                raise PictureUnreachable(f"{url.host}: HTTP status {response.status}")
            if headers.get(b"content-encoding", "").strip().lower() not in ("", "identity"):
                raise PictureUnreachable(f"{url.host}: the answer is compressed, although that was not asked for")
            deadline.allow(MAX_HEAD + 2 * max_bytes)  # with the framing of its chunks
            return _body(url.host, response, headers.get(b"content-length", ""), max_bytes)


def _headers(response: httpcore2.Response) -> dict[bytes, str]:
    return {name.lower(): value.decode("latin-1") for name, value in response.headers}


def _body(host: str, response: httpcore2.Response, announced: str, max_bytes: int) -> bytes:
    too_large = PictureUnreachable(f"{host}: too large: {max_bytes} bytes is the limit")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    for pieces, piece in enumerate(response.iter_stream(), 1):
        body += piece
        if len(body) > max_bytes:
            raise too_large
        if pieces > MAX_PIECES and len(body) < pieces * MIN_PIECE:
            raise PictureUnreachable(f"{host}: the answer comes in chunks of less than {MIN_PIECE} bytes")
    return bytes(body)


@contextmanager
def _readable_errors(host: str, timeout: float) -> Iterator[None]:
    """Raise PictureUnreachable for network errors, in words that a caller can act on."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise PictureUnreachable(f"{host}: not answered in full within {timeout:g} s") from error
    except httpcore2.NetworkError as error:
        # The system's words for it ("Connection refused"); they name no address.
        reasons = [reason.strerror for reason in error.args if isinstance(reason, OSError) and reason.strerror]
        raise PictureUnreachable(f"{host}: {', '.join(reasons) or 'the connection broke'}") from error
    except httpcore2.ProtocolError as error:
        raise PictureUnreachable(f"{host}: the answer is not HTTP, or it broke off") from error


def parse_url(text: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """The URL, absolute or relative to `base`; raises PictureUnreachable for one that isn't fetched."""
    try:
        url = base.join(text) if base else httpx2.URL(text)
        host, _ = url.host, target_of(url)  # some mistakes in a host, `xn--a` say, raise only when it is read
    except (httpx2.InvalidURL, ValueError) as error:  # the second is the parent of what idna and Unicode raise
        raise PictureUnreachable("the address is not a valid URL") from error
    if "%" in host and ":" not in host:  # no name has one, escaped: only an IPv6 address has a `%` of its own
        raise PictureUnreachable("the address is not a valid URL")
    if url.scheme not in ("http", "https") or not host:
        raise PictureUnreachable(f"{host or 'the address'}: only http:// and https:// addresses are fetched")
    if url.userinfo:
        raise PictureUnreachable(f"{host}: an address with a user name or password is not fetched")
    if url.port is not None and url.port not in PORTS:
        raise PictureUnreachable(f"{host}: {url.port} is not a port")
    return url


def target_of(url: httpx2.URL) -> tuple[httpcore2.URL, tuple[str, str]]:
    """httpcore's URL, and the Host header: its own would lack the brackets of an IPv6 address."""
    address = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    return address, ("Host", url.netloc.decode("ascii"))


def check_target(url: str, allow: frozenset[str]) -> None:
    """Raise PictureUnreachable or AddressRefused for an address that is never called, without looking it up."""
    target = parse_url(url)
    port = target.port or DEFAULT_PORTS[target.scheme]
    if not is_allowed(target.host, port, allow) and _is_internal(target.host):
        raise AddressRefused(f"{target.host}: not a public address")


def _is_internal(host: str) -> bool:
    name = host.removesuffix(".")
    try:
        return not is_public(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def seconds(retry_after: str) -> float | None:
    """The seconds from now that a Retry-After header names, as a number or as a date; at least 0.

    None for anything else: the header is a stranger's, and may say anything.
    """
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:12])
    if len(retry_after) > MAX_DATE:
        return None
    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError, IndexError, TypeError):  # the parser raises these for odd zones and years
        return None
    # A date without a zone is in UTC, as all of HTTP's are; the machine's own zone would depend on where it is.
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time())
