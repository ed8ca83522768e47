"""Who is calling: the API key of a request, and what it may do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi import Request as HttpRequest

from tintype.errors import Forbidden, Unauthorized
from tintype.store.keys import Key
from tintype.web.services import Services, services


def reader(http: HttpRequest, services: Annotated[Services, Depends(services)]) -> Key:
    """The caller's key, for calls that only read; raises Unauthorized."""
    key = services.accounts.authenticate(_secret(http))
    # The middleware that adds x-remaining-credits and x-mode finds them here, on errors too.
    http.state.account_id = key.account_id
    http.state.mode = key.mode
    return key


def runner(key: Annotated[Key, Depends(reader)]) -> Key:
    """The caller's key, for calls that change something; raises Unauthorized, Forbidden."""
    if key.read_only:
        raise Forbidden("This API key may only read")
    return key


def observer(key: Annotated[Key, Depends(reader)]) -> Key:
    """The caller's key, an operator's, for calls that only look; raises Unauthorized, Forbidden."""
    if not key.operator:
        raise Forbidden(
            "This is for operators' keys: `tintype keys create --operator` on the server's machine makes one"
        )
    return key


def operator(key: Annotated[Key, Depends(observer)]) -> Key:
    """The caller's key, an operator's, for calls that change something; raises Unauthorized, Forbidden."""
    return runner(key)


Reader = Annotated[Key, Depends(reader)]
Runner = Annotated[Key, Depends(runner)]
Observer = Annotated[Key, Depends(observer)]
Operator = Annotated[Key, Depends(operator)]


def _secret(http: HttpRequest) -> str:
    """`x-api-key`, else the bearer token; raises Unauthorized when there is neither."""
    if secret := http.headers.get("x-api-key", "").strip():
        return secret
    scheme, _, token = http.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    raise Unauthorized("No API key was sent")
