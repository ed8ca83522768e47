"""SDE-DPM-Solver++ (Lu et al. 2022b): exact for the noise and for a d that doesn't change within a step.

h is the step in log-SNR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from tintype.diffusion.image_state import Sampler
from tintype.diffusion.samplers.spec import Noise, denoised
from tintype.diffusion.schedules import Parameterization


def dpmpp_sde(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
    """SDE-DPM-Solver++ (Lu et al. 2022b) in k-diffusion's single-step form: d from halfway in log-SNR."""
    for s, t in pairwise(_with_data(sigmas, space)):
        d = yield from denoised(x, s)
        if t == 0:
            return d
        middle = space.sigma((space.log_snr(s) + space.log_snr(t)) / 2)
        d = yield from denoised(_diffused(x, d, s, middle, space, noise), middle)
        x = _diffused(x, d, s, t, space, noise)
    return x


def dpmpp_2m_sde(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022b): d + (d - d') h / 2h' in d's place, d' and h' of the step before."""
    before: tuple[float, torch.Tensor] | None = None
    for s, t in pairwise(_with_data(sigmas, space)):
        d = yield from denoised(x, s)
        if t == 0:
            return d
        h = space.log_snr(t) - space.log_snr(s)
        ahead = d if before is None else d + h / before[0] / 2 * (d - before[1])
        x = _diffused(x, ahead, s, t, space, noise)
        before = h, d
    return x


def dpmpp_3m_sde(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise) -> Sampler:
    """SDE-DPM-Solver++ (Lu et al. 2022b) with the next term of its expansion in h: 3M, k-diffusion's."""
    steps: list[float] = []
    known: list[torch.Tensor] = []
    for s, t in pairwise(_with_data(sigmas, space)):
        d = yield from denoised(x, s)
        if t == 0:
            return d
        steps = [space.log_snr(t) - space.log_snr(s), *steps][:3]
        known = [d, *known][:3]
        x = _diffused(x, d, s, t, space, noise) + space.alpha(t) * _correction(steps, known)
    return x


def _correction(steps: Sequence[float], known: Sequence[torch.Tensor]) -> torch.Tensor | float:
    """What d's change adds over a step; both newest first, as many as there have been, at most 3."""
    if len(known) == 1:
        return 0.0
    h = steps[0]
    p2 = math.expm1(-2 * h) / (2 * h) + 1
    p3 = p2 / (2 * h) - 0.5
    changes = [h / before * (new - old) for before, new, old in zip(steps[1:], known, known[1:], strict=False)]
    if len(changes) == 1:
        return p2 * changes[0]
    r0, r1 = steps[1] / h, steps[2] / h
    bend = (changes[0] - changes[1]) / (r0 + r1)
    return p2 * (changes[0] + r0 * bend) - p3 * bend


def _diffused(
    x: torch.Tensor, d: torch.Tensor, s: float, t: float, space: Parameterization, noise: Noise
) -> torch.Tensor:
    """SDE-DPM-Solver++1 (Lu et al. 2022b): (t / s) e^-h x + alpha(t) (1 - e^-2h) d + t sqrt(1 - e^-2h) z."""
    h = space.log_snr(t) - space.log_snr(s)
    lost = -math.expm1(-2 * h)
    return t / s * math.exp(-h) * x + space.alpha(t) * lost * d + t * math.sqrt(lost) * noise()


def _with_data(sigmas: Sequence[float], space: Parameterization) -> Sequence[float]:
    """A flow begins without any data in x, where log-SNR has no end: as the reference does, begin just below."""
    return [min(sigmas[0], space.highest), *sigmas[1:]]
