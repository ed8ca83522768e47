"""The heart: a thread that renews a worker's leases, reports progress and learns of cancellations."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tintype.engine import Engine
from tintype.errors import StoreUnavailable
from tintype.store.ops.processes import Workers
from tintype.store.queue.queue import Leases
from tintype.worker.looker import Looker
from tintype.worker.task import RunningRequest


class Heart:
    """Beats every `interval` seconds, also while a forward pass or a load takes longer than a lease."""

    def __init__(
        self,
        worker_id: str,
        device: str,
        requests: Leases,
        workers: Workers,
        tasks: Mapping[str, RunningRequest],
        engine: Engine,
        looker: Looker,
        report: Callable[[], Mapping[str, Any]],
        interval: float,
        parent: int | None,
        stop: Callable[[], None],
        drain: Callable[[], None],
    ) -> None:
        self.worker_id = worker_id
        self.device = device
        self.requests = requests
        self.workers = workers
        self.tasks = tasks
        self.engine = engine
        self.looker = looker
        self.report = report
        self.interval = interval
        #: Process without which this worker has no business; None for one that was started by hand.
        self.parent = parent
        self.stop = stop
        self.drain = drain
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.looker.close()
        with suppress(StoreUnavailable):  # then it is silent from now on; it leaves as it was told, all the same
            self._tell()  # what it counted since the last beat; without renewing anything
            self.workers.leave(self.worker_id)

    def beat(self) -> None:
        """Renew every lease, take in what the store says of each, and say that this worker lives and what it does."""
        # These very tasks: by the time of the answer, the worker may have claimed one of the requests anew.
        renewed = list(self.tasks.values())
        verdicts = self.requests.renew([task.mark for task in renewed])
        for task in renewed:
            task.verdict = verdicts[task.request.id]
        self._tell()
        self.looker.beat(renewed)

    def _tell(self) -> None:
        counts = (self.engine.forward_passes, self.engine.rows)
        if self.workers.beat(self.worker_id, self.device, *counts, **self.report()):
            self.drain()

    def _run(self) -> None:
        try:
            while not self._done.wait(self.interval):
                self._turn()
        finally:
            # Without a heart the worker would go on to work for nothing: its successor starts with a clean one.
            if not self._done.is_set():
                self.stop()

    def _turn(self) -> None:
        if self.parent is not None and os.getppid() != self.parent:
            self.stop()
        # While the database is away leases run on; if they run out, the attempt number keeps our late writes away.
        with suppress(StoreUnavailable):
            self.beat()
