"""How tasks leave a worker's hands: failed, cancelled, to be tried again, or handed back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog
import torch

from tintype.diffusion.memory.component import out_of_memory
from tintype.engine import Engine
from tintype.errors import NoRoom, PictureNotFinite, StorageUnavailable, StoreUnavailable, TintypeError, kind_of
from tintype.media.breaker import StorageBreaker
from tintype.store.db.records import LeaseStatus, Request
from tintype.store.queue.queue import Leases
from tintype.worker.admission import Admission
from tintype.worker.task import RunningRequest

log = structlog.get_logger()

#: Seconds between questions whether another worker is idle.
ASKING = 1.0


class Endings:
    """Lets go of tasks and tells the store; if it is away, nothing is lost: leases run out, others claim the requests.

    tasks: those in the worker's hands, by request. breaker: of the outputs' storage. freed: called whenever one has
    left them.
    """

    def __init__(
        self,
        requests: Leases,
        tasks: dict[str, RunningRequest],
        engine: Engine,
        admission: Admission,
        breaker: StorageBreaker,
        freed: Callable[[], None],
    ) -> None:
        self._requests = requests
        self._tasks = tasks
        self._engine = engine
        self._admission = admission
        self._breaker = breaker
        self._freed = freed
        #: When it was last asked whether another worker is idle.
        self._asked = 0.0

    def not_understood(self, request: Request, error: Exception) -> None:
        """Submitted by another version, whose catalogue differs from ours."""
        log.warning("request not understood", request=request.id, exc_info=error)
        self._requests.fail(request.id, request.attempt, "this server no longer runs that request", 500)

    def drop(self) -> None:
        """Let go of what was cancelled, or lost to another worker; what is being delivered too, which may take long.

        Its files, if they are written after all, expire.
        """
        told = [(task, task.verdict) for task in self._tasks.values()]
        for task, verdict in told:
            if verdict is LeaseStatus.LOST:
                self.forget(task)
        self._let_go([task for task, verdict in told if verdict is LeaseStatus.CANCEL], self._requests.end_cancelled)

    def spare(self, tasks: Sequence[RunningRequest]) -> None:
        """Let go of those that nobody wants any more: work is about to be spent on them, and the next beat is later."""
        if not tasks:
            return
        try:
            unwanted = self._requests.cancelled([task.request.id for task in tasks])
        except StoreUnavailable:
            return  # they are drawn then
        self._let_go([task for task in tasks if task.request.id in unwanted], self._requests.end_cancelled)

    def hand_back(self, *, delivering: bool = False) -> None:
        """Return what is still running to the queue, uncounted: it did nothing wrong.

        delivering: also what is made and on its way; where that arrives after all, it is this attempt's no more.
        """
        running = [task for task in self._tasks.values() if delivering or task.delivery is None]
        self._let_go(running, self._requests.hand_all_back)

    def pass_on(self) -> None:
        """Return the task that has waited too long for room, uncounted, if another worker could begin it now.

        Once at most: it loses its turn by that, and whoever claims it next may have no room for it either.
        """
        task = self._tasks.get(self._admission.overdue or "")
        if (
            task is None
            or task.draft is None
            or task.request.lease.hand_backs
            or time.monotonic() < self._asked + ASKING
        ):
            return
        self._asked = time.monotonic()
        if self._wanted_elsewhere(task, task.draft.estimate.peak):
            log.info("no room; handed back for a worker that is idle", request=task.request.id)
            self._admission.give_way()
            self.forget(task)
            self._tell(self._requests.hand_back, task)

    def once_more(self, task: RunningRequest, error: PictureNotFinite) -> None:
        """Begin again in float32, whose sums don't overflow so soon; if that was it already, give up."""
        if task.in_float32 or task.loaded.dtype == "float32":
            self.give_up(task, error)
            return
        log.warning("not finite; beginning again in float32", request=task.request.id)
        self._leave(task)
        task.start_over_in_float32()

    def give_up(self, task: RunningRequest, error: BaseException) -> None:
        """Failed for a reason that a repeat won't change; else to be tried again, alone."""
        self.forget(task)
        if isinstance(error, torch.AcceleratorError):
            # Nothing runs on this device any more until the process is a new one; it ends as if it had been killed.
            raise error
        if task.alone and out_of_memory(error):
            error = NoRoom()  # even one row at a time, with the device to itself
        request = task.request.id
        if isinstance(error, StoreUnavailable):
            self._tell(self._requests.hand_back, task)  # uncounted: nothing is wrong with it
        elif isinstance(error, StorageUnavailable) and self._breaker.open:
            self._tell(self._requests.hand_back, task)  # likewise; the worker pauses, and says so
        elif isinstance(error, StorageUnavailable):
            log.warning("the storage refused this one", request=request, cause=error.why)
            self._tell(self._requests.retry, task, "the storage of pictures did not take this one")
        elif isinstance(error, TintypeError):
            log.warning("request failed", request=request, error=error.message, cause=repr(error.__cause__))
            self._tell(self._requests.fail, task, error.message, error.status, kind_of(error))
        else:
            log.error("the model failed", request=request, attempt=task.request.attempt, exc_info=error)
            self._tell(self._requests.retry, task, "the model failed on this request")

    def forget(self, task: RunningRequest) -> None:
        """Out of the worker's hands, whatever becomes of it."""
        self._tasks.pop(task.request.id, None)
        task.cancel()
        self._leave(task)
        self._freed()

    def _wanted_elsewhere(self, task: RunningRequest, needed: int) -> bool:
        try:
            return self._requests.idle_elsewhere(task.request.lease.worker or "", needed)
        except StoreUnavailable:
            return False

    def _leave(self, task: RunningRequest) -> None:
        """Out of the engine, and out of memory."""
        self._admission.leave(task.request.id)
        for picture in task.pictures:
            if picture in self._engine.live:
                self._engine.drop(picture)

    def _let_go(self, tasks: Sequence[RunningRequest], write: Callable[[Sequence[tuple[str, int]]], object]) -> None:
        """Several at the same time, for one reason, in one transaction."""
        for task in tasks:
            self.forget(task)
        if not tasks:
            return
        try:
            write([(task.request.id, task.request.attempt) for task in tasks])
        except StoreUnavailable:
            for task in tasks:
                self._left_behind(task)

    def _tell(self, write: Callable[..., bool], task: RunningRequest, *what: object) -> None:
        try:
            write(task.request.id, task.request.attempt, *what)
        except StoreUnavailable:
            self._left_behind(task)

    def _left_behind(self, task: RunningRequest) -> None:
        log.warning("what became of it can't be written; its lease runs out", request=task.request.id)
