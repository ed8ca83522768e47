"""Calls over bare sockets: with a wrong head, without the body, without reading the answer."""

from __future__ import annotations

import socket

#: Seconds after which a test is sure that a server keeps waiting.
LONG = 30.0


def dial(address: str, received: int = 0, timeout: float = LONG) -> socket.socket:
    """A connection to `http://host:port`, with a buffer of this many bytes for what is received."""
    made = socket.socket()
    if received:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
    made.settimeout(timeout)
    host, port = address.removeprefix("http://").split(":")
    made.connect((host, int(port)))
    return made


def call_bytes(method: str, path: str, key: str, body: bytes = b"", length: int | None = None, **headers: str) -> bytes:
    """A call with JSON; `length` may be a lie, and a body in chunks has none unless it is given."""
    named = {"host": "a", "x-api-key": key, "content-type": "application/json", **headers}
    if length is not None or "transfer_encoding" not in headers:
        named["content-length"] = str(len(body) if length is None else length)
    lines = [f"{name.replace('_', '-')}: {text}" for name, text in named.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body
