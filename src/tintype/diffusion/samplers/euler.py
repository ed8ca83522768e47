"""One evaluation per step and no memory: Euler's method, its ancestral and CFG++ forms, and LCM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from tintype.diffusion.image_state import Answer, Ask, Sampler
from tintype.diffusion.samplers.spec import Noise, ancestral, blend, denoised, renoise
from tintype.diffusion.schedules import Parameterization


def euler(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """Euler's method on dx/dsigma = (x - d) / sigma (Karras et al. 2022, algorithm 2 without its correction)."""
    for s, t in pairwise(sigmas):
        d = yield from denoised(x, s)
        x = x + (t - s) / s * (x - d)
    return x


def euler_ancestral(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
    """Euler to below t, then noise back up to it (Song et al. 2020 (DDIM), eq. 12 at eta 1, in the model's space)."""
    return _euler_ancestral(x, sigmas, noise, lambda s, t: renoise(space, s, t))


def ddpm(x: torch.Tensor, sigmas: Sequence[float], _space: Parameterization, noise: Noise) -> Sampler:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), as if x were data + sigma noise: so the reference has it."""

    def exploding(s: float, t: float) -> tuple[float, float, float]:
        down, up = ancestral(s, t)
        return down, 1.0, up

    return _euler_ancestral(x, sigmas, noise, exploding)


def _euler_ancestral(
    x: torch.Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    coefficients: Callable[[float, float], tuple[float, float, float]],
) -> Sampler:
    for s, t in pairwise(sigmas):
        d = yield from denoised(x, s)
        if t == 0:
            return d
        down, keep, up = coefficients(s, t)
        x = keep * blend(x, d, s, down) + up * noise()
    return x


def euler_cfg_pp(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, *_: object) -> Sampler:
    """CFG++ (Chung et al. 2024, algorithm 2): guidance moves the data; the noise stays the unconditional one."""
    for s, t in pairwise(sigmas):
        answer = yield Ask(x, s)
        x = space.alpha(t) * answer.guided + t * _unconditional_noise(x, s, space, answer)
    return x


def euler_ancestral_cfg_pp(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
    """CFG++ (Chung et al. 2024, algorithm 2) with part of the noise fresh (Song et al. 2020 (DDIM), eq. 16)."""
    for s, t in pairwise(sigmas):
        answer = yield Ask(x, s)
        if t == 0:
            return answer.guided
        down, up = ancestral(_exploding(s, space), _exploding(t, space))
        old = _unconditional_noise(x, s, space, answer)
        x = space.alpha(t) * (answer.guided + down * old + up * noise())
    return x


def _unconditional_noise(x: torch.Tensor, s: float, space: Parameterization, answer: Answer) -> torch.Tensor:
    if answer.unconditional is None:
        raise TypeError("CFG++ needs the unconditional prediction: its SamplerSpec must say needs_unconditional")
    return (x - space.alpha(s) * answer.unconditional) / s


def _exploding(s: float, space: Parameterization) -> float:
    """Sigma in coordinates where x is data + sigma noise; without end where there is no data in x."""
    return s / space.alpha(s) if space.alpha(s) > 0 else math.inf


def lcm(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
    """Multistep consistency sampling (Luo et al. 2023, algorithm 3; Song et al. 2023, algorithm 1)."""
    for s, t in pairwise(sigmas):
        x = yield from denoised(x, s)
        if t > 0:
            x = space.alpha(t) * x + t * noise()
    return x
