"""How a web process stops without a caller's noticing: it drains, closes, and ends what still waits after its grace."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import structlog
import uvicorn

log = structlog.get_logger()

#: Seconds between looks at what is still under way.
TICK = 0.05
#: Seconds after the first signal in which another one is the same: wrappers pass on what the terminal sent already.
SAME = 0.5
#: Seconds for the last answers once the grace is over: hundreds of calls may have to be cancelled before, one by one.
LAST_ANSWERS = 10
#: Connections that wait to be accepted: with fewer, a burst has to knock again, a second later.
QUEUED = 2_048


class Shutdown:
    """How far a server has come with stopping: each of the three stays once it is true. For the event loop's thread."""

    def __init__(self) -> None:
        #: It was told to: whoever routes calls shall send them elsewhere; calls that come are served as before.
        self.draining = False
        #: It takes no more connections: event streams end, since their clients can go on elsewhere.
        self.closing = False
        #: The grace is over: calls that still wait are answered.
        self.over = False
        self._told: list[Callable[[], None]] = []

    def tell(self, job: Callable[[], None]) -> None:
        """Have something called once it closes, and once the grace is over."""
        self._told.append(job)

    def close(self) -> None:
        """It takes no more connections."""
        self.draining = self.closing = True
        self._tell()

    def end(self) -> None:
        """The grace is over."""
        self.draining = self.closing = self.over = True
        self._tell()

    def _tell(self) -> None:
        for job in self._told:
            job()


class WebServer(uvicorn.Server):
    """uvicorn's, which by itself refuses connections as soon as it is told to stop.

    drain: seconds for which it goes on as before but for what `Shutdown` says, so that nobody sends it calls any more.
    grace: seconds that calls under way then have. A second signal ends both at once.
    """

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown, *, drain: float, grace: float) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._drain = drain
        self._grace = grace
        #: Called at a second signal, for what else has a grace.
        self.again: Callable[[], None] = lambda: None
        self._told_at: float | None = None
        self._listening: list[socket.socket] = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the server, who has more to stop: uvicorn would raise them again afterwards."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: stop. From a terminal (SIGINT) without draining, as nobody routes calls there; again, at once."""
        del frame
        moment = time.monotonic()
        if self._told_at is None:
            self._told_at = moment
            self.should_exit = self._shutdown.draining = True
            if sig == signal.SIGINT:
                self._drain = 0.0
        elif moment > self._told_at + SAME:
            self._drain = self._grace = 0.0
            self.again()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, with a long queue of connections that wait to be accepted, however few are at once."""
        await super().startup(sockets)
        self._listening = sockets or []
        for listening in self._listening:
            listening.listen(QUEUED)

    async def main_loop(self) -> None:
        """Serve until told to stop, and then until nothing is under way any more or the grace is over."""
        await super().main_loop()
        self._shutdown.draining = True
        began = time.monotonic()
        while time.monotonic() < began + self._drain:
            await asyncio.sleep(TICK)
        await self.listen_no_more()
        self._shutdown.close()
        if not self._idle():  # whoever pressed Ctrl-C may wonder what it waits for
            calls = len(self.server_state.tasks)
            log.info("stopping once calls are answered; a second signal ends them now", calls=calls, most=self._grace)
        began = time.monotonic()
        while not self._idle() and time.monotonic() < began + self._grace:
            await asyncio.sleep(TICK)
        self._shutdown.end()

    async def listen_no_more(self) -> None:
        """Take the connections that knock at this moment, and no more: closing would reset them, calls included."""
        last = [one for listening in self._listening for one in _knocking(listening)]
        for server in self.servers:
            server.close()
        for listening in self._listening:
            listening.close()
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.connect_accepted_socket(self._connection, one) for one in last))

    def _connection(self) -> Any:
        protocol: Any = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _idle(self) -> bool:
        """Close the connections without a call; whether nothing is left."""
        for connection in list(self.server_state.connections):
            connection.shutdown()
        return not self.server_state.connections and not self.server_state.tasks


def _knocking(listening: socket.socket) -> list[socket.socket]:
    """The connections that the system has accepted for a socket, and nobody has taken yet."""
    found: list[socket.socket] = []
    try:
        while True:
            one, _ = listening.accept()
            one.setblocking(False)
            found.append(one)
    except OSError:  # there are no more; or no more files for them, which is as good as the end
        return found
