"""The properties of a sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tintype.diffusion.image_state import Answer, Sampler
from tintype.diffusion.samplers.parameterization import Parameterization
from tintype.diffusion.samplers.sampling import Noise

#: (x, sigmas falling to 0, parameterization, noise) → the sampler. One that needs fewer takes `*_` for the rest.
Run = Callable[[torch.Tensor, Sequence[float], Parameterization, Noise], Sampler]
#: Of the data in the trial run that counts evaluations: narrow, as data are given a prompt.
VARIANCE = 0.1


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler and its properties."""

    run: Run
    #: The power of the step size with which its error falls, once it has its history.
    order: int = 1
    #: Model evaluations per step, at most as many as sigmas above 0 are left; None if adaptive.
    evaluations: int | None = 1
    #: Whether it uses the unconditional prediction, even without guidance.
    needs_unconditional: bool = False
    #: Whether it runs the schedule of one more step, without that schedule's last sigma above 0.
    drops_penultimate: bool = False
    #: Multiplies the guidance.
    guidance_factor: float = 1.0
    #: With fewer steps it returns its initial noise.
    min_steps: int = 1

    def start(self, x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
        """Run the sampler; on a schedule without steps it returns x."""
        if len(sigmas) > 1:
            x = yield from self.run(x, sigmas, space, noise)
        return x

    def count(self, sigmas: Sequence[float], space: Parameterization) -> int:
        """Model evaluations on this schedule; of an adaptive sampler an estimate."""
        if self.evaluations is None:
            return self._trial(sigmas, space)
        return sum(min(self.evaluations, left) for left in range(1, len(sigmas)))

    def _trial(self, sigmas: Sequence[float], space: Parameterization) -> int:
        """How many it makes on a latent of one element, with data normally distributed around 0."""
        x = torch.full((1, 1, 1, 1), sigmas[0])
        sampler = self.start(x, sigmas, space, lambda: torch.ones_like(x))
        evaluations = 0
        try:
            ask = next(sampler)
            while True:
                evaluations += 1
                alpha = space.alpha(ask.level)
                d = alpha * VARIANCE / (alpha**2 * VARIANCE + ask.level**2) * ask.x
                ask = sampler.send(Answer(d, d))
        except StopIteration:
            return evaluations
