"""The sockets of a download: to verified addresses only, never past one deadline, shut when it is cancelled."""

# ruff: noqa: ARG002  the signatures are httpcore's; its time limits give way to the deadline

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any

import httpcore2

from tintype.errors import AddressRefused, PictureUnreachable
from tintype.media.addresses import is_public
from tintype.media.cancellation import Cancellation

#: Bytes that may come before a body does: the largest head that httpcore takes, 100 KiB, and what its end came with.
#: Without a limit a server could answer `100 Continue` for ever, each of which takes some 30 µs of this process.
MOST_HEAD = 192 * 1024


class Deadline:
    """The moment by which a whole download, all its redirects and reads, must be over, unless it is cancelled before.

    cancellation: what cancels it; None if nobody will.
    """

    def __init__(self, seconds: float, cancellation: Cancellation | None = None) -> None:
        self.seconds = seconds
        self.cancellation = cancellation or Cancellation()
        #: Lookups of names, which go on in their threads when the download is over.
        self.lookups: list[Future[Any]] = []
        self._end = time.monotonic() + seconds
        self._allowed = MOST_HEAD

    def allow(self, count: int) -> None:
        """So many bytes may come from now on."""
        self._allowed = count

    def came(self, count: int) -> None:
        """Count bytes that have come; raises httpcore2.RemoteProtocolError when they are more than may."""
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
        """Wait for lookups that go on: the resolver knows no time limit but its own, and can't be interrupted."""
        wait(self.lookups)


class PublicOnly(httpcore2.NetworkBackend):
    """Connects to public addresses, and to any address of the hosts in `allow` (`name` or `name:port`, lower case).

    The address that was verified is the one connected to, so that a name that changes its address gains nothing.
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
                # Each address gets its share of the time, or one that is silent (IPv6, often) would take it all.
                return self._connect(address, host, port, self._deadline.left() / (len(addresses) - tried))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return self._connect(last, host, port, self._deadline.left())

    def _resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name, each once. In a thread, since the resolver knows no time limit."""
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
        except (OSError, UnicodeError) as error:  # UnicodeError: a label too long to be looked up
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


def is_allowed(host: str, port: int, allow: frozenset[str]) -> bool:
    """Whether the operator lets this host have any address; `allow` names hosts as `name` or `name:port`."""
    name = f"[{host}]" if ":" in host else host
    return not allow.isdisjoint({host, name, f"{name}:{port}"})


def _connected(address: str, port: int, seconds: float, deadline: Deadline) -> socket.socket:
    # No lookup: it is a number, perhaps with the name of an interface.
    family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.settimeout(seconds)
        with (
            _in_httpcores_words(httpcore2.ConnectTimeout, httpcore2.ConnectError),
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
    """Have a cancelled download's socket shut, which ends what waits for it; raises CancelledError then."""

    def shut() -> None:
        with suppress(OSError):  # it has come to its end by itself
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS' own would change it under the reading thread

    with deadline.cancellation.interrupting(shut):
        yield


@contextmanager
def _in_httpcores_words(timeout: type[Exception], broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout(error) from error
    except OSError as error:
        raise broken(error) from error


class _Stream(httpcore2.NetworkStream):
    """A stream each of whose waits ends at the deadline (httpcore's own limits start anew with every read)."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._waiting(httpcore2.ReadTimeout, httpcore2.ReadError):
            data = self._socket.recv(max_bytes)
        self._deadline.came(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with self._waiting(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._socket.sendall(buffer)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        # The handshake comes after: what `wrap_socket` was given is no socket any more that could be shut meanwhile.
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
        with _in_httpcores_words(timeout, broken), _shut_if_cancelled(self._socket, self._deadline):
            yield
