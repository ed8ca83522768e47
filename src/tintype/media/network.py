"""The sockets of a download: to verified addresses only, and never past one deadline."""

# ruff: noqa: ARG002  the signatures are httpcore's; its time limits give way to the deadline

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore2

from tintype.errors import AddressRefused, PictureUnreachable
from tintype.media.addresses import is_public


class Deadline:
    """The moment by which a whole download, all its redirects and reads, must be over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, above 0; raises httpcore2.TimeoutException when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore2.TimeoutException
        return left


class PublicOnly(httpcore2.NetworkBackend):
    """Connects to public addresses, and to any address of the hosts in `allow` (`name` or `name:port`, lower case).

    The address that was verified is the one connected to, so that a name that changes its address gains nothing.
    """

    def __init__(self, allow: frozenset[str], deadline: Deadline, lookups: ThreadPoolExecutor) -> None:
        self._allow = allow
        self._deadline = deadline
        self._lookups = lookups
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """A connection to the first verified address that answers; raises AddressRefused, PictureUnreachable."""
        addresses = [address for address in self._resolve(host, port) if self._may_reach(address, host, port)]
        if not addresses:
            raise AddressRefused(f"{host}: not a public address")
        *others, last = addresses
        for tried, address in enumerate(others):
            try:
                # Each address gets its share of the time, or one that is silent (IPv6, often) would take it all.
                return self._connect(address, host, port, self._deadline.left() / (len(addresses) - tried))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return self._connect(last, host, port, self._deadline.left())

    def _resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name, each once. In a thread, since the resolver knows no time limit."""
        lookup = self._lookups.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = lookup.result(timeout=self._deadline.left())
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a label too long to be looked up
            raise PictureUnreachable(f"{host}: the name has no address") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _may_reach(self, address: str, host: str, port: int) -> bool:
        return is_allowed(host, port, self._allow) or is_public(address)

    def _connect(self, address: str, host: str, port: int, seconds: float) -> httpcore2.NetworkStream:
        stream = self._sockets.connect_tcp(address, port, timeout=seconds)
        peer = stream.get_extra_info("server_addr")[0]
        if not self._may_reach(peer, host, port):
            stream.close()
            raise AddressRefused(f"{host}: not a public address")
        return _Timed(stream, self._deadline)


def is_allowed(host: str, port: int, allow: frozenset[str]) -> bool:
    """Whether the operator lets this host have any address; `allow` names hosts as `name` or `name:port`."""
    name = f"[{host}]" if ":" in host else host
    return not allow.isdisjoint({host, name, f"{name}:{port}"})


class _Timed(httpcore2.NetworkStream):
    """A stream each of whose waits ends at the deadline: httpcore's own limits start anew with every read."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
