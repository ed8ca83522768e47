"""Samplers for the SD 3 family: each yields what it wants denoised and is sent the denoised latent.

Symbols are those of Karras et al. 2022: x the latent, sigmas falling to 0, d the denoised latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from tintype.diffusion.denoising import Ask, Sampler


def euler(x: torch.Tensor, sigmas: Sequence[float]) -> Sampler:
    """Euler's method on dx/dsigma = (x - d) / sigma (Karras et al. 2022, algorithm 2 without its correction)."""
    for sigma, following in pairwise(sigmas):
        d = (yield Ask(x, sigma)).guided
        x = x + (following - sigma) / sigma * (x - d)
    return x


def dpmpp_2m(x: torch.Tensor, sigmas: Sequence[float]) -> Sampler:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), in -ln sigma for flow models too."""
    previous: tuple[float, torch.Tensor] | None = None
    for sigma, following in pairwise(sigmas):
        d = (yield Ask(x, sigma)).guided
        guess = d
        if previous is not None and following > 0:
            ratio = math.log(previous[0] / sigma) / math.log(sigma / following)
            guess = (1 + 1 / (2 * ratio)) * d - 1 / (2 * ratio) * previous[1]
        x = following / sigma * x + (1 - following / sigma) * guess
        previous = sigma, d
    return x


SAMPLERS: dict[str, Callable[[torch.Tensor, Sequence[float]], Sampler]] = {"euler": euler, "dpmpp_2m": dpmpp_2m}
