"""A few threads for work that callers can make long, of which no account has more than half."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Job(NamedTuple):
    account: str
    work: Callable[[ExitStack], Any]
    future: Future[Any]


class FairPool:
    """Runs jobs in `places` threads: next is one of the account that was served longest ago, among those below half.

    What waits is not bounded here: whoever submits bounds that.
    """

    def __init__(self, places: int, name: str) -> None:
        self._places = places
        self._share = max(1, places // 2)
        self._threads = ThreadPoolExecutor(places, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: list[_Job] = []
        self._running: Counter[str] = Counter()
        #: When accounts were last served, counted in jobs; only of those that have jobs here.
        self._served: dict[str, int] = {}
        self._jobs = 0

    def submit(self, account: str, work: Callable[[ExitStack], T]) -> Future[T]:
        """Run `work` as soon as it may; a future that is cancelled before is not run.

        What the work puts on the stack is done after the future has its result, and before its place is another job's:
        waiting until nothing of the work is left, say.
        """
        future: Future[T] = Future()
        with self._lock:
            self._waiting.append(_Job(account, work, future))
        self._start()
        return future

    def close(self) -> None:
        """Start no more."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for job in waiting:
            job.future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        with self._lock:
            while self._running.total() < self._places and (job := self._next()):
                self._running[job.account] += 1
                self._jobs += 1
                self._served[job.account] = self._jobs
                self._threads.submit(self._run, job)

    def _next(self) -> _Job | None:
        """The job whose turn it is, taken out of those that wait."""
        self._waiting = [job for job in self._waiting if not job.future.cancelled()]
        ready = [job for job in self._waiting if self._running[job.account] < self._share]
        job = min(ready, key=lambda job: self._served.get(job.account, 0), default=None)
        if job is not None:
            self._waiting.remove(job)
        return job

    def _run(self, job: _Job) -> None:
        try:
            if job.future.set_running_or_notify_cancel():
                with ExitStack() as after:
                    _fulfil(job, after)
        finally:
            with self._lock:
                self._running[job.account] -= 1
                if not self._running[job.account]:
                    del self._running[job.account]
                    if all(other.account != job.account for other in self._waiting):
                        self._served.pop(job.account, None)
            self._start()


def _fulfil(job: _Job, after: ExitStack) -> None:
    try:
        result = job.work(after)
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        job.future.set_exception(error)
    else:
        job.future.set_result(result)
