"""The server's own address, as its caller can reach it."""

from __future__ import annotations

import re

from fastapi import Request as HttpRequest

from tintype.errors import BadRequest
from tintype.settings import Settings

HOST = re.compile(r"([A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def is_proxy(address: str, settings: Settings) -> bool:
    """Whether an address is one of the proxies that the operator trusts."""
    return address in settings.trusted_proxies


def base_url(http: HttpRequest, settings: Settings) -> str:
    """Scheme, host and path without a slash at the end: the operator's setting, else what this request came in by.

    X-Forwarded-Proto, -Host and -Prefix count only from a trusted proxy. Raises BadRequest for a Host that is none.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    scheme, host, prefix = http.url.scheme, http.headers.get("host", ""), ""
    if http.client is not None and is_proxy(http.client.host, settings):
        scheme = http.headers.get("x-forwarded-proto", scheme).split(",")[0].strip()
        host = http.headers.get("x-forwarded-host", host).split(",")[0].strip()
        prefix = http.headers.get("x-forwarded-prefix", "").split(",")[0].strip().rstrip("/")
    if not PREFIX.fullmatch(prefix):
        raise BadRequest("The X-Forwarded-Prefix header is not a path")
    if not HOST.fullmatch(host) or scheme not in ("http", "https"):
        raise BadRequest("The Host header is not a host name")
    return f"{scheme}://{host}{prefix}"
