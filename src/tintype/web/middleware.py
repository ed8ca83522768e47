"""ASGI middleware around every call, from outside: metrics, (CORS), the limit on bodies and the account's headers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import Request as HttpRequest
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tintype.catalog.samples import SAMPLES
from tintype.errors import StoreUnavailable
from tintype.store.accounts.keys import Key
from tintype.store.billing.ledger import plain
from tintype.store.store import Store
from tintype.telemetry.metrics import Calls
from tintype.web.body import check_size, declared_length
from tintype.web.connections import REFUSED
from tintype.web.errors import CLIENT_GONE, unforeseen
from tintype.web.forms import SMALL
from tintype.web.runtime import Runtime
from tintype.web.shutdown import LAST_ANSWERS
from tintype.web.threads import REMAINING, hung_up, within

#: Routes in metrics that are none of the app's templates: calls that matched no route, all samples, and calls of test
#: keys, whose senders choose the answers that they get.
UNMATCHED, SAMPLE, TEST = "unmatched", "samples", "test-mode"
GROUPED = dict.fromkeys((sample.path for sample in SAMPLES), SAMPLE)
#: Timeout in seconds of reading the credits for one of the last answers of a server that stops.
LAST_CREDITS = LAST_ANSWERS * 0.2
#: Seconds, and bytes, for which a client that is answered in the middle of its body may go on sending. Were that not
#: read, its system would drop the answer together with the connection.
LINGER, MAX_LINGER = 5.0, 64 * 2**20


class CallMetrics:
    """Counts each answer, and the seconds until its first byte.

    How long a stream or a large file takes after that depends on its client.
    """

    def __init__(self, app: ASGIApp, calls: Calls, clock: Callable[[], float] = time.perf_counter) -> None:
        self.app = app
        self.calls = calls
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = _MeasuredCall(self.calls, self.clock, scope, receive, send, since=self.clock())
        self.calls.open.inc()
        try:
            await self.app(scope, call.receive, call.send)
        finally:
            self.calls.open.dec()
            if not call.begun:  # the client has disconnected, or the framework answers with an error outside of this
                call.count(500)


@dataclass(slots=True)
class _MeasuredCall:
    _calls: Calls
    _clock: Callable[[], float]
    _scope: Scope
    _receive: Receive
    _send: Send
    #: When it began, later by what was spent on waiting for its body.
    since: float
    #: Whether more of the body may come.
    more: bool = True
    #: Whether the answer has begun.
    begun: bool = False

    async def receive(self) -> Message:
        """The next message; the time in which the server waits for the body isn't counted."""
        if not self.more:
            return await self._receive()
        asked = self._clock()
        message = await self._receive()
        self.since += self._clock() - asked
        self.more = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if not self.begun:
            self.count(message["status"])
        await self._send(message)

    def count(self, status: int) -> None:
        """Count the answer, or what stands for it where the client has disconnected."""
        self.begun = True
        seconds, state = self._clock() - self.since, self._scope.get("state", {})
        status = state.get(REFUSED) or (CLIENT_GONE if hung_up(self._scope) else status)
        key: Key | None = state.get("key")
        path: str = getattr(self._scope.get("route"), "path", UNMATCHED)
        route = TEST if key and key.test else GROUPED.get(path, path)
        self._calls.answered(route, self._scope["method"], status, seconds)


class Exchanges:
    """Stops reading a body at the server's limit; adds the account's headers to every answer to an authenticated call.

    Errors have them too, and so the 500 for an unforeseen exception: Starlette's own comes outside all middleware.
    """

    def __init__(self, app: ASGIApp, store: Store, runtime: Runtime) -> None:
        self.app = app
        self.store = store
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = Exchange(self.store, self.runtime, scope, receive, send)
        try:
            await self.app(scope, call.receive, call.send)
        except Exception as error:
            if call.answered:
                raise
            await unforeseen(HttpRequest(scope), error)(scope, call.receive, call.send)


class Exchange:
    """The body of one call, and whether any of it is still to come; and its answer."""

    def __init__(self, store: Store, runtime: Runtime, scope: Scope, receive: Receive, send: Send) -> None:
        self._store, self._runtime, self._scope = store, runtime, scope
        self._receive, self._send = receive, send
        self._limit = runtime.settings.limits.max_body
        headers = Headers(scope=scope)
        self._read = 0
        self._declared = declared_length(headers)
        self._over = not self._declared and "transfer-encoding" not in headers
        #: The client sends nothing before it gets a 100, which only reading the body sends.
        self._waits = headers.get("expect", "").lower() == "100-continue"
        #: Whether the answer has begun, and whether the connection closes after it.
        self.answered = self._closes = False

    async def receive(self) -> Message:
        """The next piece; raises BodyTooLarge."""
        self._waits = False
        message = await self._receive()
        self._read += len(message.get("body", b""))
        self._over = not message.get("more_body")
        if not self.answered:
            check_size(self._read, self._limit)
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on; where much of the body isn't read, close the connection after it."""
        if message["type"] == "http.response.start":
            self.answered = True
            # A small rest is dropped by the server, and the connection stays open.
            small = self._declared and self._declared - self._read <= SMALL
            self._closes = not self._over and (self._waits or not small)
            headers = MutableHeaders(scope=message)
            if self._closes:
                headers["connection"] = "close"
            state = self._scope.get("state", {})
            key: Key | None = state.get("key")
            if key and not key.server_only:
                await self._add_account(headers, key, state)
        elif self._closes and not self._waits and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _add_account(self, headers: MutableHeaders, key: Key, state: Mapping[str, Any]) -> None:
        """The credits are read after the call's own work, so that they include it."""
        if key.test:
            headers["x-mode"] = "test"
        if not self._runtime.settings.billing.enabled:
            headers["x-remaining-credits"] = "unlimited"
            return
        remaining = state[REMAINING] if REMAINING in state else await self._credits(key.account_id)
        if remaining is not None:
            headers["x-remaining-credits"] = plain(remaining)

    async def _credits(self, account_id: str) -> int | None:
        reading = self._runtime.threads.run(account_id, self._store.accounts.remaining, account_id)
        try:
            return await (within(LAST_CREDITS, reading) if self._runtime.shutdown.over else reading)
        except (StoreUnavailable, TimeoutError):
            return None  # the answer itself is worth more than its header

    async def _linger(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not self._over and self._read <= self._limit + MAX_LINGER:
                    await self.receive()
