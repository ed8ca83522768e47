"""A receiver of webhooks: a real HTTP server on loopback that keeps what it was sent and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


@dataclass(frozen=True)
class Message:
    """One POST as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The message's id, the same at every attempt."""
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """The content, once the specification's own package has found the signature good."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """`answer` gives the HTTP status and headers for each message; it may take as long as it likes.

    `raw` is sent in its place, to the byte, where it is set: what no server's library would let itself say.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.answer: Callable[[Message], tuple[int, dict[str, str]]] = lambda _: (204, {})
        self.raw: bytes | None = None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                message = Message(self.path, headers, body)
                receiver.messages.append(message)
                if receiver.raw is not None:
                    self.wfile.write(receiver.raw)
                    self.close_connection = True
                    return
                status, extra = receiver.answer(message)
                self.send_response(status)
                for name, value in {"content-length": "0", **extra}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a sender that was killed hangs up
        self.host = f"127.0.0.1:{self._server.server_port}"

    def url(self, path: str = "/hook") -> str:
        """An address at which it listens."""
        return f"http://{self.host}{path}"

    def run(self) -> None:
        """Serve until closed."""
        self._server.serve_forever(poll_interval=0.02)

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens while the block lasts."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.run, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.close()
        thread.join()
