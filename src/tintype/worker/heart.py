"""The heart: a thread that renews a worker's leases, reports progress and learns of cancellations."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping

import structlog

from tintype.engine import Engine
from tintype.errors import StoreUnavailable
from tintype.store.requests import Requests
from tintype.store.workers import Workers
from tintype.worker.task import Task

log = structlog.get_logger()


class Heart:
    """Beats every `interval` seconds, also while a forward pass or a load takes longer than a lease."""

    def __init__(
        self,
        worker_id: str,
        device: str,
        requests: Requests,
        workers: Workers,
        tasks: Mapping[str, Task],
        engine: Engine,
        interval: float,
        stop: Callable[[], None],
    ) -> None:
        self.worker_id = worker_id
        self.device = device
        self.requests = requests
        self.workers = workers
        self.tasks = tasks
        self.engine = engine
        self.interval = interval
        self.stop = stop
        self._parent = os.getppid()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.workers.leave(self.worker_id)

    def beat(self) -> None:
        """Renew every lease, take in what the store says of each, and say that this worker lives."""
        verdicts = self.requests.renew([task.mark for task in list(self.tasks.values())])
        for request_id, verdict in verdicts.items():
            if task := self.tasks.get(request_id):
                task.verdict = verdict
        self.workers.beat(self.worker_id, self.device, self.engine.forward_passes, self.engine.rows)

    def _run(self) -> None:
        while not self._done.wait(self.interval):
            if os.getppid() != self._parent:
                log.warning("the server is gone; finishing what is running")
                self.stop()
            try:
                self.beat()
            except StoreUnavailable as error:
                # The leases run on; if they run out, the attempt number keeps our late writes away.
                log.warning("store unavailable", error=error.message)
            except Exception:
                # Without a heart the worker would go on to work for nothing: its successor starts with a clean one.
                log.exception("the heart failed; stopping this worker")
                self.stop()
                raise
