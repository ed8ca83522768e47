"""Every error as JSON: this server's own, the framework's, and unforeseen exceptions."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from tintype.errors import (
    UNFORESEEN,
    BadRequest,
    Forbidden,
    InvalidParameter,
    MethodNotAllowed,
    NotFound,
    StorageUnavailable,
    StoreUnavailable,
    TintypeError,
)
from tintype.store.accounts.keys import Key
from tintype.web.clients import client_address
from tintype.web.declared import Answer
from tintype.web.generate.dialect import Dialect
from tintype.web.runtime import Runtime
from tintype.web.wire import Id, Url

log = structlog.get_logger()

#: nginx's status for a client that has disconnected.
CLIENT_GONE = 499
#: The name of routes whose only purpose is a better error than the framework's.
REFUSES = "refuses"


class Error(Answer):
    """What every error says; `error` is the only member that the vendor's package reads."""

    error: str
    error_description: str
    status_code: int


class StillRunningError(Error):
    """An error of a call whose request is still queued or running, and where that is found."""

    request_id: Id
    status_url: Url
    response_url: Url


def add_error_handlers(app: FastAPI, page: Callable[[HttpRequest], Response | None]) -> None:
    """Answer all of them as the dialect of their address has it; page: instead, where nothing is at an address."""

    def framework(http: HttpRequest, error: Exception) -> Response:
        nothing = isinstance(error, HTTPException) and error.status_code == 404
        return (page(http) if nothing else None) or _framework(http, error)

    app.add_exception_handler(TintypeError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, unforeseen)


def _ours(http: HttpRequest, error: Exception) -> Response:
    known = error if isinstance(error, TintypeError) else TintypeError()
    runtime: Runtime = http.app.state.runtime
    key: Key | None = http.scope.get("state", {}).get("key")
    if not (key and key.test):  # test keys choose the errors that they get
        runtime.metrics.calls.refused(known)
    if isinstance(known, Forbidden) and key:
        runtime.denials.forbidden(client_address(http, runtime.settings), known.message, key)
    if known.status >= 500 and known.__cause__ and not _logged(known):
        # The cause is for the operator, not for the client.
        log.error(known.message, path=http.url.path, cause=f"{type(known.__cause__).__name__}: {known.__cause__}")
    return owner(http).error(known)


def owner(http: HttpRequest) -> Dialect:
    """The dialect that a call's address belongs to."""
    dialects: tuple[Dialect, ...] = http.app.state.dialects
    return next(one for one in dialects if one.owns(http.url.path))


def plain_error(error: TintypeError) -> JSONResponse:
    """As the vendor has it, and this server's own addresses."""
    return JSONResponse(error.public(), status_code=error.status, headers=error.public_headers())


def _logged(error: TintypeError) -> bool:
    """Whether the log has it already: database and storage log their own failures, once for all calls."""
    return any(isinstance(one, StoreUnavailable | StorageUnavailable) for one in (error, error.__cause__))


def _framework(http: HttpRequest, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    place = f"{http.method} {http.url.path[:80]}"
    if status == 404:
        return _ours(http, NotFound(f"Nothing is at {place}"))
    if status == 405:
        return _ours(http, MethodNotAllowed(f"{place} is not allowed", headers={"allow": ", ".join(_methods(http))}))
    return _ours(http, BadRequest() if status < 500 else TintypeError())


def _invalid(http: HttpRequest, error: Exception) -> Response:
    """What the framework checks by itself: a single parameter of a path, a query or the headers."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    name, wanted = str(first.get("loc", ("request",))[-1]), str(first.get("msg", ""))
    return _ours(http, InvalidParameter(name, first.get("input"), wanted[:1].lower() + wanted[1:]))


def _methods(http: HttpRequest) -> list[str]:
    """The methods of all routes that match an address; the framework names the first one's only."""
    matching = (route for route in http.app.routes if route.matches(http.scope)[0] is not Match.NONE)
    return sorted({method for route in matching if route.name != REFUSES for method in route.methods or ()})


def _gone(_http: HttpRequest, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


def unforeseen(http: HttpRequest, error: Exception) -> Response:
    log.error("unforeseen error", path=http.url.path, exc_info=error)
    return _ours(http, TintypeError(UNFORESEEN))
