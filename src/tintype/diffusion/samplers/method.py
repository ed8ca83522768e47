"""What is known about a sampler before it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tintype.diffusion.image_state import Answer, Sampler
from tintype.diffusion.noise import Noise
from tintype.diffusion.samplers.space import Space

#: (x, sigmas falling to 0, space, noise) → the sampler. One that needs less takes `*_` for the rest.
Run = Callable[[torch.Tensor, Sequence[float], Space, Noise], Sampler]
#: Of the data in the trial that counts evaluations beforehand: narrow, like what a prompt leaves open.
VARIANCE = 0.1


@dataclass(frozen=True)
class Method:
    """A sampler and its properties."""

    run: Run
    #: To what power of the step its error falls, once it has the history it wants.
    order: int = 1
    #: Model evaluations of a step, though never more than it has sigmas above 0 left; None if the picture decides.
    evaluations: int | None = 1
    #: Whether it draws noise on the way.
    stochastic: bool = False
    #: Whether it reads the unconditional prediction, even where there is no guidance.
    needs_unconditional: bool = False
    #: Whether it runs the schedule of one more step, without that schedule's last sigma above 0.
    drops_penultimate: bool = False
    #: What the guidance is multiplied with.
    guidance_factor: float = 1.0
    #: With fewer steps it returns the noise that it was given.
    least_steps: int = 1
    #: Whether it ends at 0; otherwise the last sigma's noise stays in the picture.
    reaches_zero: bool = True

    def start(self, x: torch.Tensor, sigmas: Sequence[float], space: Space, noise: Noise) -> Sampler:
        """The sampler at work; on a schedule without steps it returns x as it is."""
        if len(sigmas) > 1:
            x = yield from self.run(x, sigmas, space, noise)
        return x

    def count(self, sigmas: Sequence[float], space: Space) -> int:
        """Model evaluations on this schedule: exact, but an estimate where the picture decides."""
        if self.evaluations is None:
            return self._tried(sigmas, space)
        return sum(min(self.evaluations, left) for left in range(1, len(sigmas)))

    def _tried(self, sigmas: Sequence[float], space: Space) -> int:
        """How many it makes on a latent of one number, whose data is normal around 0."""
        x = torch.full((1, 1, 1, 1), sigmas[0])
        sampler = self.start(x, sigmas, space, lambda: torch.ones_like(x))
        made = 0
        try:
            ask = next(sampler)
            while True:
                made += 1
                alpha = space.alpha(ask.level)
                d = alpha * VARIANCE / (alpha**2 * VARIANCE + ask.level**2) * ask.x
                ask = sampler.send(Answer(d, d))
        except StopIteration:
            return made
