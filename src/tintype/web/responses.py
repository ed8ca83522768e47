"""Responses that are made once for all callers, and those that stream a stored image."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any

import structlog
from fastapi import Request as HttpRequest
from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Send

from tintype.errors import TintypeError
from tintype.media.storage import Storage
from tintype.store.store import Store
from tintype.web.dependencies import RuntimeDep, StoreDep
from tintype.web.runtime import Runtime

log = structlog.get_logger()

NOT_MODIFIED = 304
#: Cached by clients, but revalidated each time.
REVALIDATED = {"cache-control": "no-cache"}
#: Calls a function in a thread.
Run = Callable[..., Awaitable[bytes]]


def json_bytes(body: Any) -> bytes:
    """JSON as the framework would send it."""
    return bytes(JSONResponse(body).body)


def conditional(
    http: HttpRequest, body: bytes, media_type: str, *, etag: str = "", headers: Mapping[str, str] = REVALIDATED
) -> Response:
    """The body, or 304 if the client has it cached. etag: the body's, where it is known."""
    etag = etag or etag_of(body)
    headers = {"etag": etag, **headers}
    if etag in (tag.strip().removeprefix("W/") for tag in http.headers.get("if-none-match", "").split(",")):
        return Response(status_code=NOT_MODIFIED, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def etag_of(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'


class CachedEndpoint:
    """An endpoint with one body for all callers. Calls that come while it is made wait for it, without a thread."""

    def __init__(
        self,
        make: Callable[[Store, Runtime], bytes],
        media_type: str = "application/json",
        *,
        ttl: float = math.inf,
        headers: Mapping[str, str] = REVALIDATED,
    ) -> None:
        """ttl: seconds until the body is made again, where something of it may have changed."""
        self._make = make
        self._type = media_type
        self._ttl = ttl
        self._headers = headers
        self._making: asyncio.Task[None] | None = None
        self._body, self._etag, self._expires = b"", "", -math.inf

    async def answer(self, http: HttpRequest, store: StoreDep, runtime: RuntimeDep) -> Response:
        """200 or 304; raises what making the body raises."""
        if time.monotonic() >= self._expires:
            if self._making is None:
                self._making = asyncio.create_task(self._renew(store, runtime))
            await asyncio.shield(self._making)  # a caller that disconnects must not cancel it for the others
        return conditional(http, self._body, self._type, etag=self._etag, headers=self._headers)

    async def _renew(self, store: Store, runtime: Runtime) -> None:
        try:
            self._body = await run_in_threadpool(self._make, store, runtime)
            self._etag = etag_of(self._body)
            self._expires = time.monotonic() + self._ttl
        finally:
            self._making = None


class StoredFile(StreamingResponse):
    """A stored image of `size` bytes, read piece by piece: a slow client holds little memory, and no open file.

    The first piece is read here, which raises what `Storage.read_range` raises. run: reads the others, in the caller's
    threads.
    """

    def __init__(
        self, storage: Storage, name: str, size: int, *, run: Run, headers: Mapping[str, str], media_type: str
    ) -> None:
        first = storage.read_range(name, 0, min(storage.chunk, size))
        headers = {"content-length": str(size), **headers}
        super().__init__(_pieces(storage, name, size, first, run), headers=headers, media_type=media_type)

    async def stream_response(self, send: Send) -> None:
        """Where the storage fails midway, the body ends early, which its content-length tells the client."""
        try:
            await super().stream_response(send)
        except TintypeError as error:
            log.warning("a picture's answer broke off", error=error.message)


async def _pieces(storage: Storage, name: str, size: int, piece: bytes, run: Run) -> AsyncIterator[bytes]:
    """Each is read when the one before it is on its way."""
    sent = len(piece)
    yield piece
    while sent < size:
        piece = await run(storage.read_range, name, sent, min(sent + storage.chunk, size))
        sent += len(piece)
        yield piece
