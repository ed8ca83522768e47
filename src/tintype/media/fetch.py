"""Download what a caller names, never from inside.

httpx2's core is used without its client: it knows of no proxies, cookies, redirects or content decoding, so there are
none to switch off.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self

import httpcore2
import httpx2

from tintype.errors import PictureUnreachable
from tintype.media.cancellation import Cancellation
from tintype.media.network import MOST_HEAD, Deadline, PublicOnly

REDIRECTS = {301, 302, 303, 307, 308}
HEADERS = [
    ("User-Agent", "tintype"),
    ("Accept", "image/jpeg, image/png, image/webp, image/*;q=0.8, */*;q=0.1"),
    # A compressed answer could be small on the wire and endless in memory.
    ("Accept-Encoding", "identity"),
]
PORTS = range(1, 65536)
#: Names looked up at once; one whose nameserver is silent holds its thread until the resolver gives up.
LOOKUPS = 16
#: A body may come in this many pieces whatever their size, and in more while they have this many bytes on average: each
#: takes some 20 µs of this process, in which it draws nothing. Packets have twice as many bytes, servers' chunks more.
MOST_PIECES, LEAST_PIECE = 2_000, 512


class Fetcher:
    """Downloads from public addresses within limits; safe to share between threads; close it or use it in a `with`.

    `allow` names the hosts (`name`, `name:port`) whose address need not be public; `max_bytes` is the largest body;
    `timeout` the seconds that one download may take, with its lookups, redirects and reads.
    """

    def __init__(self, allow: frozenset[str], max_bytes: int, timeout: float, max_redirects: int = 5) -> None:
        self._allow = frozenset(name.lower() for name in allow)
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._max_redirects = max_redirects
        self._tls = httpx2.create_ssl_context()
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="tintype-lookup")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the threads; downloads under way end by themselves."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    def deadline(self, cancellation: Cancellation) -> Deadline:
        """For a download that begins now, and that may be cancelled."""
        return Deadline(self._timeout, cancellation)

    def get(self, url: str, deadline: Deadline | None = None) -> bytes:
        """The body at an http or https address; raises PictureUnreachable and AddressRefused, which name its host.

        When its deadline is cancelled, from another thread, it stops at once, with CancelledError.
        """
        deadline = deadline or Deadline(self._timeout)
        backend = PublicOnly(self._allow, deadline, self._lookups)
        target = parse_url(url)
        with httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool:
            for _ in range(self._max_redirects + 1):
                answer = self._ask(pool, target, deadline)
                if isinstance(answer, bytes):
                    return answer
                target = answer
        raise PictureUnreachable(f"{target.host}: more than {self._max_redirects} redirects")

    def _ask(self, pool: httpcore2.ConnectionPool, url: httpx2.URL, deadline: Deadline) -> bytes | httpx2.URL:
        """One request: the body, or where it was redirected to."""
        address, host = target_of(url)
        deadline.allow(MOST_HEAD)
        with in_words(url.host, self._timeout), pool.stream("GET", address, headers=[host, *HEADERS]) as response:
            headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in headers:
                return parse_url(headers[b"location"], url)
            if response.status != httpx2.codes.OK:
                raise PictureUnreachable(f"{url.host}: HTTP status {response.status}")
            if headers.get(b"content-encoding", "").strip().lower() not in ("", "identity"):
                raise PictureUnreachable(f"{url.host}: the answer is compressed, although that was not asked for")
            deadline.allow(MOST_HEAD + 2 * self._max_bytes)  # with what frames its chunks
            return self._body(url.host, response, headers.get(b"content-length", ""))

    def _body(self, host: str, response: httpcore2.Response, announced: str) -> bytes:
        too_large = PictureUnreachable(f"{host}: too large: {self._max_bytes} bytes is the limit")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            raise too_large
        body = bytearray()
        for pieces, piece in enumerate(response.iter_stream(), 1):
            body += piece
            if len(body) > self._max_bytes:
                raise too_large
            if pieces > MOST_PIECES and len(body) < pieces * LEAST_PIECE:
                raise PictureUnreachable(f"{host}: the answer comes in chunks of less than {LEAST_PIECE} bytes")
        return bytes(body)


@contextmanager
def in_words(host: str, timeout: float) -> Iterator[None]:
    """Say what went wrong between two machines so that a caller can act on it."""
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
    """The address meant, on its own or seen from `base`; raises PictureUnreachable when it is not one for pictures."""
    try:
        url = base.join(text) if base else httpx2.URL(text)
        host, _ = url.host, target_of(url)  # what is wrong with a host may show only when it is read, as with `xn--a`
    except (httpx2.InvalidURL, ValueError) as error:  # the second is the parent of what idna and Unicode raise
        raise PictureUnreachable("the address is not a valid URL") from error
    if "%" in host and ":" not in host:  # what no name may have, escaped: only an IPv6 address has a `%` of its own
        raise PictureUnreachable("the address is not a valid URL")
    if url.scheme not in ("http", "https") or not host:
        raise PictureUnreachable(f"{host or 'the address'}: only http:// and https:// addresses are fetched")
    if url.userinfo:
        raise PictureUnreachable(f"{host}: an address with a user name or password is not fetched")
    if url.port is not None and url.port not in PORTS:
        raise PictureUnreachable(f"{host}: {url.port} is not a port")
    return url


def target_of(url: httpx2.URL) -> tuple[httpcore2.URL, tuple[str, str]]:
    """The address as httpcore takes it, and the Host header: its own would lack the brackets of an IPv6 address."""
    address = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    return address, ("Host", url.netloc.decode("ascii"))
