"""How an answer leaves: its head in one packet with the first piece of its body, or alone where that comes later."""

from __future__ import annotations

import asyncio

import h11

from tintype.web.connections import StrictParser
from tintype.web.shutdown import Shutdown

HEAD = h11.Response(status_code=200, headers=[("content-length", "2")])


def parser(written: list[bytes]) -> StrictParser:
    """It has received a call."""
    one = StrictParser(lambda: None, written.append, Shutdown())
    one.receive_data(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert isinstance(one.next_event(), h11.Request)
    return one


def test_a_short_answer_is_one_packet() -> None:
    written: list[bytes] = []

    async def answer() -> bytes:
        one = parser(written)
        assert one.send(HEAD) == b""
        sent = one.send(h11.Data(data=b"{}")) + one.send(h11.EndOfMessage())
        await asyncio.sleep(0)
        return sent

    assert asyncio.run(answer()) == b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}"
    assert written == []


def test_the_head_of_a_stream_does_not_wait_for_what_follows() -> None:
    written: list[bytes] = []

    async def answer() -> bytes:
        one = parser(written)
        one.send(HEAD)
        await asyncio.sleep(0)
        return one.send(h11.Data(data=b"{}"))

    assert asyncio.run(answer()) == b"{}"
    assert written == [b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n"]
