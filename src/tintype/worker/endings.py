"""How requests end that don't complete: failed, cancelled, to be tried again, or handed back."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import torch

from tintype.diffusion.memory.residency import out_of_memory
from tintype.errors import NoRoom, StoreUnavailable, TintypeError
from tintype.store.records import CANCELLED, Request
from tintype.store.requests import Requests
from tintype.worker.task import Task

log = structlog.get_logger()


class Endings:
    """Tells the store; if it is away, nothing is lost: the lease runs out and the request is claimed again."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def not_understood(self, request: Request, error: Exception) -> None:
        """Submitted by another version, whose catalogue differs from ours."""
        log.warning("request not understood", request=request.id, exc_info=error)
        self._requests.fail(request.id, request.attempt, "this server no longer runs that request", 500)

    def cancelled(self, task: Task) -> None:
        """Its caller doesn't want it any more."""
        self._tell(self._requests.fail, task, CANCELLED.error, CANCELLED.status)

    def handed_back(self, task: Task) -> None:
        """Into the queue, uncounted: it did nothing wrong."""
        self._tell(self._requests.hand_back, task)

    def broke_down(self, task: Task, error: BaseException) -> None:
        """Failed for a reason that a repeat won't change; else to be tried again, alone."""
        if isinstance(error, torch.AcceleratorError):
            # Nothing runs on this device any more until the process is a new one; it ends as if it had been killed.
            raise error
        if task.alone and out_of_memory(error):
            error = NoRoom()  # even one row at a time, with the device to itself
        request = task.request.id
        if isinstance(error, TintypeError) and not isinstance(error, StoreUnavailable):
            log.warning("request failed", request=request, error=error.message, cause=repr(error.__cause__))
            self._tell(self._requests.fail, task, error.message, error.status)
        else:
            log.error("the model failed", request=request, attempt=task.request.attempt, exc_info=error)
            self._tell(self._requests.retry, task, "the model failed on this request")

    def _tell(self, write: Callable[..., bool], task: Task, *what: object) -> None:
        try:
            write(task.request.id, task.request.attempt, *what)
        except StoreUnavailable as error:
            log.warning("store unavailable", request=task.request.id, error=error.message)
