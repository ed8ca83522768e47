"""The server's connections: how many are open at the same time, and how long a client may take to send and to read.

The time that a call itself waits, for its image or for events, isn't limited here.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import re
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from tintype.errors import BadRequest, HeadTooLarge, Restarting, TintypeError, TooManyConnections, TooSlow
from tintype.settings.groups import WebSettings
from tintype.telemetry.metrics import Calls
from tintype.web.clients import client_network
from tintype.web.shutdown import Shutdown

log = structlog.get_logger()

#: Bytes of a request's line and headers, as many as nginx passes on by default (four times 8 kB), and the number of
#: headers: each is searched many times.
MAX_HEAD, MAX_HEADERS = 32 * 1024, 200
#: Bytes that are read from one connection at a time; asyncio's own 256 kB of tiny chunks or headers would block the
#: others for 50 ms and more.
READ = 64 * 1024
HEAD_END = re.compile(rb"\n\r?\n")
#: A body may have MAX_CHUNKS of any size, and more while they have MIN_CHUNK bytes each on average: reading a chunk
#: takes some 5 µs on the event loop, whatever its size.
MAX_CHUNKS, MIN_CHUNK = 250, 64
#: Keys of a call's ASGI state: a function that says whether its connection is closed, and the status that the
#: connection has answered it with, whatever the call itself returns later.
HUNG_UP, REFUSED = "hung_up", "refused"
#: The route, in metrics, of what was refused before there was a call.
NO_CALL = "connection"
NOT_HTTP = "The request is not valid HTTP/1.1"
#: Bytes of answers, of all clients together, that may wait in memory for being read: beyond that, the client with most
#: of them loses one. A call that is repeated costs its caller nothing, and its answer may have megabytes.
MAX_UNSENT = 2**30
#: Seconds between two checks of what was transferred, at most, and between two log lines about the same trouble.
CHECK, LOG_PAUSE = 1.0, 60.0
#: What accept() fails with when this process or machine has run out of file descriptors or memory.
USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

#: uvicorn's logger of calls.
calls = logging.getLogger("tintype.calls")


@dataclass(frozen=True)
class Bounds:
    """What clients may take."""

    #: Open connections, in all and of one client.
    total: int
    per_client: int
    #: Seconds for a request's line and headers.
    head: float
    #: Seconds without a byte of a body, or of an answer that the client reads.
    idle: float
    #: Bytes a second that must pass on average, beyond the first `idle` seconds.
    rate: float

    @classmethod
    def of(cls, web: WebSettings, files: int) -> Bounds:
        """The settings, as far as a process that may have `files` files open can follow them.

        Half of those are left to the database (three for each of its 15 connections), to images and to webhooks. One
        client has at most a quarter of the connections: it could have them all where files are few.
        """
        total = max(1, min(web.connections, files // 2))
        per_client = max(1, min(web.peer_connections, total // 4))
        return cls(total, per_client, web.head_timeout, web.transfer_timeout, web.transfer_rate)


@dataclass(slots=True)
class Traffic:
    """What a client has sent, or read, and for how long the server has waited for it."""

    #: Seconds: in all, and since the last byte.
    waited: float = 0.0
    idle: float = 0.0
    #: Bytes.
    moved: int = 0

    def add(self, seconds: float, moved: int) -> None:
        self.waited += seconds
        self.idle = 0.0 if moved else self.idle + seconds
        self.moved += moved

    def too_slow(self, bounds: Bounds) -> bool:
        return self.idle > bounds.idle or self.waited > bounds.idle + self.moved / bounds.rate


class StrictParser(h11.Connection):
    """h11's parser, which also refuses what is only ever an attack: see `next_event`.

    write: sends an answer's head, unless a piece of its body comes immediately: then both are sent in one packet.
    """

    def __init__(self, began: Callable[[], None], write: Callable[[bytes], None], shutdown: Shutdown) -> None:
        super().__init__(h11.SERVER, MAX_HEAD)
        self._began = began
        self._write = write
        #: An answer's head, until it is sent.
        self._head: list[bytes] = []
        self._shutdown = shutdown
        #: Lines of the head that is being received, and its last bytes.
        self._lines, self._tail = 0, b""
        #: Received of the current request's body.
        self.chunks = self.bytes = 0
        #: Why a request is refused.
        self.refusal: TintypeError | None = None

    def receive_data(self, data: bytes) -> None:
        """Buffer data, and count the lines of a head: parsing thousands of them would take milliseconds."""
        if self.their_state is h11.IDLE:
            joined = self._tail + data
            end = HEAD_END.search(joined)
            self._lines += joined.count(b"\n", len(self._tail), end.end() if end else len(joined))
            self._tail = joined[-3:]
        super().receive_data(data)

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """The bytes to send with an event; those of an answer's head are sent later.

        While the server stops, an answer closes its connection.
        """
        if self._shutdown.draining and isinstance(event, h11.Response):
            others = [(name, value) for name, value in event.headers if name != b"connection"]
            headers = [*others, (b"connection", b"close")]
            event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
        pieces = super().send_with_data_passthrough(event)
        if isinstance(event, h11.Response):
            self._head = pieces or []
            asyncio.get_running_loop().call_soon(self._send_head)
            return []
        if pieces is not None and self._head:
            pieces, self._head = [*self._head, *pieces], []
        return pieces

    def _send_head(self) -> None:
        if self._head:
            head, self._head = b"".join(self._head), []
            self._write(head)

    def next_event(self) -> Any:
        """The next event; raises h11.RemoteProtocolError, and leaves the reason in `refusal`.

        In addition to what isn't HTTP, these are refused: a body with two lengths, by which two parsers see one request
        or two (RFC 9112, 6.1); a head that is too large, also where it comes in one piece; a body of tiny chunks.
        """
        refusal: TintypeError | None = None
        if self.their_state is h11.IDLE and self._lines > MAX_HEADERS + 2:
            self.refusal = refusal = HeadTooLarge()
            raise h11.RemoteProtocolError(refusal.message)
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.refusal = HeadTooLarge() if error.error_status_hint == 431 else BadRequest(NOT_HTTP)
            raise
        if isinstance(event, h11.Request):
            self._began()
            self.chunks = self.bytes = self._lines = 0
            self._tail = b""
            refusal = _bad_head(event)
        elif isinstance(event, h11.Data):
            self.chunks += event.chunk_start
            self.bytes += len(event.data)
            if self.chunks > MAX_CHUNKS and self.bytes < self.chunks * MIN_CHUNK:
                refusal = BadRequest(f"The body has {self.chunks} chunks of {MIN_CHUNK} bytes or fewer on average")
        if refusal is not None:
            self.refusal = refusal
            raise h11.RemoteProtocolError(refusal.message)
        return event


def _bad_head(request: h11.Request) -> TintypeError | None:
    if request.http_version not in (b"1.0", b"1.1"):  # as the preface of HTTP/2
        return BadRequest(NOT_HTTP)
    headers = request.headers.raw_items()  # a list: h11's own sequence takes long to go through
    names = {name.lower() for name, _ in headers}
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        return BadRequest("A body's length is either Content-Length or Transfer-Encoding (HTTP/1.1), never both")
    size = len(request.target) + sum([len(name) + len(value) + 4 for name, value in headers])
    return HeadTooLarge() if size > MAX_HEAD or len(headers) > MAX_HEADERS else None


class Connection(H11Protocol, asyncio.BufferedProtocol):
    """One connection. Of its times, uvicorn itself limits only the one between two calls."""

    def __init__(self, connections: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = calls
        self.conn = self._parser = StrictParser(self._began, self._write, connections.shutdown)
        self.address = self.client_network = ""
        self._all = connections
        self._received, self._sent = Traffic(), Traffic()
        #: Bytes received since the last check, and unsent at that time.
        self._new, self._unsent = 0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept it, or refuse it if there are too many."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.client_network = client_network(self.address)
        self.app_state = {**self.app_state, HUNG_UP: transport.is_closing}
        if not self._all.opened(self):
            self._refuse(TooManyConnections())

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.closed(self)
        super().connection_lost(exc)

    def get_buffer(self, _sizehint: int) -> bytearray:
        """Where asyncio writes what it receives."""
        return self._all.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was received."""
        self._new += nbytes
        self.data_received(bytes(self._all.buffer[:nbytes]))

    def resume_writing(self) -> None:
        """The client has read most of what it was sent."""
        self._sent = Traffic()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Wait for the next request, or close if the client still waits for a 100 before it sends this one's body."""
        self._received = Traffic()
        self._all.answered(self)
        if self.conn.their_state is h11.SEND_BODY and not self._parser.bytes and _expects(self.headers):
            self.transport.close()
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._unset_keepalive_if_required()  # part of the next request is here: `check` limits its time
            self._new += 1

    def shutdown(self) -> None:
        """Close it, unless it is in a call, which is its last, or one is being received."""
        in_call = self.cycle is not None and not self.cycle.response_complete
        if not self.transport.is_closing() and (in_call or not (self.conn.trailing_data[0] or self._readable())):
            super().shutdown()

    def _readable(self) -> bool:
        """Whether there is data that hasn't been read yet."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def send_400_response(self, _msg: str) -> None:
        """Answer what couldn't be parsed, in the words of the parser's `refusal`."""
        self._refuse(self._parser.refusal or BadRequest())

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client hasn't read."""
        return self.transport.get_write_buffer_size()

    @property
    def stalled(self) -> float:
        """Seconds for which its client has had something to read."""
        return self._sent.waited

    def give_way(self) -> None:
        """Close it to make room for another."""
        self.transport.abort()

    def check(self, seconds: float) -> None:
        """Close it if its client is too slow with what it was waited for in these seconds."""
        bounds = self._all.bounds
        received, self._new = self._new, 0
        unsent = self.unsent
        sent, self._unsent = max(0, self._unsent - unsent), unsent
        if unsent:
            self._sent.add(seconds, sent)
            if self._sent.too_slow(bounds):
                self.transport.abort()
            return
        self._sent = Traffic()
        if self.transport.is_closing():
            return
        if self._waits_for_head() or self._discards():
            self._received.add(seconds, received)
            if self._received.waited > bounds.head:
                self._end()
        elif self._waits_for_body():
            self._received.add(seconds, received)
            if self._received.too_slow(bounds):
                self._refuse(TooSlow())

    def end_body(self) -> None:
        """Refuse a call whose body is still being received: there is no time left to wait for it."""
        if self._waits_for_body():
            self._refuse(Restarting("This server is being restarted, and the rest of the body did not come in time"))

    def _end(self) -> None:
        """Refuse a request that has begun; else close without a word: a browser would take it for its next answer."""
        if self._received.moved:
            self._refuse(TooSlow())
        else:
            self.transport.close()

    def _write(self, data: bytes) -> None:
        self.transport.write(data)

    def _began(self) -> None:
        self._received = Traffic()
        self._all.waiting.pop(self, None)

    def _waits_for_head(self) -> bool:
        """Whether a request has begun, or the first one is to; between two, uvicorn limits the time."""
        return self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None

    def _discards(self) -> bool:
        """Whether the rest of a body is received whose call has been answered already."""
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def _waits_for_body(self) -> bool:
        """Whether the client could send more of a body."""
        if self.conn.their_state is not h11.SEND_BODY or self.flow.read_paused:
            return False
        return not self.cycle.waiting_for_100_continue

    def _refuse(self, error: TintypeError) -> None:
        """Answer with an error, unless another answer has begun or there was no request; and close."""
        self._all.refused(error)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            self.transport.write(self._answer(error))
            if self.cycle is None or self.cycle.response_complete:
                self._all.count_answer(error.status)
            else:  # the call under way is counted with it
                self.scope["state"][REFUSED] = error.status
        if self.cycle is not None:  # the call's own answer comes too late
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _answer(self, error: TintypeError) -> bytes:
        body = json.dumps(error.public()).encode()
        about = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        response = h11.Response(
            status_code=error.status,
            headers=[*(about | error.public_headers()).items()],
            reason=STATUS_PHRASES[error.status],
        )
        events = (response, h11.Data(data=body), h11.EndOfMessage())
        return b"".join(self.conn.send(event) or b"" for event in events)


def _expects(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"expect" for name, _ in headers)


class Connections:
    """All connections of one server; for the event loop's own thread.

    exempt: whether an address is a proxy's, which speaks for many clients. counts: the metrics of answers.
    """

    def __init__(self, bounds: Bounds, exempt: Callable[[str], bool], counts: Calls, shutdown: Shutdown) -> None:
        self.bounds = bounds
        self.shutdown = shutdown
        #: Shared by all connections: each copies immediately what was written there.
        self.buffer = bytearray(READ)
        self.refused = counts.refused
        # Not uvicorn's warnings of malformed requests: anyone could fill the log with them.
        calls.setLevel(logging.ERROR)
        self._exempt = exempt
        self._counts = counts
        #: By client, oldest first.
        self._open: dict[str, dict[Connection, None]] = {}
        #: Those that wait for a request, the longest first.
        self.waiting: dict[Connection, None] = {}
        self._count = 0
        self._pause = min(CHECK, bounds.head / 4, bounds.idle / 4)
        self._checking = False
        self._checked_at = 0.0
        self._logged_at = -LOG_PAUSE
        shutdown.on_change(self._end_bodies)

    def opened(self, one: Connection) -> bool:
        """Count it, having closed an idle one if there are too many; False if none is idle."""
        of_client = self._open.setdefault(one.client_network, {})
        if len(of_client) >= self.bounds.per_client and not self._exempt(one.address):
            self._warn("one address has as many connections as it may: is it a proxy? See TINTYPE_TRUSTED_PROXIES")
            room = self._close_idle(of_client)
        else:
            room = self._count < self.bounds.total or self._close_idle(self.waiting)
        self._open.setdefault(one.client_network, {})[one] = None
        self._count += 1
        if room:
            self.waiting[one] = None
        if not self._checking:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(self._on_trouble)
            self._checking, self._checked_at = True, time.monotonic()
            loop.call_later(self._pause, self._check)
        return room

    def closed(self, one: Connection) -> None:
        """Count it no more."""
        self.waiting.pop(one, None)
        of_client = self._open.get(one.client_network, {})
        if one in of_client:
            del of_client[one]
            self._count -= 1
        if not of_client:
            self._open.pop(one.client_network, None)

    def answered(self, one: Connection) -> None:
        """It waits for its next request."""
        if one in self._open.get(one.client_network, {}):
            self.waiting[one] = None

    def count_answer(self, status: int) -> None:
        """Count an answer to what was no call."""
        self._counts.answered(NO_CALL, "", status)

    def _close_idle(self, some: dict[Connection, None]) -> bool:
        """Close the connection that has waited longest for its client, without a call; whether there is one."""
        idle = next((one for one in some if one in self.waiting and not one.unsent), None)
        if idle is None:
            return False
        self.closed(idle)
        idle.give_way()
        return True

    def _check(self) -> None:
        now = time.monotonic()
        # While this process was busy, or stopped, nothing could be received.
        passed = min(now - self._checked_at, 2 * self._pause)
        self._checked_at = now
        for one in [one for of_client in self._open.values() for one in of_client]:
            one.check(passed)
        self._bound_unsent()
        self._checking = bool(self._count)
        if self._checking:
            asyncio.get_running_loop().call_later(self._pause, self._check)

    def _bound_unsent(self) -> None:
        """Close what is read most slowly of the client with most unread bytes, until those of all are few enough."""
        unsent = {client: sum(one.unsent for one in those) for client, those in self._open.items()}
        while sum(unsent.values()) > MAX_UNSENT:
            heaviest = max(unsent, key=unsent.__getitem__)
            slowest = max(self._open[heaviest], key=lambda one: (one.unsent > 0, one.stalled))
            unsent[heaviest] -= slowest.unsent
            self.closed(slowest)
            slowest.give_way()
            self._warn("answers that nobody reads take too much memory")

    def _end_bodies(self) -> None:
        if self.shutdown.over:
            for one in [one for of_client in self._open.values() for one in of_client]:
                one.end_body()

    def _on_trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio reports every accept() that fails, with a traceback, thousands of times a second."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in USED_UP:
            self._warn("no more connections can be taken", cause=error.strerror)
        else:
            loop.default_exception_handler(context)

    def _warn(self, words: str, **about: object) -> None:
        if time.monotonic() - self._logged_at >= LOG_PAUSE:
            self._logged_at = time.monotonic()
            log.warning(words, open=self._count, **about)
