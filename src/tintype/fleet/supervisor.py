"""Child processes of this machine, restarted when they end: workers, or the autoscaler of a Ray fleet."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import structlog

from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database
from tintype.store.ops.processes import Workers, new_id

log = structlog.get_logger()

#: Seconds from one start to the next: doubled whenever the process ran for at most HEALTHY seconds.
MIN_DELAY, MAX_DELAY = 0.5, 30.0
#: A process that ran for longer, in seconds, resets the delay.
HEALTHY = 60.0
#: Seconds between two polls while a child is to be started again: one that ends is noticed immediately.
POLL = 0.25
#: Seconds between two queries whether a drained worker was recalled.
RECALL_POLL = 1.0


class RestartBackoff:
    """The exponential delay between the starts of one process."""

    def __init__(self) -> None:
        self._started_at: float | None = None
        self._delay = MIN_DELAY

    @property
    def elapsed(self) -> bool:
        """Whether it may be started now."""
        return self._started_at is None or time.monotonic() >= self._started_at + self._delay

    def start(self) -> None:
        """Record a start."""
        before, self._started_at = self._started_at, time.monotonic()
        if before is not None:
            ran = self._started_at - before
            self._delay = MIN_DELAY if ran > HEALTHY else min(2 * self._delay, MAX_DELAY)


class ChildProcess:
    """One process, restarted whenever it ends. name: in log lines."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        self.command = list(command)
        # OpenMP threads that spin at barriers starve the web process and each other on a busy machine.
        self.env = {"OMP_WAIT_POLICY": "PASSIVE", **env}
        self.process: subprocess.Popen[bytes] | None = None
        #: Called in a thread of its own whenever the process has ended.
        self.on_end: Callable[[], None] = lambda: None
        self._backoff = RestartBackoff()

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def keep_alive(self) -> None:
        """Start it, or restart it if it ended, may restart and its delay has elapsed.

        Raises StoreUnavailable where the store can't say whether it may restart: it couldn't work either.
        """
        if self.runs or not self._backoff.elapsed:
            return
        if self.process is not None:
            if not self._may_restart():
                return
            log.warning(f"{self.name} ended; starting it again", exit_code=self.process.returncode)
        self._backoff.start()
        self._start([])

    def terminate(self) -> None:
        """Send it SIGTERM: it finishes or hands back its requests."""
        if self.process is not None:
            self.process.terminate()

    def wait(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for its end; then kill it, and its leases expire."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            log.warning(f"{self.name} did not stop in time; killing it")
            self.process.kill()
            self.process.wait()

    def _may_restart(self) -> bool:
        return True

    def _start(self, arguments: Sequence[str]) -> None:
        # A session of its own: only the server receives a terminal's Ctrl+C, and then stops its children in order.
        process = subprocess.Popen([*self.command, *arguments], env=self.env, start_new_session=True)  # noqa: S603
        self.process = process
        threading.Thread(target=self._await_end, args=[process], name="child", daemon=True).start()

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.on_end()


class WorkerProcess(ChildProcess):
    """A worker under a new id at each start; once drained, it isn't restarted until an operator recalls it.

    prefix: of its ids in the store.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], workers: Workers, prefix: str = "") -> None:
        super().__init__("worker", command, env)
        #: In the store.
        self.id = ""
        self._workers = workers
        self._prefix = prefix
        #: When the store was last asked whether the worker that ended was drained.
        self.asked_at = 0.0

    def wait(self, timeout: float) -> None:
        """Wait for its end as for any child's, and delete its row, drained or not."""
        super().wait(timeout)
        with suppress(StoreUnavailable):  # the row only stays in lists for longer
            self._workers.remove(self.id)

    def _may_restart(self) -> bool:
        if time.monotonic() < self.asked_at + RECALL_POLL:
            return False
        self.asked_at = time.monotonic()
        return not self._workers.is_drained(self.id)

    def _start(self, arguments: Sequence[str]) -> None:
        self.id = self._prefix + new_id()
        super()._start([*arguments, "--id", self.id])


class Supervisor:
    """Keeps processes alive within its `with` block; at its end they have `grace` seconds, all together, to stop."""

    def __init__(self, children: Sequence[ChildProcess], grace: float) -> None:
        self._children = children
        self._grace = grace
        self._done = False
        #: Set when a child has ended, or this is to stop.
        self._changed = threading.Event()
        for child in children:
            child.on_end = self._changed.set
        self._thread = threading.Thread(target=self._watch, name="fleet", daemon=True)

    def __enter__(self) -> Sequence[ChildProcess]:
        self._thread.start()
        return self._children

    def __exit__(self, *_: object) -> None:
        self._done = True
        self._changed.set()
        self._thread.join()
        terminate(self._children)
        deadline = time.monotonic() + self._grace
        for child in self._children:
            child.wait(max(0.1, deadline - time.monotonic()))

    def _watch(self) -> None:
        while not self._done:
            for child in self._children:
                try:
                    child.keep_alive()
                except OSError:
                    log.exception(f"{child.name} can't be started")
                except StoreUnavailable:
                    pass  # retried at the next poll
            self._changed.wait(None if all(child.runs for child in self._children) else POLL)
            self._changed.clear()


def terminate(children: Sequence[ChildProcess]) -> None:
    """Send SIGTERM to all of them; a worker that receives a second one hands back its requests immediately."""
    for child in children:
        child.terminate()


@contextmanager
def run_workers(
    commands: Sequence[Sequence[str]], env: Mapping[str, str], grace: float, database: str, prefix: str = ""
) -> Iterator[list[WorkerProcess]]:
    """One worker per command, kept alive within the block. database: their store's URL."""
    db = Database(database, process="fleet")
    workers = [WorkerProcess(command, env, Workers(db), prefix) for command in commands]
    with Supervisor(workers, grace):
        yield workers
    db.close()
