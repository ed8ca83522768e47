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
        connection = HTTPConnection(self.host, self.port)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status in (200, 409)
        connection.close()

    def stop(self) -> None:
        """Refuse every connection."""
        self._server.stop()

    @property
    def settings(self) -> dict[str, Any]:
        """What a server must be told to use it."""
        return {
            "storage_url": f"s3://{BUCKET}/tintype",
            "storage_endpoint": f"http://{self.host}:{self.port}",
            "storage_key_id": "key",
            "storage_secret": "secret",
        }


@contextmanager
def object_storage(host: str = "127.0.0.1") -> Iterator[ObjectStorage]:
    """A storage at that address that runs while the block lasts."""
    storage = ObjectStorage(host)
    storage.start()
    yield storage
    storage.stop()
