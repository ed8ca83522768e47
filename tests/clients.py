"""How tests call servers on loopback: with HTTP clients without TLS, and over bare sockets.

A bare socket can send a wrong head, leave the body out, or not read the answer.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: An HTTP client's `verify`, in place of the machine's certificates, which take each client 25 ms to read.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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


@contextmanager
def under_way(
    address: str, key: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Iterator[socket.socket]:
    """A POST whose caller hangs up at the end of the block: once something is so, not after some time."""
    with dial(address) as one:
        one.sendall(call_bytes("POST", path, key, json.dumps(body).encode(), **(headers or {})))
        yield one
