"""The server's connections: how many are open at once, and how long each may take to send or to be sent something.

What is bounded is a client's part. A call that waits here, for its picture or for events, may last as long as it does.
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
from tintype.settings import Settings
from tintype.telemetry.metrics import Calls
from tintype.web.peers import peer
from tintype.web.shutdown import Shutdown

log = structlog.get_logger()

#: Bytes of a request's line and headers, what nginx passes on by default (four times 8 kB), and how many these may be:
#: each is looked through many times.
MOST_HEAD, MOST_HEADERS = 32 * 1024, 200
#: Bytes that are read of one connection before it is another's turn; asyncio's own 256 kB of tiny chunks or headers
#: would keep all others waiting for 50 ms and more.
READ = 64 * 1024
HEAD_END = re.compile(rb"\n\r?\n")
#: A body in chunks may have this many whatever their size, and more while they hold this many bytes each on average:
#: what a chunk costs to read, some 5 µs on the event loop, doesn't depend on its size.
MOST_CHUNKS, LEAST_CHUNK = 250, 64
#: Where a call finds out, among the state that it comes with, whether its connection is closed.
HUNG_UP = "hung_up"
#: Where is noted, there too, which status the connection has answered it with, past whatever the call itself comes to.
REFUSED = "refused"
#: The route of what was refused before there was a call.
NO_CALL = "connection"
NOT_HTTP = "The request is not valid HTTP/1.1"
#: Seconds between two looks at what has moved, at most, and between two lines about the same trouble.
LOOK, ONCE_IN = 1.0, 60.0
#: What accept() fails with when this process or machine has run out of file descriptors or memory.
USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

#: Where uvicorn writes what it says of a call.
calls = logging.getLogger("tintype.calls")


@dataclass(frozen=True)
class Bounds:
    """What a client may take."""

    #: Connections open at once, of all clients and of one address.
    most: int
    of_peer: int
    #: Seconds for a request's line and headers.
    head: float
    #: Seconds without a byte of a body, or of an answer that the client reads.
    idle: float
    #: Bytes a second that must pass on average, beyond the first `idle` seconds.
    rate: float

    @classmethod
    def of(cls, settings: Settings, files: int) -> Bounds:
        """The operator's, as far as a process goes that may have so many files open.

        Half of those are left to the database (three for each of its 15 connections), to pictures and to webhooks. And
        one address has a quarter of the connections at most: else it could have them all where files are few.
        """
        most = max(1, min(settings.connections, files // 2))
        of_peer = max(1, min(settings.peer_connections, most // 4))
        return cls(most, of_peer, settings.head_timeout, settings.transfer_idle, settings.transfer_rate)


class Pace:
    """How long a client has been waited for, and what came of it."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """For something new."""
        self.waited = self.quiet = 0.0
        self.moved = 0

    def look(self, seconds: float, moved: int) -> None:
        """So many bytes passed in these seconds, in all of which the client was waited for."""
        self.waited += seconds
        self.quiet = 0.0 if moved else self.quiet + seconds
        self.moved += moved

    def too_slow(self, bounds: Bounds) -> bool:
        """Whether that is less than a client must do."""
        return self.quiet > bounds.idle or self.waited > bounds.idle + self.moved / bounds.rate


class Strict(h11.Connection):
    """The parser, without what is only ever an attack: see `next_event`."""

    def __init__(self, began: Callable[[], None], shutdown: Shutdown) -> None:
        super().__init__(h11.SERVER, MOST_HEAD)
        self._began = began
        self._shutdown = shutdown
        #: Lines of the head that is coming, and the last bytes of it.
        self._lines, self._tail = 0, b""
        #: Of the current request's body, what has come so far.
        self.chunks = self.bytes = 0
        #: Why a request was refused.
        self.refusal: TintypeError = BadRequest()

    def receive_data(self, data: bytes) -> None:
        """Take what came, and count the lines of a head: to parse thousands of them would take milliseconds."""
        if self.their_state is h11.IDLE:
            joined = self._tail + data
            end = HEAD_END.search(joined)
            self._lines += joined.count(b"\n", len(self._tail), end.end() if end else len(joined))
            self._tail = joined[-3:]
        super().receive_data(data)

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """What `send` puts together; while the server stops, an answer is its connection's last and says so."""
        if self._shutdown.draining and isinstance(event, h11.Response):
            others = [(name, value) for name, value in event.headers if name != b"connection"]
            headers = [*others, (b"connection", b"close")]
            event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
        return super().send_with_data_passthrough(event)

    def next_event(self) -> Any:
        """The next event; raises h11.RemoteProtocolError, and leaves the reason in `refusal`.

        Refused beside what isn't HTTP: a length in two ways, by which two readers take one request for two (RFC 9112,
        6.1); a head that is too large, also where it came at once; and a body of nothing but tiny chunks.
        """
        if self.their_state is h11.IDLE and self._lines > MOST_HEADERS + 2:
            self.refusal = HeadTooLarge()
            raise h11.RemoteProtocolError(self.refusal.message)
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.refusal = _not_http(error)
            raise
        refusal = self._refused(event)
        if refusal is not None:
            self.refusal = refusal
            raise h11.RemoteProtocolError(refusal.message)
        return event

    def _refused(self, event: Any) -> TintypeError | None:
        if isinstance(event, h11.Request):
            self._began()
            self.chunks = self.bytes = self._lines = 0
            self._tail = b""
            return _bad_head(event)
        if isinstance(event, h11.Data):
            self.chunks += event.chunk_start
            self.bytes += len(event.data)
            if self.chunks > MOST_CHUNKS and self.bytes < self.chunks * LEAST_CHUNK:
                return BadRequest(f"The body has {self.chunks} chunks of {LEAST_CHUNK} bytes or fewer on average")
        return None


def _not_http(error: h11.RemoteProtocolError) -> TintypeError:
    return HeadTooLarge() if error.error_status_hint == 431 else BadRequest(NOT_HTTP)


def _bad_head(request: h11.Request) -> TintypeError | None:
    if request.http_version not in (b"1.0", b"1.1"):  # the preface of HTTP/2, say
        return BadRequest(NOT_HTTP)
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        return BadRequest("A body's length is either Content-Length or Transfer-Encoding (HTTP/1.1), never both")
    size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)
    return HeadTooLarge() if size > MOST_HEAD or len(request.headers) > MOST_HEADERS else None


class Connection(H11Protocol, asyncio.BufferedProtocol):
    """One connection. uvicorn bounds how long it stays open between two calls, and nothing else."""

    def __init__(self, all_of_them: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = calls
        self.conn = self._parser = Strict(self._began, all_of_them.shutdown)
        self.address = self.peer = ""
        self._all = all_of_them
        self._reading, self._writing = Pace(), Pace()
        self._came = self._unsent = 0
        self.app_state = {**self.app_state, HUNG_UP: self._hung_up}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or refuse it if there are too many."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.peer = peer(self.address)
        if not self._all.opened(self):
            self._refuse(TooManyConnections())

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._all.closed(self)
        super().connection_lost(exc)

    def get_buffer(self, _sizehint: int) -> bytearray:
        """Where what comes next is put."""
        return self._all.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what came."""
        self._came += nbytes
        self.data_received(bytes(self._all.buffer[:nbytes]))

    def resume_writing(self) -> None:
        """The client has read most of what it was sent."""
        self._writing.restart()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Wait for the next request; or for none, if the client still waits for leave to send this one's body."""
        self._reading.restart()
        self._all.waits(self)
        if self._never_told_to_go_on():
            self.transport.close()
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._unset_keepalive_if_required()  # part of the next one is here: its time is counted in `look`
            self._came += 1

    def shutdown(self) -> None:
        """Close it, unless it is in a call, which is its last, or one is on its way here."""
        in_call = self.cycle is not None and not self.cycle.response_complete
        if not self.transport.is_closing() and (in_call or not (self.conn.trailing_data[0] or self._readable())):
            super().shutdown()

    def _readable(self) -> bool:
        """Whether something has come that hasn't been read yet."""
        came = select.poll()
        came.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(came.poll(0))

    def send_400_response(self, _msg: str) -> None:
        """Answer what couldn't be parsed, in the words of the parser's `refusal`."""
        self._refuse(self._parser.refusal)

    def _should_upgrade(self) -> bool:
        """Never: an offer to upgrade may be ignored, and Java's client makes one with every call."""
        return False

    @property
    def unsent(self) -> int:
        """Bytes of answers that wait for the client."""
        return self.transport.get_write_buffer_size()

    def give_way(self) -> None:
        """Close it for the sake of another."""
        self.transport.abort()

    def look(self, seconds: float) -> None:
        """End it if its client takes too long with what it has been waited for in these seconds."""
        bounds = self._all.bounds
        came, self._came = self._came, 0
        unsent = self.unsent
        sent, self._unsent = max(0, self._unsent - unsent), unsent
        if unsent:
            self._writing.look(seconds, sent)
            if self._writing.too_slow(bounds):
                self.transport.abort()
            return
        self._writing.restart()
        if self.transport.is_closing():
            return
        if self._waits_for_head() or self._discards():
            self._reading.look(seconds, came)
            if self._reading.waited > bounds.head:
                self._end()
        elif self._waits_for_body():
            self._reading.look(seconds, came)
            if self._reading.too_slow(bounds):
                self._refuse(TooSlow())

    def end_body(self) -> None:
        """Refuse a call whose body is still on its way: no time is left to wait for it."""
        if self._waits_for_body():
            self._refuse(Restarting("This server is being restarted, and the rest of the body did not come in time"))

    def _end(self) -> None:
        """Refuse what has begun; say nothing where nothing has: a browser would take it for its next call's answer."""
        if self._reading.moved:
            self._refuse(TooSlow())
        else:
            self.transport.close()

    def _hung_up(self) -> bool:
        return self.transport.is_closing()

    def _began(self) -> None:
        self._reading.restart()
        self._all.calls(self)

    def _waits_for_head(self) -> bool:
        """Whether a request has begun, or the first one is to; between two, the time is uvicorn's to keep."""
        return self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None

    def _discards(self) -> bool:
        """Whether the rest of a body comes whose call has been answered already."""
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def _waits_for_body(self) -> bool:
        """Whether the client could send more of one."""
        if self.conn.their_state is not h11.SEND_BODY or self.flow.read_paused:
            return False
        return not self.cycle.waiting_for_100_continue

    def _never_told_to_go_on(self) -> bool:
        expects = any(name == b"expect" for name, _ in self.headers)
        return expects and self.conn.their_state is h11.SEND_BODY and not self._parser.bytes

    def _refuse(self, error: TintypeError) -> None:
        """Answer with an error, unless another answer has begun or nothing was asked; and close."""
        self._all.refused(error)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            self.transport.write(self._answer(error))
            self._count(error)
        if self.cycle is not None:  # whatever the call comes to, it is too late
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _count(self, error: TintypeError) -> None:
        """Where a call is under way, it is counted with that; else nobody would."""
        if self.cycle is None or self.cycle.response_complete:
            self._all.answered(error.status)
        else:
            self.scope["state"][REFUSED] = error.status

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


class Connections:
    """All of one server's; called by uvicorn for each, in the event loop's own thread.

    exempt: whether an address is a proxy's, which speaks for many. counts: where answers to what was no call go.
    """

    def __init__(self, bounds: Bounds, exempt: Callable[[str], bool], counts: Calls, shutdown: Shutdown) -> None:
        self.bounds = bounds
        self.shutdown = shutdown
        #: Of all connections: each takes out at once what was put there.
        self.buffer = bytearray(READ)
        self.refused = counts.refused
        # Not uvicorn's warnings of malformed requests: any stranger could fill the log with them.
        calls.setLevel(logging.ERROR)
        self._exempt = exempt
        self._counts = counts
        #: By address; in each, and among those that wait for a request, the one that came first is first.
        self._open: dict[str, dict[Connection, None]] = {}
        self._waiting: dict[Connection, None] = {}
        self._count = 0
        self._looking = False
        self._looked_at = 0.0
        self._told_at = -ONCE_IN
        shutdown.tell(self._end_bodies)

    def __call__(self, *args: Any, **options: Any) -> Connection:
        """What uvicorn takes for a protocol's class."""
        return Connection(self, *args, **options)

    def opened(self, one: Connection) -> bool:
        """Count it, having closed another if there are too many; False if none of them can be spared."""
        of_peer = self._open.setdefault(one.peer, {})
        if len(of_peer) >= self.bounds.of_peer and not self._exempt(one.address):
            self._tell("one address has as many connections as it may: is it a proxy? See TINTYPE_TRUSTED_PROXIES")
            room = self._spare(of_peer)
        else:
            room = self._count < self.bounds.most or self._spare(self._waiting)
        self._open.setdefault(one.peer, {})[one] = None
        self._count += 1
        if room:
            self._waiting[one] = None
        if not self._looking:
            self._start_looking()
        return room

    def closed(self, one: Connection) -> None:
        """Count it no more."""
        self._waiting.pop(one, None)
        of_peer = self._open.get(one.peer, {})
        if one in of_peer:
            del of_peer[one]
            self._count -= 1
        if not of_peer:
            self._open.pop(one.peer, None)

    def waits(self, one: Connection) -> None:
        """It has been answered."""
        if one in self._open.get(one.peer, {}):
            self._waiting[one] = None

    def answered(self, status: int) -> None:
        """Count an answer to what was no call."""
        self._counts.answered(NO_CALL, "", status)

    def calls(self, one: Connection) -> None:
        """It has made a call."""
        self._waiting.pop(one, None)

    def _spare(self, some: dict[Connection, None]) -> bool:
        """Close the one that has waited longest, without a call, for its client; whether there is one."""
        idle = next((one for one in some if one in self._waiting and not one.unsent), None)
        if idle is None:
            return False
        self.closed(idle)
        idle.give_way()
        return True

    def _start_looking(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._trouble)
        self._looking = True
        self._looked_at = time.monotonic()
        loop.call_later(self._pause, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        # While this process was busy, or stopped, no client could be heard.
        passed = min(now - self._looked_at, 2 * self._pause)
        self._looked_at = now
        for one in self._each():
            one.look(passed)
        self._looking = bool(self._count)
        if self._looking:
            asyncio.get_running_loop().call_later(self._pause, self._look)

    def _each(self) -> list[Connection]:
        return [one for of_peer in self._open.values() for one in of_peer]

    def _end_bodies(self) -> None:
        if self.shutdown.over:
            for one in self._each():
                one.end_body()

    @property
    def _pause(self) -> float:
        return min(LOOK, self.bounds.head / 4, self.bounds.idle / 4)

    def _trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio tells of every accept() that fails, with a traceback, thousands of times a second."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in USED_UP:
            self._tell("no more connections can be taken", cause=error.strerror)
        else:
            loop.default_exception_handler(context)

    def _tell(self, words: str, **about: object) -> None:
        if time.monotonic() - self._told_at >= ONCE_IN:
            self._told_at = time.monotonic()
            log.warning(words, open=self._count, **about)
