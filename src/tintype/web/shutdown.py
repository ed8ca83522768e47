"""How a web process stops without failing calls: it drains, closes, and ends calls that still wait after its grace."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import structlog
import uvicorn

log = structlog.get_logger()

#: Seconds between polls of what is still running, while it stops; and between two of the date in answers, before.
TICK, DATE = 0.05, 1.0
#: Seconds after the first signal in which another one is the same: wrappers pass on what the terminal sent already.
SAME = 0.5
#: Seconds for the last answers once the grace is over: hundreds of calls may have to be cancelled first, one by one.
LAST_ANSWERS = 10
#: Connections that wait to be accepted: with fewer, those of a burst are retried a second later.
BACKLOG = 2_048


class Shutdown:
    """A server's phase of stopping; each of the three stays true. For the event loop's thread."""

    def __init__(self) -> None:
        #: Load balancers should send calls elsewhere; calls that arrive are served as before.
        self.draining = False
        #: It accepts no more connections: event streams end, since their clients can reconnect elsewhere.
        self.closing = False
        #: The grace is over: calls that still wait are answered.
        self.over = False
        self._callbacks: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call it when the server closes, and when the grace is over."""
        self._callbacks.append(callback)

    def close(self) -> None:
        """It accepts no more connections."""
        self.draining = self.closing = True
        self._notify()

    def end(self) -> None:
        """The grace is over."""
        self.draining = self.closing = self.over = True
        self._notify()

    def _notify(self) -> None:
        for callback in self._callbacks:
            callback()


class WebServer(uvicorn.Server):
    """uvicorn's server, which by itself refuses connections as soon as it has a signal.

    drain: seconds for which it serves as before, while `/ready` has load balancers send calls elsewhere. grace: seconds
    that running calls then have. A second signal ends both immediately.
    """

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown, *, drain: float, grace: float) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._drain = drain
        self._grace = grace
        #: Called at a second signal, for what else has a grace.
        self.again: Callable[[], None] = lambda: None
        self._signalled_at: float | None = None
        self._listening: list[socket.socket] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Ends the main loop's rest.
        self._told = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to cli.serve, which has more to stop: uvicorn would raise them again afterwards."""
        yield

    def stop(self) -> None:
        """Stop, from any thread or from a signal's handler."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._told.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: stop. From a terminal (SIGINT) without draining, without load balancers; again, immediately."""
        del frame
        moment = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = moment
            self._shutdown.draining = True
            if sig == signal.SIGINT:
                self._drain = 0.0
            self.stop()
        elif moment > self._signalled_at + SAME:
            self._drain = self._grace = 0.0
            self.again()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, with a long backlog, however few connections may be open at the same time."""
        await super().startup(sockets)
        self._listening = sockets or []
        for listening in self._listening:
            listening.listen(BACKLOG)

    async def main_loop(self) -> None:
        """Serve until a signal, and then until no call runs or the grace is over."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # uvicorn's own loop does this ten times a second
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE):
                    await self._told.wait()
        self._shutdown.draining = True
        began = time.monotonic()
        while time.monotonic() < began + self._drain:
            await asyncio.sleep(TICK)
        await self.stop_listening()
        self._shutdown.close()
        if not self._idle():  # after Ctrl-C, says what it waits for
            calls = len(self.server_state.tasks)
            log.info("stopping once calls are answered; a second signal ends them now", calls=calls, most=self._grace)
        began = time.monotonic()
        while not self._idle() and time.monotonic() < began + self._grace:
            await asyncio.sleep(TICK)
        self._shutdown.end()

    async def stop_listening(self) -> None:
        """Accept the connections of the backlog, and no more: closing would reset them, with their calls."""
        loop = asyncio.get_running_loop()
        sockets, self._listening = self._listening, []
        for listening in sockets:
            loop.remove_reader(listening)
        await asyncio.sleep(0)  # those that were accepted just now are set up, which a closed server no longer does
        last = [one for listening in sockets for one in _backlog(listening)]
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        await asyncio.gather(*(loop.connect_accepted_socket(self._connection, one) for one in last))

    def _connection(self) -> Any:
        protocol: Any = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _idle(self) -> bool:
        """Close the connections without a call; whether none is left."""
        for connection in list(self.server_state.connections):
            connection.shutdown()
        return not self.server_state.connections and not self.server_state.tasks


def _backlog(listening: socket.socket) -> list[socket.socket]:
    """The connections that the system has accepted for a socket, and this process has not."""
    found: list[socket.socket] = []
    try:
        while True:
            one, _ = listening.accept()
            one.setblocking(False)
            found.append(one)
    except OSError:  # there are no more, or no more file descriptors for them
        return found
