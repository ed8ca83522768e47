"""An image in the denoising loop: its sampler, and what the model is given with each of the sampler's questions."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import torch

from tintype.core import ImageSpec
from tintype.diffusion.memory.component import LoadedComponent, MemoryEstimate, Run
from tintype.diffusion.text import Lengths, Text
from tintype.diffusion.vae import Autoencoder
from tintype.errors import PictureNotFinite

#: Steps between checks for NaN: each check synchronises with the device.
CHECK_EVERY = 16


@dataclass(frozen=True)
class Ask:
    """A sampler's question: what to denoise, x (1, C, h, w), and its noise level in the family's unit."""

    x: torch.Tensor
    level: float


@dataclass(frozen=True)
class Answer:
    """The model's prediction with guidance applied, and the unconditional one where there is one."""

    guided: torch.Tensor
    unconditional: torch.Tensor | None


#: Yields questions, is sent their answers, returns the finished latents.
Sampler = Generator[Ask, Answer, torch.Tensor]


class Family(Protocol):
    """An architecture with its weights, which are loaded when they are first used."""

    device: torch.device
    #: How forward passes of the denoiser are run.
    run: Run
    #: The component that every step needs: it is held on the device while images are being denoised.
    denoiser: LoadedComponent
    #: Decodes finished latents.
    autoencoder: Autoencoder

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        """All of them, in the order of their use."""

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        """The memory that the image needs, from its text to its pixels."""

    def lengths(self, prompt: str) -> Lengths:
        """How many tokens a prompt has, and how many of them the model reads."""

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None) -> ImageState:
        """Encode the text and the init image, (1, 3, height, width) in [-1, 1], and set up the sampler."""

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Text, *, exact: bool = False) -> torch.Tensor:
        """One forward pass: x (N, C, h, w), level (N,), text of N rows → what this family's samplers expect.

        exact: the same bits every time, so never compiled.
        """

    def preview(self, ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        """A question and its answer → a small image of the predicted result, (h, w, 3), 8 bit, on the CPU."""


class ImageState:
    """One image in the denoising loop."""

    def __init__(
        self, family: Family, sampler: Sampler, text: Text, negative: Text | None, guidance: float, steps: int
    ) -> None:
        self.family = family
        self.guidance = guidance
        #: One row per row of the forward pass: the negative prompt's first, if there is one.
        self.text = text if negative is None else Text.stack([negative, text])
        self.rows = 1 if negative is None else 2
        #: Whether it shares no forward pass: a matrix product's last bits depend on the number of rows.
        self.exact = False
        #: Model evaluations done and expected.
        self.step = 0
        self.steps = steps
        #: The sampler's open question; meaningless once `latents` is set.
        self.ask: Ask
        #: The last question and its answer, with guidance, for previews.
        self.answered: tuple[Ask, torch.Tensor] | None = None
        #: The finished latents, once the sampler has returned.
        self.latents: torch.Tensor | None = None
        #: What the forward pass or the sampler raised.
        self.error: Exception | None = None
        self._sampler = sampler
        self._advance(None)

    @property
    def ended(self) -> bool:
        """Whether it is finished or has failed."""
        return self.latents is not None or self.error is not None

    def answer(self, prediction: torch.Tensor) -> None:
        """Send the sampler the model's prediction for this image's rows, (rows, C, h, w).

        It fails if its latents aren't finite, now and then and at the end: it would be black.
        """
        self.step += 1
        self.steps = max(self.steps, self.step)
        if self.rows == 1:
            reply = Answer(prediction, None)
        else:
            unconditional, conditional = prediction.chunk(2)
            reply = Answer(unconditional + self.guidance * (conditional - unconditional), unconditional)
        self.answered = self.ask, reply.guided
        self._advance(reply)
        if self.latents is None and self.step % CHECK_EVERY:
            return
        latents = self.ask.x if self.latents is None else self.latents
        if not torch.isfinite(latents).all():
            self.latents, self.error = None, PictureNotFinite()

    def _advance(self, reply: Answer | None) -> None:
        try:
            self.ask = next(self._sampler) if reply is None else self._sampler.send(reply)
        except StopIteration as finished:
            self.latents = finished.value
            self.steps = self.step  # an adaptive sampler may have been expected to take more
