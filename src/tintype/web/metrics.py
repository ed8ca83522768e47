"""`/metrics`, for Prometheus and what reads its format; and the counting of calls."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tintype.catalog.samples import SAMPLES
from tintype.errors import NotFound
from tintype.store.accounts.keys import Key
from tintype.telemetry.metrics import Calls
from tintype.web.auth import caller, observer
from tintype.web.connections import HUNG_UP, REFUSED
from tintype.web.failures import CLIENT_GONE
from tintype.web.services import services
from tintype.web.threads import Threaded, in_thread

#: Routes that are none of the app's templates: what no route took, all samples, and what test keys call, who choose
#: the answers that they get.
UNMATCHED, SAMPLE, TEST = "unmatched", "samples", "test-mode"
GROUPED = dict.fromkeys((sample.path for sample in SAMPLES), SAMPLE)


def metrics_router() -> APIRouter:
    """The route of this page."""
    router = APIRouter(route_class=Threaded)
    router.add_api_route("/metrics", metrics, methods=["GET"], include_in_schema=False)
    return router


async def metrics(http: HttpRequest) -> Response:
    """Every figure at this moment, for an operator's key or for anybody, as the settings say."""
    own = services(http)
    if own.settings.metrics == "off":
        raise NotFound("Nothing is at GET /metrics: this server's operator has turned it off")
    if own.settings.metrics == "operator":
        await observer(await caller(http))
    text, content_type = await in_thread(http, own.metrics.render, http.headers.get("accept", ""))
    return Response(text, media_type=content_type)


class Counted:
    """Middleware, outside all others: counts each answer, whoever inside gave it, and when it began.

    Of a stream or a large file that is its first byte: how long the rest takes is the reader's matter.
    """

    def __init__(self, app: ASGIApp, calls: Calls, clock: Callable[[], float] = time.perf_counter) -> None:
        self.app = app
        self.calls = calls
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = _Call(self, scope, receive, send)
        self.calls.open.inc()
        try:
            await self.app(scope, call.receive, call.send)
        finally:
            self.calls.open.dec()
            if not call.begun:  # the caller has gone, or else the framework says that something went wrong
                call.count(500)


class _Call:
    __slots__ = ("_calls", "_clock", "_more", "_receive", "_scope", "_send", "_since", "begun")

    def __init__(self, own: Counted, scope: Scope, receive: Receive, send: Send) -> None:
        self._calls, self._clock = own.calls, own.clock
        self._scope, self._receive, self._send = scope, receive, send
        self._since = self._clock()
        #: Whether more of the body may come, and whether the answer has begun.
        self._more, self.begun = True, False

    async def receive(self) -> Message:
        """What the server receives; the time in which it waits for the body is the caller's."""
        if not self._more:
            return await self._receive()
        asked = self._clock()
        message = await self._receive()
        self._since += self._clock() - asked
        self._more = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """What it sends."""
        if not self.begun:
            self.count(message["status"])
        await self._send(message)

    def count(self, status: int) -> None:
        """Count the answer, or what stands for it where the caller has gone."""
        self.begun = True
        seconds, state = self._clock() - self._since, self._scope.get("state", {})
        status = state.get(REFUSED) or (CLIENT_GONE if _hung_up(state) else status)
        self._calls.answered(_route(self._scope, state), self._scope["method"], status, seconds)


def _hung_up(state: Scope) -> bool:
    asked = state.get(HUNG_UP)
    return asked is not None and bool(asked())


def _route(scope: Scope, state: Scope) -> str:
    key: Key | None = state.get("key")
    if key and key.test:
        return TEST
    path: str = getattr(scope.get("route"), "path", UNMATCHED)
    return GROUPED.get(path, path)
