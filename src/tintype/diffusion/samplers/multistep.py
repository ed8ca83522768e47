"""Multistep methods: one evaluation per step, extrapolated through those of the steps before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from tintype.diffusion.image_state import Sampler
from tintype.diffusion.samplers.asking import blend, denoised, slope
from tintype.diffusion.samplers.weights import adams, alike, exponential, unlike

#: (sigmas, i, order) → what the newest slopes, newest first, weigh in the step from sigmas[i] to sigmas[i + 1].
Weights = Callable[[Sequence[float], int, int], Sequence[float]]


def lms(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """Adams-Bashforth of order 4 for steps of any length: the last slopes' polynomial in sigma, integrated exactly."""
    return _multistep(x, sigmas, 4, adams)


def ipndm(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """Improved PNDM (Zhang and Chen 2022): Adams-Bashforth of order 4 as if all steps were equally long."""
    return _multistep(x, sigmas, 4, alike)


def ipndm_v(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """Improved PNDM (Zhang and Chen 2022): Adams-Bashforth of order 4 for steps of any length."""
    return _multistep(x, sigmas, 4, unlike)


def deis(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """tAB-DEIS of order 3 (Zhang and Chen 2022): the slopes' polynomial is in the diffusion's time, not in sigma."""
    return _multistep(x, sigmas, 3, exponential)


def _multistep(x: torch.Tensor, sigmas: Sequence[float], order: int, weights: Weights) -> Sampler:
    slopes: list[torch.Tensor] = []
    for i, (s, t) in enumerate(pairwise(sigmas)):
        slopes = [(yield from slope(x, s)), *slopes][:order]
        # To 0 goes Euler's step, which returns the denoised latent; so does the first, which knows one slope only.
        chosen = weights(sigmas, i, len(slopes)) if t > 0 and len(slopes) > 1 else [t - s]
        for weight, g in zip(chosen, slopes, strict=False):
            x = x + weight * g
    return x


def dpmpp_2m(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), in -ln sigma for flow models too."""
    before: tuple[float, torch.Tensor] | None = None
    for s, t in pairwise(sigmas):
        d = yield from denoised(x, s)
        ahead = d
        if before is not None and t > 0:
            ratio = math.log(before[0] / s) / math.log(s / t)
            ahead = (1 + 1 / (2 * ratio)) * d - 1 / (2 * ratio) * before[1]
        x = blend(x, ahead, s, t)
        before = s, d
    return x
