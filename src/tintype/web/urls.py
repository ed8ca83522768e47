"""The server's own address, as its caller can reach it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import Request as HttpRequest

from tintype.errors import BadRequest
from tintype.settings import Settings
from tintype.web.peers import is_proxy

HOST = re.compile(r"([A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
Headers = Mapping[str, str]


def base_url(http: HttpRequest, settings: Settings) -> str:
    """Scheme, host and path without a slash at the end: the operator's setting, else what this request came in by.

    X-Forwarded-Proto, -Host and -Prefix count only from a trusted proxy. Raises BadRequest for a header that can't be
    meant.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    trusted = http.client is not None and is_proxy(http.client.host, settings)
    headers: Headers = http.headers if trusted else {}
    scheme = _first(headers, "X-Forwarded-Proto", http.scope["scheme"]).lower()
    if scheme not in ("http", "https"):
        raise BadRequest(f"X-Forwarded-Proto: {scheme[:80]!r} was sent; allowed: http and https")
    name = "X-Forwarded-Host" if "x-forwarded-host" in headers else "Host"
    host = _first(headers, "X-Forwarded-Host", http.headers.get("host", ""))
    if not HOST.fullmatch(host):
        raise BadRequest(f"{name}: {host[:80]!r} was sent; allowed: a host name, perhaps with a port")
    prefix = _first(headers, "X-Forwarded-Prefix", "").rstrip("/")
    if not PREFIX.fullmatch(prefix):
        raise BadRequest(f"X-Forwarded-Prefix: {prefix[:80]!r} was sent; allowed: a path")
    return f"{scheme}://{host}{prefix}"


def own_path(address: str, base: str) -> str:
    """An address of this server as its path; any other as it is, one that only begins alike (`http://gpu2`) too."""
    begins, path = address[: len(base)], address[len(base) :]
    return (path or "/") if begins.lower() == base.lower() and path[:1] in ("", "/") else address


def _first(headers: Headers, name: str, default: str) -> str:
    """What the proxy next to the caller said."""
    sent = headers.get(name.lower())
    return default if sent is None else sent.split(",")[0].strip()
