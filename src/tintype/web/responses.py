"""Responses that are made once for all callers, and those that stream a stored image."""

from __future__ import annotations

import asyncio
import gzip
import math
import re
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

import structlog
from fastapi import Request as HttpRequest
from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Send

from tintype.errors import BadRequest, TintypeError
from tintype.media.storage import Storage
from tintype.store.store import Store
from tintype.web.clients import base_url
from tintype.web.dependencies import RuntimeDep, StoreDep
from tintype.web.runtime import Runtime

log = structlog.get_logger()

OK, NOT_MODIFIED = 200, 304
#: Media types of text; images are compressed already.
COMPRESSIBLE = re.compile(r"text/|application/json|image/svg")
#: What stands in JSON for the server's own address; no other text has this character, as JSON writes it.
BASE = "\x01"
BASE_IN_JSON = rb"\u0001"
#: zlib's word for a gzip stream.
GZIP = 31
#: Cached by clients, but revalidated each time.
REVALIDATED = {"cache-control": "no-cache"}
#: Calls a function in a thread.
Run = Callable[..., Awaitable[bytes]]


def json_bytes(body: Any) -> bytes:
    """JSON as the framework would send it."""
    return bytes(JSONResponse(body).body)


@dataclass(frozen=True, slots=True)
class Body:
    """What all callers get; compressed once, for those that take it so."""

    plain: bytes
    media_type: str
    etag: str
    gzipped: bytes | None

    @classmethod
    def of(cls, plain: bytes, media_type: str) -> Self:
        """Compressed if it is text, in a few milliseconds per 100 kB."""
        small = gzip.compress(plain, mtime=0) if COMPRESSIBLE.match(media_type) else None
        return cls(plain, media_type, etag_of(plain), small if small and len(small) < len(plain) else None)


def conditional(
    http: HttpRequest, body: Body, *, headers: Mapping[str, str] = REVALIDATED, status: int = 200
) -> Response:
    """The body, or 304 if the client has it cached."""
    gzipped = body.gzipped if takes_gzip(http.headers.get("accept-encoding", "")) else None
    # Other bytes have another ETag.
    etag = f'{body.etag[:-1]}-gzip"' if gzipped else body.etag
    headers = {"etag": etag, **headers}
    if body.gzipped:
        headers["vary"] = ", ".join(filter(None, [headers.get("vary"), "accept-encoding"]))
    if status == OK and etag in (
        tag.strip().removeprefix("W/") for tag in http.headers.get("if-none-match", "").split(",")
    ):
        return Response(status_code=NOT_MODIFIED, headers=headers)
    if gzipped:
        headers["content-encoding"] = "gzip"
    return Response(gzipped or body.plain, status, media_type=body.media_type, headers=headers)


def takes_gzip(accepted: str) -> bool:
    """Whether a client's Accept-Encoding allows gzip by its name (RFC 9110, 12.5.3)."""
    codings = (coding.replace(" ", "").lower().partition(";q=") for coding in accepted.split(","))
    return any(name == "gzip" and not re.fullmatch(r"0(\.0*)?", weight) for name, _, weight in codings)


def etag_of(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'


class Linked:
    """JSON with links below the server's own address, which callers choose by their Host: BASE stands for it.

    All that comes before the first of them is compressed once.
    """

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        begins, mark, rest = plain.partition(BASE_IN_JSON)
        self._begins, self._rest = begins, mark + rest
        self._compressor = zlib.compressobj(wbits=GZIP)
        self._compressed = self._compressor.compress(begins)

    def at(self, base: str) -> Body:
        """Of a server with this address."""
        rest = self._rest.replace(BASE_IN_JSON, json_bytes(base)[1:-1])
        compressor, plain = self._compressor.copy(), self._begins + rest
        gzipped = self._compressed + compressor.compress(rest) + compressor.flush()
        return Body(plain, "application/json", etag_of(plain), gzipped)


class Described(Linked):
    """An OpenAPI document, which ends with the server's address."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__(json_bytes({**document, "servers": [{"url": BASE}]}))


class CachedEndpoint:
    """An endpoint with one body for all callers. Calls that come while it is made wait for it, without a thread."""

    def __init__(
        self,
        make: Callable[[Store, Runtime], bytes],
        media_type: str = "application/json",
        *,
        ttl: float = math.inf,
        headers: Mapping[str, str] = REVALIDATED,
        linked: bool = False,
    ) -> None:
        """ttl: seconds until the body is made again, where something of it may have changed.

        linked: whether it is JSON with BASE in it.
        """
        self._make = make
        self._type = media_type
        self._ttl = ttl
        self._headers = headers
        self._making: asyncio.Task[None] | None = None
        self._linked = linked
        self._body: Body | Linked = Body.of(b"", media_type)
        self._expires = -math.inf

    async def answer(self, http: HttpRequest, store: StoreDep, runtime: RuntimeDep) -> Response:
        """200 or 304; raises what making the body raises."""
        if time.monotonic() >= self._expires:
            if self._making is None:
                self._making = asyncio.create_task(self._renew(store, runtime))
            await asyncio.shield(self._making)  # a caller that disconnects must not cancel it for the others
        body = self._body
        if isinstance(body, Linked):
            base = ""
            with suppress(BadRequest):  # without a Host, paths are links too
                base = base_url(http, runtime.settings)
            body = body.at(base)
        return conditional(http, body, headers=self._headers)

    async def _renew(self, store: Store, runtime: Runtime) -> None:
        try:
            self._body = await run_in_threadpool(self._made, store, runtime)
            self._expires = time.monotonic() + self._ttl
        finally:
            self._making = None

    def _made(self, store: Store, runtime: Runtime) -> Body | Linked:
        plain = self._make(store, runtime)
        if plain == self._body.plain:
            return self._body
        return Linked(plain) if self._linked else Body.of(plain, self._type)


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
