"""A hub on loopback: the few endpoints of the Hugging Face hub that a pull uses, with its headers and refusals.

Large files are answered by a redirect to another origin, as the hub's own are; that origin must not see the token.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "hf_allowed"
#: Bytes from which a file is a large one.
LARGE = 2_000
API = re.compile(r"/api/models/([^/]+/[^/]+)/revision/(.+)")
FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
CONTENT = re.compile(r"/cdn/([^/]+/[^/]+)/([^/]+)/(.+)")


@dataclass
class Repository:
    """Files by path; `commits` by revision."""

    files: dict[str, bytes]
    gated: bool = False
    commits: dict[str, str] = field(default_factory=lambda: {"main": "c" * 40})


@dataclass
class ToyHub:
    """What it has, what it was asked, and how it misbehaves."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    #: Path of every request, in order.
    asked: list[str] = field(default_factory=list)
    #: Bytes of bodies sent, by file.
    sent: dict[str, int] = field(default_factory=dict)
    #: Tokens that the other origin was shown.
    leaked: list[str] = field(default_factory=list)
    #: Called before each piece of a large file with its path and the bytes sent so far; False breaks the connection.
    before: Callable[[str, int], bool] = lambda path, sent: True
    #: Files whose next request is answered 503.
    busy: list[str] = field(default_factory=list)
    #: What is sent in place of a file's own bytes.
    forged: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, folder: Path, **others: bytes) -> Repository:
        """A repository with a folder's files."""
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.repositories[name] = Repository(files | others)
        return self.repositories[name]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    hub: ToyHub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        if found := API.fullmatch(path):
            self._list(found[1], found[2])
        elif found := FILE.fullmatch(path):
            self._resolve(found[1], found[2], found[3])
        elif found := CONTENT.fullmatch(path):
            self.hub.leaked += self.headers.get_all("authorization", [])
            self._send(self.hub.repositories[found[1]], found[3])
        else:
            self._refuse(404)

    def _list(self, name: str, revision: str) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")  # not 404: it may be private
            return
        commit = repository.commits.get(revision, revision)
        if not re.fullmatch("[0-9a-f]{40}", commit):
            self._refuse(404, "RevisionNotFound")
            return
        siblings = [_sibling(path, content) for path, content in repository.files.items()]
        self._answer(200, json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode())

    def _resolve(self, name: str, commit: str, path: str) -> None:
        repository = self.hub.repositories[name]
        if repository.gated and self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._refuse(403 if self.headers.get("authorization") else 401, "GatedRepo")
        elif path in self.hub.busy:
            self.hub.busy.remove(path)
            self._refuse(503)
        elif len(repository.files[path]) >= LARGE:
            elsewhere = self.hub.address.replace("127.0.0.1", "localhost")
            self._answer(302, b"", {"location": f"{elsewhere}/cdn/{name}/{commit}/{path}"})
        else:
            self._send(repository, path)

    def _send(self, repository: Repository, path: str) -> None:
        content = self.hub.forged.get(path, repository.files[path])
        begin = int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if begin else 200)
        self.send_header("content-length", str(len(content) - begin))
        self.end_headers()
        piece = max(1, len(content) // 8)
        for start in range(begin, len(content), piece):
            if len(content) >= LARGE and not self.hub.before(path, start):
                self.close_connection = True
                return
            self.wfile.write(content[start : start + piece])
            self.hub.sent[path] = self.hub.sent.get(path, 0) + len(content[start : start + piece])

    def _refuse(self, status: int, code: str = "") -> None:
        self._answer(status, b"{}", {"x-error-code": code} if code else {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class Quiet(ThreadingHTTPServer):
    """Callers that are killed in the middle are part of the tests."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing on stderr."""


def _sibling(path: str, content: bytes) -> dict[str, object]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    said: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": blob}
    if len(content) >= LARGE:
        said["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 135}
    return said


@contextmanager
def toy_hub() -> Iterator[ToyHub]:
    """A hub while the block lasts."""
    hub = ToyHub()
    handler = type("Own", (Handler,), {"hub": hub})
    with Quiet(("127.0.0.1", 0), handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield hub
        server.shutdown()
