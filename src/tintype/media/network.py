"""Sockets to the open internet: verified public addresses only, one deadline for everything, closed when cancelled."""

# ruff: noqa: ARG002  the signatures are httpcore's; the deadline replaces its time limits

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore2

from tintype.errors import AddressRefused, PictureUnreachable

Address = IPv4Address | IPv6Address

#: All of IPv6 that has been allocated to the internet so far; the rest is local, reserved or a translation.
UNICAST = ip_network("2000::/3")
#: The low 32 bits are the IPv4 address that a NAT64 gateway connects to (RFC 6052).
NAT64 = ip_network("64:ff9b::/96")
#: Not for callers either, although some versions of `ipaddress` call them global.
REFUSED = (
    ip_network("192.0.0.0/24"),  # protocol assignments; a cloud has its metadata at 192.0.0.192
    ip_network("192.88.99.0/24"),  # 6to4 relays
    ip_network("168.63.129.16/32"),  # Azure's own agent, which every machine there can reach
    ip_network("3fff::/20"),  # documentation
)
#: Max bytes before a body: the largest head that httpcore takes, 100 KiB, and what is received with its end. Without
#: a limit a server could send `100 Continue` endlessly, each of which takes some 30 µs of this process.
MAX_HEAD = 192 * 1024


class Cancellation:
    """Cancels blocking calls of other threads; set once, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        #: What interrupts the blocking calls under way.
        self._interrupts: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """Interrupt the calls under way, and all later ones."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            for interrupt in self._interrupts:
                interrupt()

    def check(self) -> None:
        """Raise CancelledError if it is cancelled."""
        if self._cancelled:
            raise CancelledError

    @contextmanager
    def interrupting(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """Call `interrupt`, at most once, when cancelled inside the block; raises CancelledError after it.

        `interrupt` must not block or raise: it shuts a socket, or kills a process.
        """
        with self._lock:
            self.check()
            self._interrupts.append(interrupt)
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.remove(interrupt)
            self.check()


class Deadline:
    """The time and the bytes that a whole request, with its redirects, may take; may be cancelled before."""

    def __init__(self, seconds: float, cancellation: Cancellation | None = None) -> None:
        self.seconds = seconds
        self.cancellation = cancellation or Cancellation()
        #: Lookups of names: their threads may outlast the request.
        self.lookups: list[Future[Any]] = []
        self._end = time.monotonic() + seconds
        self._allowed = MAX_HEAD

    def allow(self, count: int) -> None:
        """Set how many bytes may be received from now on."""
        self._allowed = count

    def received(self, count: int) -> None:
        """Subtract received bytes; raises httpcore2.RemoteProtocolError when they are more than allowed."""
        self._allowed -= count
        if self._allowed < 0:
            raise httpcore2.RemoteProtocolError("more came than was asked for")

    def left(self) -> float:
        """Seconds left, above 0; raises httpcore2.TimeoutException when there are none, and CancelledError."""
        self.cancellation.check()
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore2.TimeoutException
        return left

    def settle(self) -> None:
        """Wait for running lookups: the resolver has a time limit of its own, and can't be interrupted."""
        wait(self.lookups)


def is_public(address: str) -> bool:
    """Whether an IP address, and each IPv4 address embedded in it, is one of the open internet.

    `address` is as the resolver or a socket gives it, a scope (`fe80::1%eth0`) included; ValueError if it isn't one.
    """
    return all(map(_is_global, _destinations(ip_address(address))))


def _destinations(address: Address) -> Iterator[Address]:
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
    # `is_global` alone includes multicast; of IPv6 it also knows only what was private when Python was released.
    return address.is_global and not address.is_multicast and (isinstance(address, IPv4Address) or address in UNICAST)


def is_allowed(host: str, port: int, allow: frozenset[str]) -> bool:
    """Whether the operator allows this host any address; `allow` names hosts as `name` or `name:port`."""
    name = f"[{host}]" if ":" in host else host
    return not allow.isdisjoint({host, name, f"{name}:{port}"})


class PublicOnly(httpcore2.NetworkBackend):
    """Connects to public addresses, and to any address of the hosts in `allow` (`name` or `name:port`, lower case).

    It connects to the very address that it verified, so that a name whose address changes in between gains nothing.
    """

    def __init__(self, allow: frozenset[str], deadline: Deadline, lookups: ThreadPoolExecutor) -> None:
        self._allow = allow
        self._deadline = deadline
        self._lookups = lookups

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
                # Each address gets its share of the time, or one that doesn't answer (often IPv6) would take it all.
                return self._connect(address, host, port, self._deadline.left() / (len(addresses) - tried))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return self._connect(last, host, port, self._deadline.left())

    def _resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name, each once. In a thread, since the resolver takes no timeout."""
        lookup = self._lookups.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        self._deadline.lookups.append(lookup)
        cancelled: Future[None] = Future()
        try:
            with self._deadline.cancellation.interrupting(lambda: cancelled.set_result(None)):
                wait(list[Future[Any]]([lookup, cancelled]), self._deadline.left(), FIRST_COMPLETED)
        finally:
            lookup.cancel()  # if it has not begun
        if lookup.cancelled() or not lookup.done():
            raise httpcore2.ConnectTimeout
        try:
            found = lookup.result()
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that is too long
            raise PictureUnreachable(f"{host}: the name has no address") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _may_reach(self, address: str, host: str, port: int) -> bool:
        return is_allowed(host, port, self._allow) or is_public(address)

    def _connect(self, address: str, host: str, port: int, seconds: float) -> httpcore2.NetworkStream:
        stream = _Stream(_connected(address, port, seconds, self._deadline), self._deadline)
        peer = stream.get_extra_info("server_addr")[0]
        if not self._may_reach(peer, host, port):
            stream.close()
            raise AddressRefused(f"{host}: not a public address")
        return stream


def _connected(address: str, port: int, seconds: float, deadline: Deadline) -> socket.socket:
    # No lookup: it is a number, perhaps with the name of an interface.
    family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.settimeout(seconds)
        with (
            _httpcore_errors(httpcore2.ConnectTimeout, httpcore2.ConnectError),
            _shut_if_cancelled(connection, deadline),
        ):
            connection.connect(target)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _shut_if_cancelled(connection: socket.socket, deadline: Deadline) -> Iterator[None]:
    """Shut a cancelled request's socket, which ends the blocking call on it; raises CancelledError then."""

    def shut() -> None:
        with suppress(OSError):  # it has ended by itself
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS' own would change it under the reading thread

    with deadline.cancellation.interrupting(shut):
        yield


@contextmanager
def _httpcore_errors(timeout: type[Exception], broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout(error) from error
    except OSError as error:
        raise broken(error) from error


class _Stream(httpcore2.NetworkStream):
    """A stream whose blocking calls all end at the deadline (httpcore's own timeouts restart with every read)."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._waiting(httpcore2.ReadTimeout, httpcore2.ReadError):
            data = self._socket.recv(max_bytes)
        self._deadline.received(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with self._waiting(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._socket.sendall(buffer)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        # The handshake comes later: `wrap_socket` detaches the plain socket, which could not be shut during it.
        secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname, do_handshake_on_connect=False)
        stream = _Stream(secured, self._deadline)
        try:
            with stream._waiting(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                secured.do_handshake()
        except BaseException:
            stream.close()
            raise
        return stream

    def close(self) -> None:
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "server_addr":
                return self._socket.getpeername()
            case "is_readable":
                return self._socket.fileno() < 0 or bool(select.select([self._socket], [], [], 0)[0])
        return None

    @contextmanager
    def _waiting(self, timeout: type[Exception], broken: type[Exception]) -> Iterator[None]:
        self._socket.settimeout(self._deadline.left())
        with _httpcore_errors(timeout, broken), _shut_if_cancelled(self._socket, self._deadline):
            yield
