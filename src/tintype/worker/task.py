"""A task: one claimed request in a worker's hands."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from tintype.catalog.spec import ModelSpec
from tintype.diffusion.image_state import ImageState
from tintype.diffusion.job import ImageSpec
from tintype.diffusion.memory.demand import Demand
from tintype.media.cancellation import Cancellation
from tintype.media.decoder import Decoded
from tintype.store.db.records import LeaseStatus, Progress, Request
from tintype.worker.models import LoadedModel
from tintype.worker.recipe import Recipe


@dataclass(frozen=True)
class Draft:
    """What a task is going to do, before it may."""

    jobs: list[ImageSpec]
    #: Of each of the jobs: they differ in their seeds alone.
    demand: Demand


class RunningRequest:
    """A request, its input picture on the way in, and its pictures on their way out."""

    def __init__(self, request: Request, spec: ModelSpec) -> None:
        self.request = request
        self.spec = spec
        self.order = spec.read(request.params)
        #: Its input image on the way in, and what stops that.
        self.fetched: Future[Decoded | None] = Future()
        self.cancellation = Cancellation()
        #: The pictures being denoised, in the order of their seeds; empty until the input picture is there.
        self.pictures: list[ImageState] = []
        #: How its pictures can be made again, what draws them and how large they will be; there once they have begun.
        self.recipe: Recipe
        self.loaded: LoadedModel
        self.size: tuple[int, int]
        #: What its caller should know of it beside the pictures.
        self.warnings: list[str] = []
        #: What is to be done, once the input picture is there.
        self.draft: Draft | None = None
        #: Seconds spent on loading weights for it.
        self.cold_start = 0.0
        #: Finished pixels by the picture they belong to.
        self.pixels: dict[int, torch.Tensor] = {}
        #: What the last preview of each picture showed: a step, or FINISHED; and how many there were.
        self.looked_at: dict[int, int] = {}
        self.looks = 0
        #: What the last renewal said; a task that isn't to be kept is dropped at the next step.
        self.verdict = LeaseStatus.KEEP
        #: The writing of its files and result, once all pictures are there.
        self.delivery: Future[None] | None = None
        #: Whether bfloat16 has failed it.
        self.in_float32 = False
        #: Seconds on this machine's monotonic clock at which the model's work began.
        self.began = time.monotonic()
        #: And at which its pictures joined the engine.
        self.joined = self.began

    def start_over_in_float32(self) -> None:
        """Forget what was drawn so far, its siblings' pixels too: all of a request's pictures are made alike."""
        self.in_float32 = True
        self.pictures, self.pixels, self.draft = [], {}, None

    def cancel(self) -> None:
        """Stop the download and the decoding of its input image, or never begin, nor deliver it."""
        self.fetched.cancel()
        self.cancellation.cancel()
        if self.delivery and self.delivery.cancel():
            self.pixels.clear()  # what would have delivered them is kept until its turn

    @property
    def alone(self) -> bool:
        """Whether it must share the worker with nothing: an earlier attempt failed, and it may be the reason."""
        return self.request.retries > 0

    @property
    def mark(self) -> Progress:
        """How far it is: evaluations per picture, averaged over its pictures."""
        if not self.pictures:
            return Progress(self.request.id, self.request.attempt, 0, self.request.steps)
        count = len(self.pictures)
        done = sum(picture.step for picture in self.pictures) // count
        expected = -(-sum(picture.steps for picture in self.pictures) // count)
        return Progress(self.request.id, self.request.attempt, done, expected)

    @property
    def finished(self) -> bool:
        """Whether every picture's pixels are there."""
        return bool(self.pictures) and len(self.pixels) == len(self.pictures)
