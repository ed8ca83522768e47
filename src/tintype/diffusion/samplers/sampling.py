"""Sampling helpers: questions to the model, the moves that all samplers are made of, and an image's own noise.

Symbols, here and in the samplers: x the latent; s this step's sigma and t the next one; d the denoised latent at
(x, s); g = (x - d) / s, which is dx/dsigma in every parameterization; z fresh noise; space the parameterization.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from tintype.diffusion.image_state import Ask, Sampler
from tintype.diffusion.samplers.parameterization import Parameterization

#: Each call gives a fresh standard normal of the latents' shape, on their device.
Noise = Callable[[], torch.Tensor]


def noise_stream(seed: int, shape: Sequence[int], device: torch.device) -> Noise:
    """Float32 noise from a generator of its own on the CPU, so that a seed means the same image on every device."""
    generator = torch.Generator().manual_seed(seed)
    # Copies from pinned memory are asynchronous.
    pinned = device.type == "cuda"

    def draw() -> torch.Tensor:
        return torch.randn(shape, generator=generator, pin_memory=pinned).to(device, non_blocking=pinned)

    return draw


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
    """The sigma to step down to and the noise to add, to land at t (Song et al. 2020 (DDIM), eq. 16 at eta 1)."""
    down = t * t / s
    return down, math.sqrt(t * t - down * down)


def renoise(space: Parameterization, s: float, t: float) -> tuple[float, float, float]:
    """`ancestral` in any parameterization: the sigma to step down to, and x's factor and the noise's to return to t."""
    down, _ = ancestral(s, t)
    keep = space.alpha(t) / space.alpha(down)
    return down, keep, math.sqrt(t * t - (keep * down) ** 2)
