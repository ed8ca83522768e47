"""What samplers have in common: asking the model, and the few moves that all of them are made of.

Symbols, here and in the samplers: x the latent; s this step's sigma and t the next one; d the denoised latent at
(x, s); g = (x - d) / s, which is dx/dsigma in every space; z fresh noise.
"""

from __future__ import annotations

import math

import torch

from tintype.diffusion.image_state import Ask, Sampler
from tintype.diffusion.samplers.space import Space


def denoised(x: torch.Tensor, s: float) -> Sampler:
    """Ask for d."""
    return (yield Ask(x, s)).guided


def slope(x: torch.Tensor, s: float) -> Sampler:
    """Ask for g (Karras et al. 2022, eqs. 1 and 3)."""
    return (x - (yield from denoised(x, s))) / s


def blend(x: torch.Tensor, d: torch.Tensor, s: float, t: float) -> torch.Tensor:
    """Where x is at t if d doesn't change on the way: Euler's step, DDIM and DPM-Solver++(1) are all this one."""
    return t / s * x + (1 - t / s) * d


def ancestral(s: float, t: float) -> tuple[float, float]:
    """How far to step down and how much noise to add, to land at t (Song et al. 2020 (DDIM), eq. 16 at eta 1)."""
    down = t * t / s
    return down, math.sqrt(t * t - down * down)


def renoise(space: Space, s: float, t: float) -> tuple[float, float, float]:
    """`ancestral` in any space: the sigma to step down to, then x's factor and the noise's to climb back to t."""
    down, _ = ancestral(s, t)
    keep = space.alpha(t) / space.alpha(down)
    return down, keep, math.sqrt(t * t - (keep * down) ** 2)
