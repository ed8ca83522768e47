"""The HTTP server of `tintype serve`: its socket, its limits, its memory."""

from __future__ import annotations

import ctypes
import errno
import re
import socket
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import uvicorn

from tintype.cli.startup import raise_file_limit
from tintype.hub.registry import Registry
from tintype.settings import Settings
from tintype.web.shutdown import LAST_ANSWERS, Shutdown, WebServer

#: `mallopt`'s name for the size in bytes from which a block is returned to the system as soon as it is freed.
M_MMAP_THRESHOLD = -3
#: What to do where a port can't be used.
LISTENING = {
    errno.EADDRINUSE: "; another program, or another tintype, has it: --port (TINTYPE_PORT) names another one",
    errno.EADDRNOTAVAIL: "; --host (TINTYPE_HOST) is one of this machine's own addresses, or 0.0.0.0 for all of them",
    errno.EACCES: "; below 1024 only root may listen: --port (TINTYPE_PORT) names another one",
}


@dataclass(frozen=True)
class ServerSocket:
    """A bound socket, by which a server is known."""

    socket: socket.socket
    #: Of this machine and port: the server's id in the database.
    name: str
    #: The server's URL.
    url: str

    @property
    def local_url(self) -> str:
        """The same for a browser on this machine: an address that stands for all of them can't be opened everywhere."""
        return re.sub(r"//(0\.0\.0\.0|)(?=:\d)", "//127.0.0.1", self.url).replace("//[::]:", "//[::1]:")


def listen(host: str, port: int, serving: Collection[str] = ()) -> ServerSocket:
    """Bind a socket before anything starts, so that the port is known; exits with one line when it is taken.

    serving: ids of the servers that already serve from this data.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = f"{error.strerror}".partition(" (while")[0]  # socket appends the address, which is in the line already
        hint = LISTENING.get(error.errno or 0, "")
        if error.errno == errno.EADDRINUSE and _server_id(port) in serving:
            hint = "; a server of this data folder has it: it runs already"
        sys.exit(f"tintype: can't listen on {host}:{port}: {why}{hint}")
    # Connections inherit it. asyncio sets it only where a socket says that it is TCP's, which this one doesn't; without
    # it, the second answer on a connection waits 40 ms for the client's acknowledgement of the first packet.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listening.getsockname()[1]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return ServerSocket(listening, _server_id(port), url)


def _server_id(port: int) -> str:
    return f"{socket.gethostname()}:{port}"


def web_server(settings: Settings, registry: Registry, name: str = "") -> WebServer:
    """The HTTP server, with limits for its clients; not started. name: its id in the database."""
    # FastAPI takes half a second; other commands don't need it.
    from tintype.web.app import create_app  # noqa: PLC0415
    from tintype.web.clients import is_proxy  # noqa: PLC0415
    from tintype.web.connections import Bounds, Connection, Connections  # noqa: PLC0415

    shutdown = Shutdown()
    app = create_app(settings, registry, shutdown, name)
    files = raise_file_limit()
    bounds, counts = Bounds.of(settings.web, files), app.state.runtime.metrics.calls
    connections = Connections(bounds, lambda address: is_proxy(address, settings), counts, shutdown)
    config = uvicorn.Config(
        app,
        # h11, whatever else is installed: uvicorn prefers httptools, which loses the bodies of calls that offer an
        # upgrade, as Java's do.
        http=cast(Any, partial(Connection, connections)),
        ws="none",  # then offers to upgrade are ignored
        # How many are accepted in one go, before any other is closed for them, or read.
        backlog=max(16, min(64, files // 8)),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # Longer than proxies and clients keep a connection: the side that closes first can't have been sent a call.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=LAST_ANSWERS,
    )
    return WebServer(config, shutdown, drain=settings.web.drain, grace=settings.web.grace)


def return_memory() -> None:
    """Have glibc return freed bodies and images to the system immediately.

    By default it raises its threshold to the largest block that was freed, up to 32 MB, and caches smaller ones.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, 2**20)
