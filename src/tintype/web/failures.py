"""Every error as JSON, and the account's credits on every answer to an authenticated call."""

from __future__ import annotations

import structlog
from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tintype.errors import (
    UNFORESEEN,
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    StorageUnavailable,
    StoreUnavailable,
    TintypeError,
)
from tintype.store.accounts.keys import Key
from tintype.store.billing.money import plain
from tintype.web.peers import client_address
from tintype.web.services import Services
from tintype.web.services import services as services_of
from tintype.web.shutdown import LAST_ANSWERS
from tintype.web.threads import within

log = structlog.get_logger()

#: What nginx calls a client that went away; nobody is there to read it.
CLIENT_GONE = 499
#: Seconds for the credits in one of the last answers of a server that stops: they have few in all.
LAST_LOOK = LAST_ANSWERS * 0.2
#: The name of routes that exist only to refuse in better words than the framework's.
REFUSES = "refuses"


def add_error_handlers(app: FastAPI) -> None:
    """Answer our own errors, the framework's and the unforeseen with the same three fields."""
    app.add_exception_handler(TintypeError, _ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unforeseen)


def _ours(http: HttpRequest, error: Exception) -> JSONResponse:
    known = error if isinstance(error, TintypeError) else TintypeError()
    own = services_of(http)
    key: Key | None = http.scope.get("state", {}).get("key")
    if not (key and key.test):  # who chooses the errors that it gets
        own.metrics.calls.refused(known)
    if isinstance(known, Forbidden) and key:
        own.strangers.note_forbidden(client_address(http, own.settings), known.message, key)
    if known.status >= 500 and known.__cause__ and not _told(known):
        # Caused by this machine: its words are for the operator, not for the client.
        log.error(known.message, path=http.url.path, cause=f"{type(known.__cause__).__name__}: {known.__cause__}")
    return JSONResponse(known.public(), status_code=known.status, headers=known.public_headers())


def _told(error: TintypeError) -> bool:
    """Whether the log has it already: database and storage tell of their own failures, however many calls meet them."""
    return any(isinstance(one, StoreUnavailable | StorageUnavailable) for one in (error, error.__cause__))


def _framework(http: HttpRequest, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    place = f"{http.method} {http.url.path[:80]}"
    if status == 404:
        return _ours(http, NotFound(f"Nothing is at {place}"))
    if status == 405:
        return _ours(http, MethodNotAllowed(f"{place} is not allowed", headers={"allow": ", ".join(_methods(http))}))
    return _ours(http, BadRequest() if status < 500 else TintypeError())


def _methods(http: HttpRequest) -> list[str]:
    """The methods of all routes that an address fits; the framework names the first one's only."""
    fitting = (route for route in http.app.state.routes if route.matches(http.scope)[0] is not Match.NONE)
    return sorted({method for route in fitting if route.name != REFUSES for method in route.methods or ()})


def _gone(_http: HttpRequest, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


def _unforeseen(http: HttpRequest, error: Exception) -> JSONResponse:
    log.error("unforeseen error", path=http.url.path, exc_info=error)
    return _ours(http, TintypeError(UNFORESEEN))


class Unforeseen:
    """Middleware that answers what nobody foresaw, as Starlette does outside all others: too late for the credits."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and answer 500 if it ends in an exception before there is an answer."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await _unforeseen(HttpRequest(scope), error)(scope, receive, send)


class Credits:
    """Middleware that adds x-remaining-credits wherever the call was authenticated, errors included; so with x-mode."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on; look the credits up when the answer begins, so that they include this call's own."""

        async def with_credits(message: Message) -> None:
            key: Key | None = scope.get("state", {}).get("key")
            if message["type"] == "http.response.start" and key and not key.server_only:
                await self._add(message, key)
            await send(message)

        await self.app(scope, receive, with_credits)

    async def _add(self, message: Message, key: Key) -> None:
        headers, account_id = MutableHeaders(scope=message), key.account_id
        if key.test:
            headers["x-mode"] = "test"
        if not self.services.settings.billing:
            headers["x-remaining-credits"] = "unlimited"
            return
        own = self.services
        patience = LAST_LOOK if own.shutdown.over else None
        try:
            remaining = await within(patience, own.threads.run(account_id, own.store.accounts.remaining, account_id))
        except (StoreUnavailable, TimeoutError):
            return  # the answer itself is worth more than its header
        headers["x-remaining-credits"] = plain(remaining)
