"""A real server in processes of its own, started, stopped and killed by the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import psutil
from click.testing import CliRunner, Result
from segmind import SegmindClient
from sqlalchemy import func, select

from tests.clients import NO_TLS
from tests.stores import store_on
from tintype.cli import tintype as root
from tintype.errors import TintypeError
from tintype.store.db.database import Database
from tintype.store.db.tables import accounts, requests
from tintype.store.ops.processes import WorkerRow, Workers

READY = "tintype is ready at "
KEY = "SG_0123456789abcdef0123456789abcdef"
#: Seconds: a lease so long that a busy machine makes no second attempt of what the first still draws. For servers whose
#: workers no test kills.
LONG_LEASE = 120


class Server:
    """`tintype serve` on a free port with one CPU worker in float32."""

    def __init__(self, data: Path, **settings: object) -> None:
        self.data = data
        self.log = data / "server.log"
        quick = {"dtype": "float32", "web_drain": 0, "lease": 3, "heartbeat": 0.25, "threads": 1, "bootstrap_key": KEY}
        self.settings = {**quick, **settings}
        self._closing = ExitStack()
        self.process: subprocess.Popen[str] | None = None
        #: What it wrote to stdout until it was ready.
        self.printed: list[str] = []
        self.address = ""

    def start(self, *, wait_for_worker: bool = True, files: int = 0) -> Server:
        """Start it, on the same data as before if it ran before; returns when it can be used.

        files: how many it may have open if it raises its own limit, where it isn't as many as this process may.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, **{f"TINTYPE_{name.upper()}": str(value) for name, value in self.settings.items()}}
        port = str(self.settings.get("port", 0))
        command = [sys.executable, "-m", "tintype", "serve", "--port", port, "--data", str(self.data)]
        if files:
            command = ["prlimit", f"--nofile={files // 2}:{files}", *command]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout
        self.printed = []
        while not self.printed or not self.printed[-1].startswith(READY):
            self.printed.append(self.process.stdout.readline())
            assert self.printed[-1], self.log.read_text()
        self.address = self.printed[-1].removeprefix(READY).strip()
        caller, wanted = self.http(None), "/ready" if wait_for_worker else "/health"
        until(lambda: caller.get(wanted).is_success)
        return self

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.terminate()
        return self._end()

    def kill(self) -> None:
        """SIGKILL to the server and its workers, together."""
        for process in [*self.workers(), psutil.Process(self.process.pid)]:
            process.kill()
        self._end()

    def kill_web(self) -> None:
        """SIGKILL to the server alone: its workers finish what they have, and end by themselves."""
        assert self.process
        assert self.process.stdout
        self.process.kill()
        self._closing.close()
        self.process.stdout.close()  # its workers have it open too: it has no end to wait for
        self.process.wait()

    def kill_worker(self) -> None:
        """SIGKILL to the worker alone."""
        for process in self.workers():
            process.send_signal(signal.SIGKILL)

    def workers(self) -> list[psutil.Process]:
        """The worker processes; a server that has verified images has another child, which reads them."""
        assert self.process
        return [child for child in psutil.Process(self.process.pid).children() if _is_worker(child)]

    def client(self, key: str = KEY) -> SegmindClient:
        """The vendor's own client; a new key and base URL are all that changes."""
        client = SegmindClient(api_key=key, base_url=f"{self.address}/v1", timeout=120)
        self._closing.callback(client._client.close)  # the package itself has no way to close it
        return client

    def http(self, key: str | None = KEY) -> httpx2.Client:
        """A plain HTTP client."""
        headers = {"x-api-key": key} if key else {}
        return self._closing.enter_context(
            httpx2.Client(base_url=self.address, headers=headers, timeout=120, verify=NO_TLS)
        )

    def seen_worker(self) -> WorkerRow:
        """What the worker last said of itself."""
        with self.store() as db:
            return Workers(db).alive(60)[-1]

    def money(self) -> tuple[int, int]:
        """Balance and held of the first account, in micro-dollars."""
        with self.store() as db, db.read() as view:
            oldest = select(accounts.c.balance, accounts.c.held).order_by(accounts.c.created_at).limit(1)
            row = view.execute(oldest).one()
        return row.balance, row.held

    def cancel_all(self) -> None:
        """Cancel what is queued or running; returns when nobody's money is held."""
        unended = select(requests.c.id, requests.c.account_id).where(requests.c.status.in_(("QUEUED", "PROCESSING")))
        with self.store() as db:
            with db.read() as view:
                found = view.execute(unended).all()
            for id, account_id in found:
                store_on(db).queue.cancel(id, account_id)
            until(lambda: not _held(db))

    @property
    def url(self) -> str:
        """Where the server's own database is."""
        return str(self.settings.get("database_url") or f"sqlite:///{self.data / 'tintype.db'}")

    def store(self) -> _Opened:
        """The server's own database."""
        return _Opened(self.url)

    def cli(self, *arguments: str) -> str:
        """Run a `tintype` command on the same data, alongside the server; its output."""
        result = here(*arguments, "--data", self.data)
        assert result.exit_code == 0, result.output
        return result.stdout

    def _end(self) -> int:
        assert self.process
        self._closing.close()
        self.process.communicate(timeout=150)
        return self.process.returncode


def _is_worker(child: psutil.Process) -> bool:
    try:
        return "worker" in child.cmdline()
    except psutil.NoSuchProcess:  # it has ended
        return False


def _held(db: Database) -> int:
    with db.read() as view:
        return int(view.scalar(select(func.sum(accounts.c.held))) or 0)


class _Opened:
    def __init__(self, url: str) -> None:
        self.db = Database(url)

    def __enter__(self) -> Database:
        return self.db

    def __exit__(self, *_: object) -> None:
        self.db.close()


def here(*arguments: object, **env: str) -> Result:
    """A `tintype` command in this process, which spares the seconds that a new one needs to import torch."""
    return CliRunner(env=env).invoke(root, list(map(str, arguments)))


def done(result: Result) -> str:
    """What a command that went well printed last."""
    assert result.exit_code == 0, result.output
    return result.stdout.strip().splitlines()[-1]


def words(failed: Result) -> str:
    """What a failed command says: click's own last line, or our error's message; never a traceback."""
    assert failed.exit_code in (1, 2)
    if isinstance(failed.exception, TintypeError):
        assert "\n" not in failed.exception.message
        return failed.exception.message
    assert isinstance(failed.exception, SystemExit), failed.exception
    return failed.stderr.splitlines()[-1].removeprefix("Error: ")


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Wait until something is so; fails after `seconds`."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, "it did not come about in time"
        # A look may be a request to a busy server: the longer it takes, the fewer, and none is late by more than 5 %.
        time.sleep(max(0.02, min(waited / 20, 0.25)))
