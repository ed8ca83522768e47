"""Which addresses count as the open internet."""

from __future__ import annotations

import pytest

from tintype.media.network import is_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
INSIDE = {
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "loopback": "127.8.9.1",
    "private 10": "10.1.2.3",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "shared by carriers": "100.64.0.1",
    "a cloud's metadata": "169.254.169.254",
    "another cloud's metadata": "100.100.100.200",
    "a third cloud's metadata": "192.0.0.192",
    "Azure's agent": "168.63.129.16",
    "documentation": "203.0.113.7",
    "benchmarks": "198.18.0.1",
    "multicast": "224.0.0.251",
    "multicast, called global": "232.1.2.3",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "v6 unspecified": "::",
    "v6 loopback": "::1",
    "v6 unique local": "fd00:ec2::254",
    "v6 link-local": "fe80::1",
    "v6 link-local with scope": "fe80::1%eth0",
    "v6 site-local": "fec0::1",
    "v6 multicast": "ff02::1",
    "v6 documentation": "2001:db8::1",
    "v6 new documentation": "3fff::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "compatible loopback": "::127.0.0.1",
    "6to4 of loopback": "2002:7f00:1::",
    "6to4 of private": "2002:c0a8:101::1",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "NAT64 of metadata": "64:ff9b::a9fe:a9fe",
    "local NAT64": "64:ff9b:1::808:808",
    "teredo with a private client": "2001:0:808:808:0:ffff:f5ff:fffe",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE.values(), ids=INSIDE.keys())
def test_not_public(address: str) -> None:
    assert not is_public(address)


def test_not_an_address() -> None:
    with pytest.raises(ValueError):
        is_public("example.com")
