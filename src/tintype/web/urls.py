"""The server's own address, as its caller can reach it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address

from fastapi import Request as HttpRequest
from starlette.datastructures import Address

from tintype.errors import BadRequest
from tintype.settings import Settings

HOST = re.compile(r"([A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
Headers = Mapping[str, str]


def base_url(http: HttpRequest, settings: Settings) -> str:
    """Scheme and host without a slash at the end: the operator's setting, else what this request came in by.

    X-Forwarded-Proto and -Host count only from a trusted proxy. Raises BadRequest for a header that can't be meant.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    headers: Headers = http.headers if _is_trusted(http.client, settings.trusted_proxies) else {}
    scheme = _first(headers, "X-Forwarded-Proto", http.scope["scheme"]).lower()
    if scheme not in ("http", "https"):
        raise BadRequest(f"X-Forwarded-Proto: {scheme[:80]!r} was sent; allowed: http and https")
    name = "X-Forwarded-Host" if "x-forwarded-host" in headers else "Host"
    host = _first(headers, "X-Forwarded-Host", http.headers.get("host", ""))
    if not HOST.fullmatch(host):
        raise BadRequest(f"{name}: {host[:80]!r} was sent; allowed: a host name, perhaps with a port")
    return f"{scheme}://{host}"


def _first(headers: Headers, name: str, default: str) -> str:
    """What the proxy next to the caller said."""
    sent = headers.get(name.lower())
    return default if sent is None else sent.split(",")[0].strip()


def _is_trusted(peer: Address | None, proxies: Collection[IPv4Network | IPv6Network]) -> bool:
    if peer is None or not proxies:
        return False
    try:
        address = ip_address(peer.host)
    except ValueError:  # a socket in the file system has no address
        return False
    known = {address, getattr(address, "ipv4_mapped", None) or address}
    return any(one in network for one in known for network in proxies)
