"""The versions that are measured side by side, each in processes of its own: this tree, and an earlier commit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx2
import psutil  # type: ignore[import-untyped]
from tests.acceptance.harness import KEY, READY
from tests.databases import PostgresServer, postgres_server, server_program

#: The code before issue 18, which made the control plane cheaper.
BASELINE = "37079e7"
HERE = Path(__file__).parents[1]
#: Where spans are traced they are written when the process stops: an exporter that wakes up is not to be measured.
QUIET = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
#: Seconds for a server to start, and to stop.
TIMEOUT = 90


class Version(NamedTuple):
    """A checkout of tintype, run by this interpreter with this interpreter's packages."""

    name: str
    folder: Path

    def environment(self, **settings: object) -> dict[str, str]:
        """For its processes: its own code before any installed one, and no settings but these."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
        named = {f"TINTYPE_{name.upper()}": str(value) for name, value in settings.items()}
        return own | named | QUIET | {"PYTHONPATH": str(self.folder / "src")}


NOW = Version("now", HERE)


@contextmanager
def baseline(commit: str = BASELINE) -> Iterator[Version]:
    """The earlier commit, in a worktree that is removed at the end; raises CalledProcessError where git lacks it."""
    with tempfile.TemporaryDirectory(prefix="tintype-before-") as name:
        folder = Path(name) / commit
        _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        try:
            yield Version("before", folder)
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(HERE), *arguments], check=True)  # noqa: S603, S607 - the developer's own


@contextmanager
def postgres(folder: Path) -> Iterator[PostgresServer | None]:
    """A PostgreSQL server with every safety that an operator's has; None where its programs are not installed."""
    if server_program("initdb") is None:
        yield None
        return
    folder.chmod(0o755)  # it runs as another user
    with postgres_server(folder / "postgres", "fsync=on", "full_page_writes=on") as server:
        yield server


def spent(process: int) -> float:
    """Processor seconds of a process, all its threads, by the clock that Linux has for each: clock_getcpuclockid(3)."""
    return time.clock_gettime((~process << 3) | 2)


class Served:
    """`tintype serve` of one version on a free port, with its workers, within a `with` block.

    url: of its database; empty is SQLite in its folder. settings: by their names in the environment.
    """

    def __init__(self, version: Version, folder: Path, url: str = "", **settings: object) -> None:
        folder.mkdir(parents=True)
        self.version, self.folder = version, folder
        self.url = url or f"sqlite:///{folder / 'tintype.db'}"
        quick = {"dtype": "float32", "web_drain": 0, "threads": 1, "bootstrap_key": KEY, "weights": "{}"}
        self._environment = version.environment(**{**quick, "database_url": self.url, **settings})
        self.output = folder / "stdout"
        self.address = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tintype", "serve", "--port", "0", "--data", str(self.folder)]
        with self.output.open("w") as output, self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=self._environment, stdout=output, stderr=log)  # noqa: S603
        until = time.monotonic() + TIMEOUT
        while not self.address:
            lines = self.output.read_text().splitlines()
            self.address = next((one.removeprefix(READY).strip() for one in lines if one.startswith(READY)), "")
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.version.name} did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        """By a kill: calls that wait would have their grace."""
        for process in [*self.workers, self.process.pid] if self.process.poll() is None else []:
            os.kill(process, signal.SIGKILL)
        self.process.wait(TIMEOUT)

    def stop(self) -> None:
        """In order, so that the last traces are written."""
        self.process.terminate()
        self.process.wait(TIMEOUT)

    @property
    def log(self) -> Path:
        return self.folder / "stderr"

    @property
    def workers(self) -> list[int]:
        """Their process ids."""
        return [one.pid for one in psutil.Process(self.process.pid).children()]

    def wait_for(self, path: str, key: str = KEY, said: str = "") -> Self:
        """Until `/ready`, say, is answered with 200, and with these words."""
        until, headers = time.monotonic() + TIMEOUT, {"x-api-key": key}
        while not (answer := httpx2.get(self.address + path, headers=headers)).is_success or said not in answer.text:
            if time.monotonic() > until:
                raise RuntimeError(f"{path} of {self.version.name}: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)
        return self

    def post(self, path: str, body: Any, key: str = KEY) -> Any:
        """The JSON that a call is answered with."""
        return httpx2.post(self.address + path, json=body, headers={"x-api-key": key}).raise_for_status().json()


class Inside:
    """A process that runs a module of ours on one version, and does what it is asked, within a `with` block."""

    def __init__(self, version: Version, module: str, *arguments: object) -> None:
        self._command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
        self._version = version

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        env = self._version.environment()
        self._process = subprocess.Popen(self._command, env=env, cwd=HERE, text=True, bufsize=1, **pipes)  # type: ignore[call-overload]  # noqa: S603
        self._answer()  # it is ready
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def ask(self, **what: object) -> Any:
        """What it answers."""
        if self._process.stdin is None:
            raise RuntimeError("it has no input")
        self._process.stdin.write(json.dumps(what) + "\n")
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.wait(TIMEOUT)
            self._log.seek(0)
            raise RuntimeError(f"{' '.join(self._command)} of {self._version.name}: {self._log.read()[-2000:]}")
        return json.loads(line)
