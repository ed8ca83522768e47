"""The body of a request, as JSON or a form, read within a limit."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from fastapi import Request as HttpRequest
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tintype.errors import BadRequest, BodyTooLarge, UnsupportedBody

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


async def read_parameters(http: HttpRequest, limit: int) -> dict[str, Any]:
    """The parameters that a caller sent; raises BadRequest, UnsupportedBody, BodyTooLarge.

    A form's values are strings, and a file in a form becomes base64: what follows sees no difference.
    """
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in FORMS:
        return await _form(http, limit)
    if kind not in ("", "application/json"):
        raise UnsupportedBody(f"The body's content type is {kind[:80]!r}")
    return parse_json(await http.body())


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object; an empty body is an empty one. Raises BadRequest."""
    try:
        parsed = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON") from error
    if not isinstance(parsed, dict):
        raise BadRequest("The body must be a JSON object of parameters")
    return parsed


async def _form(http: HttpRequest, limit: int) -> dict[str, Any]:
    try:
        async with http.form(max_part_size=limit) as form:
            return {name: await _value(value) for name, value in form.items()}
    except MultiPartException as error:
        raise BadRequest("The form can't be read") from error


async def _value(value: UploadFile | str) -> str:
    return value if isinstance(value, str) else b64encode(await value.read()).decode()


class BodyLimit:
    """Middleware that stops reading a body at `limit` bytes, whatever its length claims to be."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on with a counting `receive`."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                raise BodyTooLarge(f"The body is larger than {self.limit} bytes")
            return message

        await self.app(scope, counted, send)
