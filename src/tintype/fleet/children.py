"""Child processes on this machine, restarted when they die."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

import structlog

from tintype.errors import StoreUnavailable
from tintype.fleet.backoff import Backoff

log = structlog.get_logger()


class Child:
    """One process, started again whenever it ends; `what` names it in log lines."""

    def __init__(self, what: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.what = what
        self.command = list(command)
        # OpenMP threads that spin at barriers starve the web process and each other on a busy machine.
        self.env = {"OMP_WAIT_POLICY": "PASSIVE", **env}
        self.process: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff()

    def keep_alive(self) -> None:
        """Start it, or start it again if it may return, but no sooner after its last start than its pause.

        Raises StoreUnavailable where it can't be known whether it may return: it could not work either.
        """
        if (self.process is not None and self.process.poll() is None) or not self._backoff.over:
            return
        if self.process is not None:
            if not self._may_return():
                return
            log.warning(f"{self.what} ended; starting it again", exit_code=self.process.returncode)
        self._backoff.start()
        self._start([])

    def terminate(self) -> None:
        """Ask it to finish or hand back what it has."""
        if self.process is not None:
            self.process.terminate()

    def end(self, patience: float) -> None:
        """Wait for it to go, at most `patience` seconds; then it is killed, and its leases run out."""
        if self.process is None:
            return
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            log.warning(f"{self.what} did not stop in time; killing it")
            self.process.kill()
            self.process.wait()

    def _may_return(self) -> bool:
        return True

    def _start(self, further: Sequence[str]) -> None:
        # A session of its own: Ctrl+C at a terminal is the server's to hear; it then stops its children in order.
        self.process = subprocess.Popen([*self.command, *further], env=self.env, start_new_session=True)  # noqa: S603


def hurry(children: Sequence[Child]) -> None:
    """Ask them now, or once more: a worker that is asked twice hands back at once what it has."""
    for child in children:
        child.terminate()


class Children:
    """Keeps them alive while the `with` block lasts; at its end they have `grace` seconds, all together."""

    def __init__(self, children: Sequence[Child], grace: float) -> None:
        self._children = children
        self._grace = grace
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fleet", daemon=True)

    def __enter__(self) -> Sequence[Child]:
        self._thread.start()
        return self._children

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        for child in self._children:
            child.terminate()
        deadline = time.monotonic() + self._grace
        for child in self._children:
            child.end(max(0.1, deadline - time.monotonic()))

    def _watch(self) -> None:
        while True:
            for child in self._children:
                try:
                    child.keep_alive()
                except OSError:
                    log.exception(f"{child.what} can't be started")
                except StoreUnavailable:
                    pass  # asked again at once
            if self._done.wait(0.1):
                return
