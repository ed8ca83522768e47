"""Bodies: what is JSON, and where reading stops."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope, Send

from tintype.errors import BodyTooLarge
from tintype.settings import Settings
from tintype.web.middleware import Exchange


def read(limit: int, *pieces: bytes) -> bytes:
    """Let an application behind the limit read a body that comes in pieces."""
    waiting = list(pieces)
    received = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            received.extend(message["body"])
            more = message["more_body"]

    async def send(_: Message) -> None: ...

    runtime: Any = SimpleNamespace(settings=Settings.of(max_body=limit))
    scope: Scope = {"type": "http", "headers": []}
    call = Exchange(cast(Any, None), runtime, scope, receive, send)
    asyncio.run(application(scope, call.receive, call.send))
    assert not waiting
    return bytes(received)


def test_the_limit_counts_all_pieces() -> None:
    assert read(10, b"12345", b"", b"67890") == b"1234567890"
    for pieces in ([b"12345678901"], [b"12345", b"67890", b"1"]):
        with pytest.raises(BodyTooLarge, match="10 bytes"):
            read(10, *pieces)


def test_nothing_is_read_past_the_limit() -> None:
    with pytest.raises(BodyTooLarge):
        read(3, b"1234", b"never read")
