"""The heartbeat: a thread that renews a worker's leases, reports what it does, and learns of cancellations."""

from __future__ import annotations

import os
import resource
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tintype.core import RunningImages, WorkerReport
from tintype.diffusion.devices import device_type
from tintype.errors import StoreUnavailable
from tintype.telemetry.logs import ProcessLog
from tintype.telemetry.metrics import PROMPT_CACHE, TRANSACTION_SECONDS, TRANSACTIONS
from tintype.worker.loop import Worker
from tintype.worker.models import ModelPool
from tintype.worker.previews import PreviewRenderer

#: Max seconds between two heartbeats of a worker that has nothing in hand; servers count one as gone after 5.
IDLE = 2.0
STATM = Path("/proc/self/statm")


class Heartbeat:
    """Sent on a thread of its own: a forward pass or a load may take longer than a lease. Never waits for the worker.

    While nothing is in hand there is no lease to renew: it is sent every IDLE seconds, and soon after any news.

    process_log: notes why the process ends, where a heartbeat is the reason.
    """

    def __init__(self, worker: Worker, previews: PreviewRenderer, process_log: ProcessLog) -> None:
        self._worker = worker
        self._workers = worker.store.ops.workers
        self._previews = previews
        self._process_log = process_log
        self._reporter = Reporter(worker)
        #: Whether the last one was written, and the worker had nothing in hand.
        self._idle = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> Heartbeat:
        self.send()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._worker.news.set()
        self._thread.join()
        self._previews.close()
        with suppress(StoreUnavailable):  # then others see by its silence that it has left
            self._report()  # what it counted since the last heartbeat; without renewing anything
            self._workers.leave(self._worker.config.id)

    def send(self) -> None:
        """Renew every lease, hand over what the store says of each, and report; raises StoreUnavailable."""
        # These very objects: by the time of the answer, the worker may have claimed one of the requests again.
        worker = self._worker
        running = list(worker.running.values())
        leases = worker.store.leases.renew([one.progress for one in running])
        for one in running:
            one.renewed(leases[one.request.id])
        self._report()
        self._previews.render(running)
        self._idle = not running

    def _report(self) -> None:
        worker = self._worker
        about = (worker.config.id, str(worker.models.device), worker.engine.forward_passes, worker.engine.rows)
        if self._workers.heartbeat(*about, **self._reporter.report()):
            self._process_log.stopping("drained")
            worker.drain()

    def _run(self) -> None:
        try:
            while not self._rested():
                if self._orphaned():
                    self._stop("its parent is gone")
                self._idle = False
                # While the database is away, leases run on; if they expire, the attempt number fences late writes.
                with suppress(StoreUnavailable):
                    self.send()
        finally:
            # Without heartbeats its leases expire and its work is discarded: its successor starts with a fresh thread.
            if not self._done.is_set():
                self._stop("its parent is gone" if self._orphaned() else "its heartbeat failed")

    def _rested(self) -> bool:
        """Wait until the next heartbeat is due; whether there is to be none."""
        news, interval = self._worker.news, self._worker.config.heartbeat
        if self._idle and not news.wait(max(IDLE, interval)):
            return False
        # What is news gets the usual time, too: most requests of a fast model are over by then.
        news.clear()
        return self._done.wait(interval)

    def _orphaned(self) -> bool:
        return self._worker.config.parent not in (None, os.getppid())

    def _stop(self, why: str) -> None:
        self._process_log.stopping(why)
        self._worker.stop()


class Reporter:
    """Reads on the heartbeat's thread what the worker's thread counts: no device is waited for, no step delayed."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        #: Sums of transactions, as of the last report with new passes: else idle workers' heartbeats would count.
        self._transactions: dict[str, float] = {}
        #: Forward passes, rows and seconds at the last report with a new pass; and the rates since the one before.
        self._before = (0, 0, 0.0)
        self._rates: tuple[float | None, float | None] = (None, None)

    def report(self) -> dict[str, Any]:
        """All of it, as `Workers.heartbeat` takes it."""
        engine, models = self._worker.engine, self._worker.models
        self._measure()
        rows, step_seconds = self._rates
        running = [(one, one.progress) for one in list(self._worker.running.values())]
        report = WorkerReport(
            running=tuple(
                RunningImages(one.request.id, one.request.slug, one.params.count, at.step, at.steps)
                for one, at in running
            ),
            models=models.slugs,
            memory=_memory(models),
            rows=rows,
            step_seconds=step_seconds,
            storage=self._worker.outputs.breaker.open or None,
        )
        prompts = {PROMPT_CACHE.key("hit"): models.prompts.hits, PROMPT_CACHE.key("miss"): models.prompts.misses}
        return {
            "step_seconds": engine.seconds,
            "cold_starts": models.cold_starts,
            "cold_seconds": models.cold_seconds,
            "max_rows": engine.max_rows,
            "counts": self._worker.timings.counts()
            | self._worker.outputs.marker.counts()
            | prompts
            | self._transactions,
            "report": report,
        }

    def _measure(self) -> None:
        """Rates since the last report, and the transactions' sums, where there were new passes."""
        engine = self._worker.engine
        counts = (engine.forward_passes, engine.rows, engine.seconds)
        passes, rows, seconds = (now - before for now, before in zip(counts, self._before, strict=True))
        if passes:
            self._before = counts
            self._rates = rows / passes, seconds / passes
            number, waited, took = self._worker.store.db.times.sums()
            self._transactions = {
                TRANSACTIONS.key(): number,
                TRANSACTION_SECONDS.key("wait"): waited,
                TRANSACTION_SECONDS.key("transaction"): took,
            }


def _memory(models: ModelPool) -> dict[str, int]:
    """Bytes: of this process, of weights, and the budget; on a GPU also what torch allocates, reserves, and could."""
    found = {"process": _resident()}
    kind = device_type(models.device)
    if kind.allocator and kind.memory:
        found |= {
            "allocated": kind.allocator.memory_allocated(models.device),
            "reserved": kind.allocator.memory_reserved(models.device),
            "total": kind.memory(models.device)[1],
        }
    return found | {"weights": models.memory.used, "budget": models.memory.budget}


def _resident() -> int:
    """Bytes of memory that this process takes; where the kernel doesn't say, the peak."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
