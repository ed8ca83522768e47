"""HTTP/1.1 at its barest: what an attacker writes must be his own, and what a probe costs must be next to nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Answer(NamedTuple):
    """Of one call. The status is 0 where none came."""

    status: int
    body: bytes
    #: From the first attempt to connect to the last byte.
    seconds: float

    def json(self) -> dict[str, Any]:
        """The body; empty where it is no object."""
        try:
            said = json.loads(self.body)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}


def head(method: str, path: str, headers: Mapping[str, str], length: int | None = 0) -> bytes:
    """The first line and the headers of a call whose body has `length` bytes; None: it comes in chunks."""
    framing = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
    named = {"host": "tintype.test", **headers, **framing}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def connect(address: str, source: str | None = None) -> Streams:
    """A new connection, from an address of this machine if one is given; `address` is `http://host:port`."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port), local_addr=source and (source, 0))


async def call(
    address: str,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    limit: float = 60,
    source: str | None = None,
) -> Answer:
    """One call on a connection of its own, as a health check makes it, or one that gave up after `limit` seconds."""
    began, said = time.perf_counter(), b""
    opening = head(method, path, {**(headers or {}), "connection": "close"}, len(body))
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(limit):
            said = await exchange(address, opening + body, source)
    first, _, rest = said.partition(b"\r\n\r\n")
    words = first.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return Answer(status, rest, time.perf_counter() - began)


async def exchange(address: str, sent: bytes, source: str | None = None) -> bytes:
    """Bytes for bytes on a connection of their own, until the server closes it."""
    reader, writer = await connect(address, source)
    answer = asyncio.create_task(reader.read())
    writer.write(sent)
    # An answer may come before all was sent: then the rest is not wanted.
    sending = asyncio.create_task(writer.drain())
    try:
        await asyncio.wait([answer, sending], return_when=asyncio.FIRST_COMPLETED)
        return await answer
    finally:
        answer.cancel()
        sending.cancel()
        await asyncio.gather(answer, sending, return_exceptions=True)
        writer.transport.abort()


@asynccontextmanager
async def listening(
    respond: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server of the attacker's own, to be fetched from or posted to; its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled: the attack is over.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await respond(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
