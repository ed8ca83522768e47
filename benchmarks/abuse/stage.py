"""A real `tintype serve` with one CPU worker and the built-in weights, and what its processes take meanwhile."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil  # type: ignore[import-untyped]

from benchmarks.abuse.actors import IMG2IMG, JSON, TXT2IMG
from benchmarks.abuse.wire import Answer, call

READY = "tintype is ready at "
#: As everybody has them, but for: one thread, which leaves the other of two cores to the web process; no choice of a
#: number format at start; this machine's addresses, where the attacker's own receivers listen; sweeps within the run.
SETTINGS: dict[str, object] = {
    "dtype": "float32",
    "threads": 1,
    "fetch_allow": "127.0.0.1",
    "webhook_allow": "127.0.0.1",
    "sweep": 2,
}


#: What it is asked for to see whether it draws.
DRAWN = b'{"prompt":"a fox","width":256,"height":256}'
#: Bytes that a server may have grown by when it is attacked again.
ROOM = 256e6


class Keys(NamedTuple):
    """Of two accounts: everybody else's, and the attacker's."""

    other: str
    attacker: str


class Stage:
    """One server, from its start to its end."""

    def __init__(self, command: Sequence[str], data: Path, settings: Mapping[str, object], files: int | None) -> None:
        named = {f"TINTYPE_{name.upper()}": str(value) for name, value in {**SETTINGS, **settings}.items()}
        # A shell sets the limit, and becomes the server.
        limited = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"] if files else []
        serve = [*limited, *command, "serve", "--port", "0", "--data", str(data)]
        self.data = data
        with (data / "server.log").open("a") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the operator's own command
                serve, env=_clean() | named, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        self.address = self._address()
        self._memory = 0
        self.key = ""

    def warm(self, key: str) -> Self:
        """Have both models loaded, so that what is measured later is no start; raises RuntimeError where that fails."""
        self.key = key
        asyncio.run(self._warm())
        self._memory = self.memory()
        return self

    async def _warm(self) -> None:
        while (await call(self.address, "GET", "/ready")).status != 200:
            await asyncio.sleep(0.1)
        redrawn = b'{"image":"/sd3-img2img-ip.jpg","prompt":"a fox","num_inference_steps":1}'
        for slug, body in ((IMG2IMG, redrawn), (TXT2IMG, DRAWN), (TXT2IMG, DRAWN)):
            answer = await self._draw(slug, body)
            if answer.status != 200:
                raise RuntimeError(f"{slug} was answered {answer.status}: {answer.body[:200]!r}")

    async def _draw(self, slug: str, body: bytes, limit: float = 60) -> Answer:
        own = JSON | {"x-api-key": self.key}
        return await call(self.address, "POST", f"/v1/{slug}", own, body, limit)

    def tree(self) -> list[psutil.Process]:
        """The web process, its workers and theirs."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def memory(self) -> int:
        """Bytes that all its processes have in main memory."""
        return sum(_resident(process) for process in self.tree())

    def disk(self) -> int:
        """Bytes of the files in the data folder, each counted once however many names it has."""
        return sum(dict(_files(self.data)).values())

    def is_as_before(self, seconds: float = 5.0) -> bool:
        """Whether it draws, and comes to rest in that time, about as large as when it was warm: no attack goes on."""
        until = time.monotonic() + seconds
        if asyncio.run(self._draw(TXT2IMG, DRAWN, seconds)).status != 200:
            return False
        while time.monotonic() < until:
            before = self._spent()
            time.sleep(0.5)
            if self._spent() - before < 0.2 and self.memory() < self._memory + ROOM:
                return True
        return False

    def stop(self) -> None:
        """End all its processes, whatever they are doing."""
        for process in reversed(self.tree()):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate()

    def _address(self) -> str:
        if self.process.stdout is None:
            raise RuntimeError("the server has no output")
        for line in self.process.stdout:
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        raise RuntimeError(f"the server did not start: {(self.data / 'server.log').read_text()[-2000:]}")

    def _spent(self) -> float:
        seconds = 0.0
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system
        return seconds


class Stages:
    """The server that the next attack is made on: the one before, as long as it is as it was; else a new one."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.command = command
        self.folder = folder
        self.keys = self._accounts()
        self._stage: Stage | None = None
        self._of: tuple[Any, ...] = ()
        self._count = 0

    def get(self, settings: Mapping[str, object], files: int | None) -> Stage:
        """A server with these settings and nothing going on."""
        wanted = (sorted(settings.items()), files)
        if self._stage is None or wanted != self._of or not self._stage.is_as_before():
            self.close()
            self._count += 1
            data = self.folder / f"data-{self._count}"
            shutil.copytree(self.folder / "accounts", data)
            self._stage, self._of = Stage(self.command, data, settings, files), wanted
            self._stage.warm(self.keys.other)
        return self._stage

    def close(self) -> None:
        """End the server that runs, and remove what it kept."""
        if self._stage is not None:
            self._stage.stop()
            shutil.rmtree(self._stage.data, ignore_errors=True)
        self._stage = None

    def _accounts(self) -> Keys:
        """Two accounts with credits, in a folder that every server's begins as a copy of."""
        keys = []
        for name in ("everybody else", "attacker"):
            account = self._run("accounts", "create", "--name", name, "--credits", "1000")
            # Limits of its own, so that a setting that is there for the attacker does not stop the probes.
            room = ("--rpm", "1000000", "--concurrency", "1000") if name == "everybody else" else ()
            keys.append(self._run("keys", "create", "--account", account, *room))
        return Keys(*keys)

    def _run(self, *arguments: str) -> str:
        data = self.folder / "accounts"
        data.mkdir(exist_ok=True)
        command = [*self.command, *arguments, "--data", str(data)]
        done = subprocess.run(command, env=_clean(), capture_output=True, text=True, check=False)  # noqa: S603 - as above
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
        return done.stdout.strip().splitlines()[-1]


class Peaks(NamedTuple):
    """Bytes: before, at most, and once all was over."""

    memory_before: int
    memory: int
    disk_before: int
    disk: int
    disk_left: int = 0


class Meter:
    """Looks at a server's memory and files some five times a second, from the moment that it is made."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._memory, self._disk = [stage.memory()], [stage.disk()]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> Peaks:
        """What was seen."""
        self._over.set()
        self._thread.join()
        memory, disk = self._memory, self._disk
        return Peaks(memory[0], max(memory), disk[0], max(disk), self._stage.disk())

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self._memory.append(self._stage.memory())
            self._disk.append(self._stage.disk())


def _clean() -> dict[str, str]:
    """This environment without settings of another tintype."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}


def _resident(process: psutil.Process) -> int:
    """Its bytes in main memory, and its part of what it shares, as every process does that has just begun."""
    try:
        if psutil.LINUX:
            return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def _files(folder: Path) -> Iterator[tuple[tuple[int, int], int]]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            seen = path.lstat()
            yield (seen.st_dev, seen.st_ino), seen.st_size
