"""A request that a worker has claimed: its phases, its transitions, and what is written when it fails.

Torch-free: the worker and the fake worker of test mode share it. What it plans, its images and their pixels are types
of the worker's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import structlog

from tintype.core import GenerationParams, Role
from tintype.errors import (
    MODEL_FAILED,
    NOT_UNDERSTOOD,
    STORAGE_REFUSED,
    StorageUnavailable,
    StoreUnavailable,
    TintypeError,
    kind_of,
)
from tintype.media.decoder import Decoded
from tintype.media.network import Cancellation
from tintype.store.db.records import LeaseStatus, Progress, Request
from tintype.store.queue.queue import Leases

log = structlog.get_logger()


class Phase(StrEnum):
    """What a running request waits for."""

    #: Its input images, or to be planned once they are there.
    FETCHING = "fetching"
    #: Planned; room in memory for its images.
    WAITING_FOR_MEMORY = "waiting for memory"
    #: Its images are in the engine, or have their pixels already.
    DENOISING = "denoising"
    #: All pixels are there: they are checked, encoded and stored.
    UPLOADING = "uploading"
    #: It has left the worker: completed, failed, cancelled, lost, handed back or to be retried.
    DONE = "done"


class WrongPhase(Exception):
    """A transition that the request's phase doesn't allow: an error of the program."""


class Image(Protocol):
    """An image of a running request."""

    @property
    def step(self) -> int:
        """Model evaluations done."""

    @property
    def steps(self) -> int:
        """Model evaluations expected."""


PlanT = TypeVar("PlanT")
ImageT = TypeVar("ImageT", bound=Image)
PixelsT = TypeVar("PixelsT")


class RunningRequest(Generic[PlanT, ImageT, PixelsT]):
    """Its phase, and what it has in that phase. Only its own methods write its attributes.

    FETCHING → WAITING_FOR_MEMORY → DENOISING → UPLOADING → DONE; from DENOISING back to FETCHING, to start over in
    float32; and to DONE from every other phase. Each method raises WrongPhase in a phase that it doesn't start from.
    """

    def __init__(
        self,
        request: Request,
        params: GenerationParams,
        fetched: Future[Mapping[Role, Decoded]],
        cancellation: Cancellation | None = None,
    ) -> None:
        """fetched: its input images; none for text to image. cancellation: ends downloads and decoding."""
        self.request = request
        self.params = params
        #: The request and the attempt, as the store knows what this worker holds.
        self.held = (request.id, request.attempt)
        #: Whether it shares the worker with nothing: an earlier attempt failed, and may fail others with it.
        self.alone = request.retries > 0
        self.fetched = fetched
        self._cancellation = cancellation or Cancellation()
        self.phase = Phase.FETCHING
        #: What the last heartbeat learned of it; unless KEEP, it is dropped in the next turn.
        self.lease = LeaseStatus.KEEP
        #: From WAITING_FOR_MEMORY on: what it is going to make.
        self.plan: PlanT
        #: From DENOISING on, in the order of their seeds.
        self.images: Sequence[ImageT] = ()
        #: Of the finished images, by their index.
        self.pixels: dict[int, PixelsT] = {}
        #: From UPLOADING on: done once its result is written.
        self.uploaded: Future[None] | None = None
        #: Whether bfloat16 has failed it.
        self.in_float32 = False
        #: Seconds spent on loading weights for it.
        self.cold_start = 0.0
        #: When the model's work began, and when its images joined the engine; in seconds of the monotonic clock,
        #: later by what was spent on loading weights since.
        self.began = self.joined = 0.0

    @property
    def can_plan(self) -> bool:
        """Whether its input images are there, or failed, and it isn't planned."""
        return self.phase is Phase.FETCHING and self.fetched.done()

    @property
    def progress(self) -> Progress:
        """Model evaluations per image, averaged over its images."""
        images = self.images  # once: heartbeats read it while the worker may start over
        done, expected = 0, self.request.steps
        if images:
            done = sum(image.step for image in images) // len(images)
            expected = -(-sum(image.steps for image in images) // len(images))
        return Progress(*self.held, done, expected)

    def wait_for_memory(self, plan: PlanT) -> None:
        """What it is going to make is known."""
        self._leave(Phase.FETCHING, to=Phase.WAITING_FOR_MEMORY)
        self.plan = plan

    def denoise(self, images: Sequence[ImageT], began: float) -> None:
        """Its images have begun, and join the engine."""
        self._leave(Phase.WAITING_FOR_MEMORY, to=Phase.DENOISING)
        self.images = images
        self.began = self.joined = began

    def join(self, moment: float) -> None:
        """All its images are in the engine."""
        self._leave(Phase.DENOISING, to=Phase.DENOISING)
        self.joined = moment

    def finish(self, image: ImageT, pixels: PixelsT) -> bool:
        """One of its images is finished; returns whether all are."""
        self._leave(Phase.DENOISING, to=Phase.DENOISING)
        self.pixels[self.images.index(image)] = pixels
        return len(self.pixels) == len(self.images)

    def start_over(self) -> None:
        """Plan it again, in float32; finished images are dropped too: all images of a request are made alike."""
        self._leave(Phase.DENOISING, to=Phase.FETCHING)
        self.in_float32 = True
        self.images, self.pixels = (), {}

    def upload(self, uploaded: Future[None]) -> None:
        """All its images are finished; the future writes their files and the result."""
        if self.phase is Phase.DENOISING and len(self.pixels) < len(self.images):
            raise WrongPhase(f"{len(self.pixels)} of {len(self.images)} images are finished")
        self._leave(Phase.DENOISING, to=Phase.UPLOADING)
        self.uploaded = uploaded

    def end(self) -> None:
        """It leaves the worker: its download and decoding stop; an upload that hasn't begun never does."""
        self._leave(*(phase for phase in Phase if phase is not Phase.DONE), to=Phase.DONE)
        self.fetched.cancel()
        self._cancellation.cancel()
        if self.uploaded and self.uploaded.cancel():
            self.pixels.clear()  # the upload's threads keep a cancelled one, and so its pixels, until its turn

    def renewed(self, lease: LeaseStatus) -> None:
        """Take in what a heartbeat, on its own thread, learned of the lease."""
        self.lease = lease

    def exclude(self, seconds: float, *, own: bool = False) -> None:
        """Seconds spent on loading weights are not the model's work. own: the weights were loaded for this request."""
        self.began += seconds
        self.joined += seconds
        if own:
            self.cold_start += seconds

    def _leave(self, *allowed: Phase, to: Phase) -> None:
        if self.phase not in allowed:
            raise WrongPhase(f"{self.phase} → {to}: only from {', '.join(allowed)}")
        self.phase = to


def refuse(leases: Leases, request: Request, error: Exception) -> None:
    """Fail a request of another version, whose models or parameters differ from this one's; raises StoreUnavailable."""
    log.warning("request not understood", request=request.id, exc_info=error)
    leases.fail(request.id, request.attempt, NOT_UNDERSTOOD, 500)


def fail(leases: Leases, one: RunningRequest[Any, Any, Any], error: BaseException, *, storage_shut: bool) -> None:
    """Write that a request failed: FAILED for a reason that a retry won't change; else to be retried, alone.

    Where the database or the storage is away, the request is not at fault: it is handed back, uncounted.
    Raises StoreUnavailable.
    """
    if isinstance(error, StoreUnavailable) or (storage_shut and isinstance(error, StorageUnavailable)):
        leases.hand_back(*one.held)
    elif isinstance(error, StorageUnavailable):
        log.warning("the storage refused this one", request=one.request.id, cause=error.why)
        leases.retry(*one.held, STORAGE_REFUSED)
    elif isinstance(error, TintypeError):
        log.warning("request failed", request=one.request.id, error=error.message, cause=repr(error.__cause__))
        leases.fail(*one.held, error.message, error.status, kind_of(error))
    else:
        log.error("the model failed", request=one.request.id, attempt=one.request.attempt, exc_info=error)
        leases.retry(*one.held, MODEL_FAILED)
