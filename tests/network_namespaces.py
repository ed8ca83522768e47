"""Machines for tests: network namespaces of this one, on a switch whose cables can be pulled. They need root and Linux.

A cut is silent, as real ones are: no connection is reset, and senders get no error.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
#: Of this thread: each thread is on a host of its own, inherited by what it starts.
HERE = Path("/proc/thread-self/ns/net")


class Host:
    """A machine that is connected to nothing but itself. It lasts for as long as anything knows it or runs on it."""

    def __init__(self) -> None:
        with _coming_back():
            _call(LIBC.unshare(CLONE_NEWNET))
            self.handle = os.open(HERE, os.O_RDONLY)
            _change("lo", state="up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and every thread and process that it starts in the block, are on this host."""
        with _coming_back():
            _call(LIBC.setns(self.handle, CLONE_NEWNET))
            yield

    def close(self) -> None:
        """Let go of it."""
        os.close(self.handle)


class Network:
    """Hosts with addresses of their own on one switch."""

    def __init__(self) -> None:
        self._switch = Host()
        self._hosts: dict[str, Host] = {}
        with self._switch.entered(), IPRoute() as links:
            links.link("add", ifname="switch", kind="bridge")
            _change("switch", state="up")

    def add(self, address: str) -> Host:
        """A host with that IPv4 address, whose neighbours' begin with the same three numbers."""
        host = self._hosts[address] = Host()
        with self._switch.entered(), IPRoute() as links:
            links.link("add", ifname=address, kind="veth", peer={"ifname": "eth0", "net_ns_fd": host.handle})
            _change(address, state="up")
        with host.entered(), IPRoute() as links:
            links.addr("add", index=_index(links, "eth0"), address=address, prefixlen=24)
            _change("eth0", state="up")
        self._plug_in(address)
        return host

    def host(self, address: str) -> Host:
        """The host with that address."""
        return self._hosts[address]

    @contextmanager
    def cut(self, address: str) -> Iterator[None]:
        """While the block lasts, nothing arrives that a host sends or is sent; it is told nothing of that."""
        with self._switch.entered():
            _change(address, master=0)
        try:
            yield
        finally:
            self._plug_in(address)

    def close(self) -> None:
        """Let go of all hosts."""
        for host in (self._switch, *self._hosts.values()):
            host.close()

    def _plug_in(self, address: str) -> None:
        with self._switch.entered(), IPRoute() as links:
            _change(address, master=_index(links, "switch"))


def why_not() -> str:
    """Why there can be no such hosts here; empty where there can."""
    try:
        network = Network()
        network.add("10.77.0.1")
        network.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return f"no network namespaces with a bridge and veth (they need root and CAP_SYS_ADMIN): {error!r}"
    return ""


@contextmanager
def _coming_back() -> Iterator[None]:
    own = os.open(HERE, os.O_RDONLY)
    try:
        yield
    finally:
        _call(LIBC.setns(own, CLONE_NEWNET))
        os.close(own)


def _change(name: str, **how: object) -> None:
    with IPRoute() as links:
        links.link("set", index=_index(links, name), **how)


def _index(links: IPRoute, name: str) -> int:
    [index] = links.link_lookup(ifname=name)
    return int(index)


def _call(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
