"""Who is at the other end of a connection: the client's address, by a trusted proxy's word, and whom it stands for."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from fastapi import Request as HttpRequest

from tintype.settings import Settings


def client_address(http: HttpRequest, settings: Settings) -> str:
    """Where a call came from: the peer or, where that is a trusted proxy, the nearest address that it tells of.

    What stands further to the left in X-Forwarded-For was written by whoever called the proxy.
    """
    nearest = http.client.host if http.client else "unknown"
    told = ",".join(http.headers.getlist("x-forwarded-for")).split(",")
    # A zone is any text, and means something on its own machine alone.
    for address in [nearest, *(one.strip().partition("%")[0] for one in reversed(told))]:
        if _parsed(address) is None:
            return nearest
        nearest = address
        if not is_proxy(address, settings):
            return address
    return nearest


def is_proxy(address: str, settings: Settings) -> bool:
    """Whether an address is one of the proxies that the operator trusts."""
    if not settings.trusted_proxies or (found := _parsed(address)) is None:
        return False
    known = {found, getattr(found, "ipv4_mapped", None) or found}
    return any(one in network for one in known for network in settings.trusted_proxies)


def peer(address: str) -> str:
    """Whom an address stands for: of IPv6, anybody has a network of 64 bits at least."""
    found = _parsed(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False).network_address)
    return address if found is None else str(found)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """None for what is no address, as the name of a socket in the file system."""
    try:
        return ip_address(text)
    except ValueError:
        return None
