"""The body of a request: how much of it is taken, from whom, and when; it is taken apart off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext, suppress

from fastapi import Request as HttpRequest
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tintype.errors import BodyTooLarge, TooManyRequests, UnsupportedBody
from tintype.web.parsing import LONG, SMALL, Sent, parse
from tintype.web.threads import in_thread

#: Seconds after which other bodies may have made room.
BUSY = 1.0
#: Seconds, and bytes, for which a client that is answered in the middle of its body may go on sending: if nobody read
#: that, its system would throw the answer away together with the connection.
LINGER, MOST_LINGER = 5.0, 64 * 2**20


class Bodies:
    """Reads bodies within limits in bytes: of all that are under way, per account and together.

    A body is under way from its first byte until what was in it is done with. For one event loop only.
    """

    def __init__(self, *, per_account: int, together: int) -> None:
        self._per_account = per_account
        self._together = together
        self._held = Counter[str]()
        #: Large bodies are taken apart one by one: each search through one holds up all other threads meanwhile.
        self._large = asyncio.Lock()

    @asynccontextmanager
    async def read(
        self, http: HttpRequest, account_id: str, *, most: int = SMALL, texts: Collection[str] = ()
    ) -> AsyncIterator[Sent]:
        """The parameters in a body of at most so many bytes; those named in `texts` may be empty in a form.

        Raises BadRequest, UnsupportedBody, BodyTooLarge, TooManyRequests. What its headers already tell is refused
        before any of it is asked for.
        """
        _check_coding(http.headers)
        declared = _declared(http.headers)
        _check_size(declared, most)
        held = 0
        try:
            self._hold(account_id, declared)
            held = declared
            data = bytearray()
            async for chunk in http.stream():
                data += chunk
                _check_size(len(data), most)
                if len(data) > held:  # sent in chunks, it hasn't declared anything
                    self._hold(account_id, len(data), held)
                    held = len(data)
            sent = await self._parse(http, data, texts)
            del data
            yield sent
        finally:
            self._held[account_id] -= held
            self._held += Counter()  # without those at 0

    def _hold(self, account_id: str, size: int, held: int = 0) -> None:
        """Count `size` bytes of a body of which `held` count already; raises TooManyRequests.

        What is alone is let in, however small the operator has made the limit.
        """
        own, all = self._held[account_id] - held, self._held.total() - held
        if own and own + size > self._per_account:
            words = f"This account has bodies of {own} bytes under way; with this one they exceed {self._per_account}"
            raise TooManyRequests(words, BUSY, time.time())
        if all and all + size > self._together:
            raise TooManyRequests("This server is reading as many bodies as it has memory for", BUSY, time.time())
        self._held[account_id] += size - held

    async def _parse(self, http: HttpRequest, data: bytearray, texts: Collection[str]) -> Sent:
        async with self._large if len(data) > LONG else nullcontext():
            return await in_thread(http, parse, http.headers.get("content-type", ""), data, texts)


def _check_coding(headers: Headers) -> None:
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedBody(
            f"The body's content encoding is {coding[:80]!r}; allowed: identity",
            headers={"accept-encoding": "identity"},
        )


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise BodyTooLarge(f"The body is larger than {most} bytes")


def _declared(headers: Headers) -> int:
    """The length that a body claims to have; 0 where it comes in chunks, or there is none."""
    claimed = headers.get("content-length", "")
    return int(claimed) if claimed.isascii() and claimed.isdecimal() and len(claimed) < 20 else 0


class BodyLimit:
    """Middleware that stops reading a body at `limit` bytes, and ends the connection of one that wasn't read."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on with a `receive` that counts and a `send` that closes."""
        if scope["type"] == "http":
            body = _Arriving(Headers(scope=scope), receive, send, self.limit)
            receive, send = body.receive, body.send
        await self.app(scope, receive, send)


class _Arriving:
    """The body of one call, and whether anything of it is still to come."""

    def __init__(self, headers: Headers, receive: Receive, send: Send, limit: int) -> None:
        self._receive, self._send = receive, send
        self._limit = limit
        self._read = 0
        self._left = _declared(headers)
        self._over = not self._left and "transfer-encoding" not in headers
        #: The client waits for a word before it sends anything: only a look at the body gives it.
        self._waits = headers.get("expect", "").lower() == "100-continue"
        self._answered = self._closes = False

    async def receive(self) -> Message:
        """The next piece; raises BodyTooLarge."""
        self._waits = False
        message = await self._receive()
        self._read += len(message.get("body", b""))
        self._over = not message.get("more_body")
        if not self._answered:
            _check_size(self._read, self._limit)
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on; where much of the body isn't read, the connection ends with it."""
        if message["type"] == "http.response.start":
            self._answered = True
            small = self._left and self._left - self._read <= SMALL  # the server drops it, and the connection goes on
            self._closes = not self._over and (self._waits or not small)
            if self._closes:
                MutableHeaders(scope=message)["connection"] = "close"
        elif self._closes and not self._waits and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _linger(self) -> None:
        with suppress(TimeoutError):  # its time is over: nothing more was promised
            async with asyncio.timeout(LINGER):
                while not self._over and self._read <= self._limit + MOST_LINGER:
                    await self.receive()
