"""An image in the denoising loop: its sampler, and what the model is given with each of the sampler's questions."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import torch

from tintype.core import ImageSpec
from tintype.diffusion.compile import Run
from tintype.diffusion.memory.component import LoadedComponent, MemoryEstimate
from tintype.diffusion.text import Conditioning, Lengths
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
    #: Whether its weights draw with a mask only.
    needs_mask: bool

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        """All of them, in the order of their use."""

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        """The memory that the image needs, from its text to its pixels."""

    def lengths(self, prompt: str) -> Lengths:
        """How many tokens a prompt has, and how many of them the model reads."""

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> ImageState:
        """Encode the text and the init image, (1, 3, height, width) in [-1, 1], and set up the sampler.

        mask: (1, 1, height, width), 1 where the init image is repainted, else 0.
        """

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Conditioning, *, exact: bool = False) -> torch.Tensor:
        """One forward pass: x (N, C, h, w), level (N,), text of N rows → what this family's samplers expect.

        exact: the same bits every time, so never compiled.
        """

    def preview(self, ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        """A question and its answer → a small image of the predicted result, (h, w, 3), 8 bit, on the CPU."""


@dataclass(frozen=True)
class Stage:
    """What goes on with an image when its first sampler has returned: another family, with its own view of the text."""

    family: Family
    text: Conditioning
    negative: Conditioning | None
    #: The latents that the sampler before has returned → the next one.
    sampler: Callable[[torch.Tensor], Sampler]
    #: Model evaluations.
    steps: int


class ImageState:
    """One image in the denoising loop."""

    def __init__(
        self,
        family: Family,
        sampler: Sampler,
        text: Conditioning,
        negative: Conditioning | None,
        guidance: float,
        steps: int,
        then: Stage | None = None,
    ) -> None:
        """then: another family's part, which has as many rows."""
        #: The one that answers the open question.
        self.family = family
        self.guidance = guidance
        #: One row per row of the forward pass: the negative prompt's first, if there is one.
        self.text = _rows(text, negative)
        self.rows = 1 if negative is None else 2
        #: Whether it shares no forward pass: a matrix product's last bits depend on the number of rows.
        self.exact = False
        #: Model evaluations done and expected.
        self.step = 0
        self.steps = steps + (then.steps if then else 0)
        #: The stage after this one, if there is one.
        self.then = then
        #: What this stage's sampler has returned, where another one is to go on with it: `enter_next` is due.
        self.handed_over: torch.Tensor | None = None
        #: The sampler's open question; meaningless once `latents` or `handed_over` is set.
        self.ask: Ask
        #: The last question and its answer, with guidance, for previews.
        self.answered: tuple[Ask, torch.Tensor] | None = None
        #: The finished latents, once the sampler has returned.
        self.latents: torch.Tensor | None = None
        #: What the forward pass or the sampler raised.
        self.error: Exception | None = None
        self._sampler = sampler
        self._advance(None)
        if self.handed_over is not None:  # its first stage has no steps
            self.enter_next()

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
        returned = self.latents if self.handed_over is None else self.handed_over
        if returned is None and self.step % CHECK_EVERY:
            return
        if not torch.isfinite(self.ask.x if returned is None else returned).all():
            self.latents, self.handed_over, self.error = None, None, PictureNotFinite()

    def enter_next(self) -> None:
        """Go on with the next stage, whose denoiser must be on the device from now on."""
        if self.then is None or self.handed_over is None:
            raise ValueError("there is nothing to go on with")
        stage, latents = self.then, self.handed_over
        self.then = self.handed_over = None
        self.family, self.text = stage.family, _rows(stage.text, stage.negative)
        self._sampler = stage.sampler(latents)
        self._advance(None)

    def _advance(self, reply: Answer | None) -> None:
        try:
            self.ask = next(self._sampler) if reply is None else self._sampler.send(reply)
        except StopIteration as finished:
            if self.then is not None:
                self.handed_over = finished.value
                return
            self.latents = finished.value
            self.steps = self.step  # an adaptive sampler may have been expected to take more


def _rows(text: Conditioning, negative: Conditioning | None) -> Conditioning:
    return text if negative is None else Conditioning.stack([negative, text])
