"""Runge-Kutta methods: two or three slopes within a step, no memory between steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from tintype.diffusion.image_state import Sampler
from tintype.diffusion.samplers.spec import Noise, blend, denoised, renoise, slope
from tintype.diffusion.schedules import Parameterization


def heun(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """Heun's method: the mean of the slopes at both ends (Karras et al. 2022, algorithm 1)."""
    for s, t in pairwise(sigmas):
        g = yield from slope(x, s)
        if t > 0:
            g = (g + (yield from slope(x + (t - s) * g, t))) / 2
        x = x + (t - s) * g
    return x


def heunpp2(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """Heun++ (Carzit, sd-webui-samplers-scheduler): slopes at up to three sigmas, the later weigh sigma / 3 s0."""
    for i, (s, t) in enumerate(pairwise(sigmas)):
        slopes = [(yield from slope(x, s))]
        ahead = x
        # Looks one or two steps ahead, and no further than the last sigma above 0.
        reached = [sigma for sigma in sigmas[i + 1 : i + 3] if sigma > 0]
        for here, there in pairwise([s, *reached]):
            ahead = ahead + (there - here) * slopes[-1]
            slopes.append((yield from slope(ahead, there)))
        later = [sigma / (len(slopes) * sigmas[0]) for sigma in reached]
        weights = [1 - sum(later), *later]
        x = x + (t - s) * sum(weight * g for weight, g in zip(weights, slopes, strict=True))
    return x


def dpm_2(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """DPM-Solver-2 (Lu et al. 2022a, algorithm 1) as Karras et al. 2022 write it: the slope halfway in ln sigma."""
    for s, t in pairwise(sigmas):
        x = yield from _midpoint(x, s, t)
    return x


def dpm_2_ancestral(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
    """`dpm_2` to below t, then noise back up to it (Song et al. 2020 (DDIM), eq. 16)."""
    for s, t in pairwise(sigmas):
        down, keep, up = renoise(space, s, t)
        x = yield from _midpoint(x, s, down)
        if t > 0:
            x = keep * x + up * noise()
    return x


def _midpoint(x: torch.Tensor, s: float, t: float) -> Sampler:
    """The slope at the geometric mean of s and t for the whole step; Euler's step where t is 0."""
    g = yield from slope(x, s)
    middle = math.sqrt(s * t)
    if middle > 0:
        g = yield from slope(x + (middle - s) * g, middle)
    return x + (t - s) * g


def dpmpp_2s_ancestral(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
    """DPM-Solver++(2S) (Lu et al. 2022b, algorithm 1) to below t, then noise back up to it."""
    for s, t in pairwise(sigmas):
        d = yield from denoised(x, s)
        if t == 0:
            return d
        down, keep, up = renoise(space, s, t)
        middle = _halfway(space, s, down)
        d = yield from denoised(blend(x, d, s, middle), middle)
        x = keep * blend(x, d, s, down) + up * noise()
    return x


def _halfway(space: Parameterization, s: float, t: float) -> float:
    """Sigma in the middle in log-SNR; where there is no data in x yet, the reference's choice of a sigma near 1."""
    if space.alpha(s) <= 0:
        return 0.9999
    return space.sigma((space.log_snr(s) + space.log_snr(t)) / 2)
