"""Which addresses on the internet are public: a caller's URL must not lead to this machine or its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

#: All of IPv6 that is given out to the internet so far; everything else is local, reserved or a translation.
UNICAST = ip_network("2000::/3")
#: The low 32 bits are the IPv4 address that a NAT64 gateway connects to (RFC 6052).
NAT64 = ip_network("64:ff9b::/96")
#: Not for callers either, although some versions of `ipaddress` call them global.
REFUSED = (
    ip_network("192.0.0.0/24"),  # protocol assignments; a cloud keeps its metadata at 192.0.0.192
    ip_network("192.88.99.0/24"),  # 6to4 relays
    ip_network("168.63.129.16/32"),  # Azure's own agent, in reach of every machine there
    ip_network("3fff::/20"),  # documentation
)


def is_public(address: str) -> bool:
    """Whether an IP address, and each IPv4 address that it embeds, is one of the open internet.

    `address` is as the resolver or a socket gives it, a scope (`fe80::1%eth0`) included; ValueError if it isn't one.
    """
    return all(map(_is_global, _meant(ip_address(address))))


def _meant(address: Address) -> Iterator[Address]:
    """The addresses that a packet may end up at: the embedded ones of a translation or tunnel, or the address."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped:
        yield address.ipv4_mapped
    elif address in NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    else:
        yield address
        if address.sixtofour:
            yield address.sixtofour
        yield from address.teredo or ()


def _is_global(address: Address) -> bool:
    if any(address in network for network in REFUSED):
        return False
    # `is_global` alone counts multicast in; of IPv6 it also knows only what was private when Python was released.
    return address.is_global and not address.is_multicast and (isinstance(address, IPv4Address) or address in UNICAST)
