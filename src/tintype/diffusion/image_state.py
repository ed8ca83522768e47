"""A picture on its way: a sampler that asks, and what the model must be told with each question."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import torch

from tintype.core import ImageSpec
from tintype.diffusion.conditioning import Lengths, Text
from tintype.diffusion.memory.component import LoadedComponent
from tintype.diffusion.memory.estimate import MemoryEstimate
from tintype.diffusion.prepared import Run
from tintype.errors import PictureNotFinite


@dataclass(frozen=True)
class Ask:
    """What a sampler wants denoised: x (1, C, h, w), and its noise level as the family counts it."""

    x: torch.Tensor
    level: float


@dataclass(frozen=True)
class Answer:
    """The model's prediction with guidance applied, and the unconditional one where there is one."""

    guided: torch.Tensor
    unconditional: torch.Tensor | None


#: Yields what it wants denoised, is sent the answer, returns the finished latents.
Sampler = Generator[Ask, Answer, torch.Tensor]


class Family(Protocol):
    """An architecture with its weights, which come to the device when they are needed."""

    device: torch.device
    #: How the network is asked.
    run: Run
    #: The component that every step needs: whoever has pictures under way keeps it on the device.
    denoiser: LoadedComponent

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        """All its components."""

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        """The memory that the image needs, from its text to its pixels."""

    def lengths(self, prompt: str) -> Lengths:
        """How many of a prompt's tokens count, and how many it has: fewer count than there are where it is too long."""

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None) -> ImageState:
        """Encode the text and the init image, (1, 3, height, width) in [-1, 1], and set up the sampler."""

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Text, *, exact: bool = False) -> torch.Tensor:
        """One forward pass: x (N, C, h, w), level (N,), text of N rows → what this family's samplers expect.

        exact: the same bits every time, whatever has been prepared meanwhile.
        """

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, h, w) → picture (height, width, 3), 8 bit, on the CPU."""

    def glance(self, ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        """A question and its answer → a small picture of where they lead, (h, w, 3), 8 bit, on the CPU."""


class ImageState:
    """One picture on its way through the steps."""

    def __init__(
        self, family: Family, sampler: Sampler, text: Text, negative: Text | None, guidance: float, steps: int
    ) -> None:
        self.family = family
        self.guidance = guidance
        #: One row of text per row of the forward pass: the unconditional one first, if there is one.
        self.text = text if negative is None else Text.stack([negative, text])
        self.rows = 1 if negative is None else 2
        #: Whether it may share no forward pass: a matrix product's last bits depend on the number of rows.
        self.alone = False
        #: Model evaluations done and expected.
        self.step = 0
        self.steps = steps
        #: The sampler's open question; meaningless once `latents` is there.
        self.ask: Ask
        #: The last question and its answer, with guidance, for whoever wants to look.
        self.answered: tuple[Ask, torch.Tensor] | None = None
        #: The finished latents, once the sampler has returned.
        self.latents: torch.Tensor | None = None
        #: What the forward pass raised, if it did.
        self.error: Exception | None = None
        self._sampler = sampler
        self._advance(lambda: next(sampler))

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to ask."""
        return self.latents is not None or self.error is not None

    def answer(self, prediction: torch.Tensor) -> None:
        """Give the sampler the model's prediction for this picture's rows, (rows, C, h, w)."""
        self.step += 1
        self.steps = max(self.steps, self.step)
        if self.rows == 1:
            reply = Answer(prediction, None)
        else:
            unconditional, conditional = prediction.chunk(2)
            reply = Answer(unconditional + self.guidance * (conditional - unconditional), unconditional)
        self.answered = self.ask, reply.guided
        self._advance(lambda: self._sampler.send(reply))

    def check(self) -> None:
        """Fail the picture if its latents are no longer finite: nothing good comes of them, and no black picture."""
        latents = self.ask.x if self.latents is None else self.latents
        if not torch.isfinite(latents).all():
            self.latents, self.error = None, PictureNotFinite()

    def _advance(self, resume: Callable[[], Ask]) -> None:
        try:
            self.ask = resume()
        except StopIteration as finished:
            self.latents = finished.value
            self.steps = self.step  # a sampler that decides on the way may have been expected to take more
