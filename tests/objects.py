"""An object storage for tests: moto's server, which speaks S3's API on loopback."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
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
