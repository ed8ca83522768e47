"""The client's address and this server's own, behind trusted proxies or not; and the log of calls that were denied."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import structlog
from fastapi import Request as HttpRequest

from tintype.errors import BadRequest, SentTwice
from tintype.settings import Settings
from tintype.store.accounts.keys import Key

log = structlog.get_logger()

HOST = re.compile(r"([A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
#: Seconds between two log lines about one address; lines per second about all of them; addresses that are remembered.
#: So a flood of denied calls fills neither disk nor memory.
PAUSE, MAX_LINES, MAX_ADDRESSES = 1.0, 20, 1024


def client_address(http: HttpRequest, settings: Settings) -> str:
    """Where a call came from: the peer or, where that is a trusted proxy, the nearest address that it reports.

    Addresses further to the left in X-Forwarded-For were written by the proxy's own client.
    """
    nearest = http.client.host if http.client else "unknown"
    if not settings.web.trusted_proxies:
        return nearest
    reported = ",".join(http.headers.getlist("x-forwarded-for")).split(",")
    # A zone is any text, and means something on its own machine alone.
    for address in [nearest, *(one.strip().partition("%")[0] for one in reversed(reported))]:
        if _parsed(address) is None:
            return nearest
        nearest = address
        if not is_proxy(address, settings):
            return address
    return nearest


def is_proxy(address: str, settings: Settings) -> bool:
    """Whether an address is one of the proxies that the operator trusts."""
    if not settings.web.trusted_proxies or (found := _parsed(address)) is None:
        return False
    known = {found, getattr(found, "ipv4_mapped", None) or found}
    return any(one in network for one in known for network in settings.web.trusted_proxies)


def client_network(address: str) -> str:
    """The network that is counted as one client: of IPv6, the /64 that every client has at least."""
    found = _parsed(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False).network_address)
    return address if found is None else str(found)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """None for what is no address, as the name of a Unix socket."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def single_header(http: HttpRequest, name: str) -> str | None:
    """The header of that name; raises SentTwice where two were sent."""
    sent = http.headers.getlist(name)
    if len(sent) > 1:
        raise SentTwice(name)
    return sent[0] if sent else None


def base_url(http: HttpRequest, settings: Settings) -> str:
    """Scheme, host and path without a slash at the end: the operator's setting, else what this call came in by.

    X-Forwarded-Proto, -Host and -Prefix count only from a trusted proxy. Raises BadRequest for an invalid one.
    """
    if settings.web.public_url:
        return settings.web.public_url.rstrip("/")
    scheme, host, prefix, name = http.scope["scheme"], http.headers.get("host", ""), "", "Host"
    if settings.web.trusted_proxies and http.client is not None and is_proxy(http.client.host, settings):
        scheme = _forwarded(http, "X-Forwarded-Proto", scheme)
        host = _forwarded(http, "X-Forwarded-Host", host)
        prefix = _forwarded(http, "X-Forwarded-Prefix", "")
        name = "X-Forwarded-Host" if "x-forwarded-host" in http.headers else name
    if scheme.lower() not in ("http", "https"):
        raise BadRequest(f"X-Forwarded-Proto: {scheme.lower()[:80]!r} was sent; allowed: http and https")
    if not HOST.fullmatch(host):
        raise BadRequest(f"{name}: {host[:80]!r} was sent; allowed: a host name, perhaps with a port")
    prefix = prefix.rstrip("/")
    if not PREFIX.fullmatch(prefix):
        raise BadRequest(f"X-Forwarded-Prefix: {prefix[:80]!r} was sent; allowed: a path")
    return f"{scheme.lower()}://{host}{prefix}"


def own_path(address: str, base: str) -> str:
    """An address of this server as its path; any other as it is, one that only begins alike (`http://gpu2`) too."""
    begins, path = address[: len(base)], address[len(base) :]
    return (path or "/") if begins.lower() == base.lower() and path[:1] in ("", "/") else address


def _forwarded(http: HttpRequest, name: str, default: str) -> str:
    """A header's first value, which the proxy next to the client wrote."""
    sent = http.headers.get(name)
    return default if sent is None else sent.split(",")[0].strip()


class DenialLog:
    """Calls answered with 401 or 403, by client address, in this process: lines for an operator, or for fail2ban.

    Safe to share between threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: By event and address: when its last line was written, and the denials since.
        self._known: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        #: The second that lines are counted in, and their number.
        self._second, self._lines = 0, 0

    def unauthorized(self, client: str, why: str) -> None:
        """A failed authentication. What was sent isn't logged, since it may be a key with a typo in it."""
        self._denied("authentication failed", client, why)

    def forbidden(self, client: str, why: str, key: Key) -> None:
        """A call that its key may not make; of several keys at one address, the last is named."""
        self._denied("not allowed", client, why, account=key.account_id, key_id=key.id, key=key.begins)

    def _denied(self, event: str, client: str, why: str, **whose: str) -> None:
        with self._lock:
            times = self._count((event, client))
        if times:
            log.warning(event, client=client, times=times, why=why, **whose)

    def _count(self, known: tuple[str, str]) -> int:
        """The denials that a line written now reports; 0 where none is to be written."""
        moment = self._clock()
        last, denied = self._known.pop(known, (-PAUSE, 0))
        speaks = moment >= last + PAUSE and self._has_room(int(moment))
        self._known[known] = (moment, 0) if speaks else (last, denied + 1)
        if len(self._known) > MAX_ADDRESSES:
            self._known.popitem(last=False)
        return denied + 1 if speaks else 0

    def _has_room(self, second: int) -> bool:
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= MAX_LINES
