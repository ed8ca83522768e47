"""Authentication: the API key of a call, and what it may do.

By hand, not by the framework's security classes: each would be solved with every call, as would what these took as
dependencies; `/openapi.json` says in openapi.py which operations need a key.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi import Request as HttpRequest

from tintype.errors import Forbidden, Unauthorized
from tintype.store.accounts.keys import Key
from tintype.store.db.audit import Actor, current_actor
from tintype.store.store import Store
from tintype.web.clients import base_url, client_address
from tintype.web.errors import owner
from tintype.web.runtime import Runtime
from tintype.web.threads import in_thread

READ_ONLY = "This API key may only read"


async def caller(http: HttpRequest) -> Key:
    """The caller's key, whatever it may do; raises Unauthorized, and has failures logged."""
    known: Key | None = http.scope.setdefault("state", {}).get("key")
    if known:
        return known
    store: Store = http.app.state.store
    runtime: Runtime = http.app.state.runtime
    secret, address = _secret(http), client_address(http, runtime.settings)
    try:
        if (key := store.accounts.keys.cached(secret)) is None:
            key = await in_thread(http, store.accounts.keys.authenticate, secret)
    except Unauthorized as error:
        runtime.denials.unauthorized(address, error.message)
        raise
    # Read by threads.py, for whose call it is, and by the middleware that adds x-remaining-credits, also to errors.
    http.state.key = key
    max_acts = None if key.operator else runtime.settings.limits.account_changes_daily
    current_actor.set(Actor("api", f"{key.name} {key.begins}…", address, key.account_id, key.id, max_acts))
    return key


async def reader(http: HttpRequest) -> Key:
    """The caller's key, for calls that read its account; raises Unauthorized, Forbidden."""
    key = await caller(http)
    if key.server_only:
        raise Forbidden(
            "This operator's key may only read, and so sees the server alone (/metrics, GET /v2/operator): "
            "nothing of an account",
            reason="server_only",
        )
    return key


async def runner(http: HttpRequest) -> Key:
    """The caller's key, for calls that change something; raises Unauthorized, Forbidden."""
    key = await reader(http)
    if key.read_only:
        raise Forbidden(READ_ONLY, reason="read_only")
    return key


async def observer(http: HttpRequest) -> Key:
    """The caller's key, an operator's, for calls that read the server's state; raises Unauthorized, Forbidden."""
    key = await caller(http)
    if not key.operator:
        raise Forbidden(
            "This is for operators' keys: `tintype keys create --operator` on the server's machine makes one",
            reason="not_operator",
        )
    return key


async def operator(http: HttpRequest) -> Key:
    """The caller's key, an operator's, for calls that change something; raises Unauthorized, Forbidden."""
    key = await observer(http)
    if key.read_only:
        raise Forbidden(READ_ONLY, reason="read_only")
    return key


async def auditor(http: HttpRequest) -> Key:
    """The caller's key, an operator's, for calls that read accounts; raises Unauthorized, Forbidden."""
    key = await observer(http)
    if key.server_only:
        raise Forbidden(
            "This operator's key may only read, and so sees how the server does and nothing of accounts",
            reason="server_only",
        )
    return key


#: A route that has one of these needs a key.
KINDS = frozenset((caller, reader, runner, observer, operator, auditor))
Caller = Annotated[Key, Depends(caller)]
Reader = Annotated[Key, Depends(reader)]
Runner = Annotated[Key, Depends(runner)]
Observer = Annotated[Key, Depends(observer)]
Operator = Annotated[Key, Depends(operator)]
Auditor = Annotated[Key, Depends(auditor)]


def _secret(http: HttpRequest) -> str:
    """`x-api-key`, else what Authorization has by a scheme of the address's dialect; else raises Unauthorized."""
    if secret := http.headers.get("x-api-key", "").strip():
        return secret
    scheme, _, given = http.headers.get("authorization", "").partition(" ")
    read = SCHEMES.get(scheme.lower())
    if read and scheme.lower() in owner(http).schemes and (secret := read(given.strip())):
        if read is _basic:
            _check_origin(http)
        return secret
    raise Unauthorized("No API key was sent", reason="missing")


def _basic(given: str) -> str:
    """The password, else the user name: clients have a field for either."""
    try:
        user, _, password = b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        return ""
    return password.strip() or user.strip()


def _check_origin(http: HttpRequest) -> None:
    """Raise Forbidden for a call by a page of another origin: browsers send passwords that they keep along."""
    sent = http.headers.get("origin")
    if sent is not None and _origin(sent) != _origin(base_url(http, http.app.state.runtime.settings)):
        raise Forbidden("A page of another origin may not use a password that the browser keeps: send x-api-key")


def _origin(address: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port; None for `null`, and for what is no address."""
    try:
        parts = urlsplit(address)
        return (parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]) if parts.hostname else None
    except (ValueError, KeyError):
        return None


PORTS = {"http": 80, "https": 443}
#: How the key is read from what follows each scheme; empty where there is none.
SCHEMES: Mapping[str, Callable[[str], str]] = {"bearer": str, "token": str, "basic": _basic}
