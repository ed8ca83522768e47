"""Answers that are the same for everybody: made once, or once in a while, however many ask."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from fastapi import Request as HttpRequest
from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from tintype.web.services import Services, services

NOT_MODIFIED = 304
KEPT_BUT_ASKED_FOR = {"cache-control": "no-cache"}


def in_json(body: Any) -> bytes:
    """As the framework would answer it."""
    return bytes(JSONResponse(body).body)


def etag_of(body: bytes) -> str:
    """By which a caller says what it has."""
    return f'"{sha256(body).hexdigest()[:32]}"'


def conditional(
    http: HttpRequest, body: bytes, etag: str, media_type: str, headers: Mapping[str, str] = KEPT_BUT_ASKED_FOR
) -> Response:
    """The body, or 304 to who has it already."""
    told = {"etag": etag, **headers}
    if etag in (tag.strip().removeprefix("W/") for tag in http.headers.get("if-none-match", "").split(",")):
        return Response(status_code=NOT_MODIFIED, headers=told)
    return Response(body, media_type=media_type, headers=told)


class Constant:
    """One such answer; whoever asks while it is being made waits for that, and no thread is taken for the others."""

    def __init__(
        self,
        make: Callable[[Services], bytes],
        media_type: str = "application/json",
        *,
        life: float = math.inf,
        headers: Mapping[str, str] = KEPT_BUT_ASKED_FOR,
    ) -> None:
        """life: seconds until it is made anew, where something of it may have changed."""
        self._make = make
        self._type = media_type
        self._life = life
        self._headers = headers
        self._making: asyncio.Task[None] | None = None
        self._body, self._etag, self._until = b"", "", -math.inf

    async def answer(self, http: HttpRequest) -> Response:
        """200, or 304 to who has it already; raises what making it raises."""
        if time.monotonic() >= self._until:
            if self._making is None:
                self._making = asyncio.create_task(self._renew(services(http)))
            await asyncio.shield(self._making)  # who goes away takes it from nobody
        return conditional(http, self._body, self._etag, self._type, self._headers)

    async def _renew(self, own: Services) -> None:
        try:
            self._body = await run_in_threadpool(self._make, own)
            self._etag = etag_of(self._body)
            self._until = time.monotonic() + self._life
        finally:
            self._making = None
