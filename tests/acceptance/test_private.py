"""What lies on the disk is for the owner's eyes alone, whatever the umask; what was left open is closed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.acceptance.harness import KEY, READY, done, here
from tests.acceptance.test_http_helpers import MEDIUM, TEXT, gradient
from tests.clients import NO_TLS
from tintype.private import make_folder, tighten


@contextmanager
def served(data: Path, log: Path, umask: int) -> Iterator[httpx2.Client]:
    """`tintype serve` without workers under a umask; a client with the first key."""
    command = [sys.executable, "-m", "tintype", "serve", "--port", "0", "--fleet", "none", "--data", str(data)]
    env = {**os.environ, "TINTYPE_BOOTSTRAP_KEY": KEY, "TINTYPE_WEB_DRAIN": "0"}
    with log.open("w") as errors:
        server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True, umask=umask)
    assert server.stdout
    address = next(line for line in server.stdout if line.startswith(READY)).removeprefix(READY).strip()
    try:
        with httpx2.Client(base_url=address, headers={"x-api-key": KEY}, timeout=60, verify=NO_TLS) as http:
            yield http
    finally:
        server.terminate()
        server.communicate(timeout=60)


def modes(data: Path) -> dict[str, int]:
    """What others may do with the folder and with all that is in it."""
    found = {str(path.relative_to(data)): path for path in [data, *data.rglob("*")]}
    return {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items()}


def fill(http: httpx2.Client, data: Path) -> None:
    """Have all kinds of files made: a database with its journals, an input, an upload, and a finished picture."""
    picture = b64encode(gradient(64, 64)).decode()
    assert http.post(f"/v2/{MEDIUM}", json={"prompt": "a fox", "image": picture}).status_code == 200
    assert http.post("/upload-asset", json={"data_urls": [f"data:image/png;base64,{picture}"]}).status_code == 200
    test = http.post("/v2/keys", json={"test": True}).json()["secret"]
    assert http.post(f"/v1/{TEXT}", json={"prompt": "a fox"}, headers={"x-api-key": test}).status_code == 200
    for folder in ("inputs", "assets", "outputs"):
        assert list((data / folder).iterdir()), folder


def test_only_the_owner_can_read_what_a_server_writes(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    with served(data, log, umask=0) as http:
        fill(http, data)
        found = modes(data)
    assert {"tintype.db", "tintype.db-wal", "tintype.db-shm"} <= found.keys()
    assert {name: oct(mode) for name, mode in found.items() if mode not in (0o600, 0o700)} == {}
    done(here("backup", tmp_path / "copy.db", "--data", data))
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert "closed to other users" not in log.read_text()

    # As an earlier version left it.
    for name in found:
        path = data / name
        if path.exists():
            path.chmod(0o755 if path.is_dir() else 0o644)
    with served(data, log, umask=0o022):
        lines = [line for line in log.read_text().splitlines() if "closed to other users" in line]
        assert len(lines) == 1
        closed = {name: modes(data)[name] for name in (".", "inputs", "assets", "outputs", "tintype.db")}
    assert {oct(mode & 0o077) for mode in closed.values()} == {"0o0"}


def test_folders_on_the_way_are_private_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")} == {0o700}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path)] == [0o700, 0o755]


def test_what_is_others_or_shared_by_intent_stays_as_it_is(tmp_path: Path) -> None:
    shared, closed, grouped, theirs = (tmp_path / name for name in ("shared", "closed", "grouped", "theirs"))
    for folder, mode in ((shared, 0o1777), (closed, 0o700), (grouped, 0o2775), (theirs, 0o755)):
        folder.mkdir()
        folder.chmod(mode)
    every = [shared, closed, grouped, tmp_path / "nowhere"]
    if os.geteuid() == 0:
        os.chown(theirs, 12345, -1)
        every.append(theirs)
    assert tighten(every) == [grouped]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (shared, grouped, theirs)] == [0o1777, 0o2700, 0o755]
