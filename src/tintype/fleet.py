"""How many workers there are and where: one child process per device, restarted when it dies, but not when drained."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from tintype.errors import StoreUnavailable
from tintype.store.database import Database
from tintype.store.workers import Workers, new_id

log = structlog.get_logger()

#: Seconds from one start of a worker to the next: doubled each time it dies young, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: Seconds between looks whether a worker that was drained is recalled.
RECALL = 1.0
#: A worker that lived this many seconds was healthy.
HEALTHY = 60.0
DRIVER = Path("/proc/driver/nvidia/gpus")
COUNT = "import torch; print(torch.cuda.device_count())"


def devices(wanted: str) -> list[str]:
    """The devices to work on: those named, or with `auto` every GPU that torch can use, else the CPU."""
    if wanted != "auto":
        return [name.strip() for name in wanted.split(",") if name.strip()]
    if not DRIVER.exists():
        return ["cpu"]
    # Asked in a child, because this process never imports torch.
    counted = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)  # noqa: S603
    return [f"cuda:{index}" for index in range(int(counted.stdout))] or ["cpu"]


class LocalFleet:
    """Worker processes on this machine, kept alive while the `with` block lasts; `database` is their store's URL.

    The place of a worker that was drained stays empty until an operator recalls it.
    """

    def __init__(self, commands: Sequence[Sequence[str]], env: Mapping[str, str], grace: float, database: str) -> None:
        self._db = Database(database)
        self.slots = [Slot(command, env, Workers(self._db)) for command in commands]
        self.grace = grace
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fleet", daemon=True)

    def __enter__(self) -> LocalFleet:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        for slot in self.slots:
            slot.terminate()
        deadline = time.monotonic() + self.grace
        for slot in self.slots:
            slot.end(max(0.1, deadline - time.monotonic()))
        self._db.close()

    def _watch(self) -> None:
        while True:
            for slot in self.slots:
                try:
                    slot.keep_alive()
                except OSError:
                    log.exception("worker can't be started")
                except StoreUnavailable as error:
                    log.warning("store unavailable", cause=str(error.__cause__))
            if self._done.wait(0.1):
                return


class Slot:
    """One place for a worker process."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], workers: Workers) -> None:
        self.command = list(command)
        # OpenMP threads that spin at barriers starve the web process and each other on a busy machine.
        self.env = {"OMP_WAIT_POLICY": "PASSIVE", **env}
        self.workers = workers
        self.process: subprocess.Popen[bytes] | None = None
        #: What the worker is called in the store.
        self.id = ""
        self.started = 0.0
        #: When it was last asked whether the worker that ended was drained.
        self.asked = 0.0
        self.pause = FIRST_PAUSE

    def keep_alive(self) -> None:
        """Start the worker, or start it again unless it was drained, but no sooner after its last start than its pause.

        Raises StoreUnavailable where it can't be known whether it was drained: it could not work either.
        """
        if self.process is not None:
            if self.process.poll() is None or not self._may_return():
                return
            log.warning("worker ended; starting it again", exit_code=self.process.returncode)
        self._start()

    def _may_return(self) -> bool:
        lived = time.monotonic() - self.started
        if lived < self.pause or time.monotonic() < self.asked + RECALL:
            return False
        self.asked = time.monotonic()
        if self.workers.is_drained(self.id):
            return False
        self.pause = FIRST_PAUSE if lived > HEALTHY else min(2 * self.pause, LONGEST_PAUSE)
        return True

    def _start(self) -> None:
        self.id, self.started = new_id(), time.monotonic()
        # A session of its own: Ctrl+C at a terminal is the server's to hear; it then stops its workers in order.
        self.process = subprocess.Popen(  # noqa: S603 - our own
            [*self.command, "--id", self.id], env=self.env, start_new_session=True
        )

    def terminate(self) -> None:
        """Ask the worker to finish or hand back what it has."""
        if self.process is not None:
            self.process.terminate()

    def end(self, patience: float) -> None:
        """Wait for the worker to go, at most `patience` seconds; then it is killed, and its leases run out."""
        if self.process is None:
            return
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            log.warning("worker did not stop in time; killing it")
            self.process.kill()
            self.process.wait()
        with suppress(StoreUnavailable):  # it only stays in a list for longer
            self.workers.forget(self.id)
