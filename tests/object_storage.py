"""An object storage for tests: moto's server, which speaks S3's API on loopback."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.server import ThreadedMotoServer

BUCKET = "pictures"


class ObjectStorage:
    """A server with one bucket, that can go away and come back."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
        self.host = host
        with socket.create_server((host, 0)) as free:
            self.port = free.getsockname()[1]

    def start(self) -> None:
        """Start it, with its bucket; what was in it lives on with this process."""
        self._server = ThreadedMotoServer(self.host, self.port, verbose=False)
        self._server.start()
        self.know_no_key(whosever=False)  # moto's state is the process's: another test's end may not have come to it
        self.make_bucket()

    def lose_bucket(self) -> None:
        """Forget the bucket, and all that was in it."""
        self._ask("POST", "/moto-api/reset")

    def make_bucket(self) -> None:
        """Have the bucket there, if it isn't."""
        assert self._ask("PUT", f"/{BUCKET}") in (200, 409)

    def know_no_key(self, *, whosever: bool = True) -> None:
        """Refuse every key, as none is known here; `whosever=False`: take every key again."""
        self._ask("POST", "/moto-api/reset-auth", b"0" if whosever else b"1000000000")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> int:
        connection = HTTPConnection(self.host, self.port)
        connection.request(method, path, body)
        status = connection.getresponse().status
        connection.close()
        return status

    def stop(self) -> None:
        """Refuse every connection."""
        self._server.stop()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a server must be told to use it."""
        place = {"storage_url": f"s3://{BUCKET}/tintype", "storage_endpoint": self.address}
        return {**place, "storage_key_id": "key", "storage_secret": "secret"}


@contextmanager
def object_storage(host: str = "127.0.0.1") -> Iterator[ObjectStorage]:
    """A storage at that address that runs while the block lasts."""
    storage = ObjectStorage(host)
    storage.start()
    yield storage
    storage.stop()


#: A method, a path and a body, answered with a status, headers and a body; None where all is well.
Fault = Callable[[str, str, bytes], tuple[int, dict[str, str], bytes] | None]


class OddStorage:
    """As much of a storage as `media/objects.py` asks for, on loopback; `fault` has it answer something else."""

    def __init__(self) -> None:
        self.fault: Fault = lambda *_: None
        self._objects: dict[str, bytes] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                """Whatever the method is."""
                self.raw_requestline = self.rfile.readline()
                self.close_connection = True
                if self.raw_requestline and self.parse_request():
                    body = self.rfile.read(int(self.headers.get("content-length") or 0))
                    asked = self.command, self.path.partition("?")[0], body
                    status, headers, content = outer.fault(*asked) or outer._answer(*asked)
                    self.send_response(status)
                    for name, value in {"content-length": str(len(content)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(b"" if self.command == "HEAD" else content)

            def log_message(self, *_: object) -> None:
                """None."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        found = {"etag": '"1"', "last-modified": formatdate(usegmt=True)}
        if method == "PUT":
            self._objects[path] = body
            return 200, found, b""
        if method == "POST":
            deleted = b"".join(b"<Deleted>%b</Deleted>" % key for key in re.findall(rb"<Key>.*?</Key>", body))
            return 200, {}, b"<DeleteResult>%b</DeleteResult>" % deleted
        if path == f"/{BUCKET}":
            return 200, {}, b"<ListBucketResult></ListBucketResult>"
        return (200, found, self._objects[path]) if path in self._objects else refusal(404, "NoSuchKey")

    @property
    def settings(self) -> dict[str, Any]:
        """What a server must be told to use it."""
        place = {"storage_url": f"s3://{BUCKET}", "storage_endpoint": f"http://127.0.0.1:{self.server.server_port}"}
        return {**place, "storage_key_id": "key", "storage_secret": "secret", "storage_patience": 0.2}


def refusal(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    """As S3 says it."""
    return status, {}, f"<Error><Code>{code}</Code></Error>".encode()


@contextmanager
def odd_storage() -> Iterator[OddStorage]:
    """One that runs while the block lasts."""
    storage = OddStorage()
    thread = threading.Thread(target=storage.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield storage
    storage.server.shutdown()
    storage.server.server_close()
