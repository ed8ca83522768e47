"""Multistep methods: one evaluation per step, extrapolated through those of the steps before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch

from tintype.diffusion.image_state import Sampler
from tintype.diffusion.samplers.spec import blend, denoised, slope

#: (sigmas, i, order) → the weights of the last slopes, newest first, in the step from sigmas[i] to sigmas[i + 1].
Weights = Callable[[Sequence[float], int, int], Sequence[float]]
Nodes = np.ndarray[tuple[int], np.dtype[np.float64]]

#: Adams-Bashforth's weights for steps of equal length, by order.
ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
#: Nodes on [-1, 1] with the same mean as the whole, up to cubics (Gauss-Legendre).
GAUSS = np.array([-1.0, 1.0]) / math.sqrt(3)
#: The variance-preserving process that DEIS takes its times from (Song et al. 2021, VP SDE).
LOWEST, HIGHEST, FIRST_TIME = 0.002, 80.0, 1e-3
SLOPE = 2 * (math.log(LOWEST**2 + 1) / FIRST_TIME - math.log(HIGHEST**2 + 1)) / (FIRST_TIME - 1)
START = math.log(HIGHEST**2 + 1) - SLOPE / 2
#: Points of the reference's sum, which includes both ends and is not quite the integral.
NODES = 10_000


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


def alike(sigmas: Sequence[float], i: int, order: int) -> list[float]:
    """Adams-Bashforth's, as if all steps were as long as this one."""
    return [(sigmas[i + 1] - sigmas[i]) * weight for weight in ADAMS_BASHFORTH[order - 1]]


def adams(sigmas: Sequence[float], i: int, order: int) -> list[float]:
    """Adams-Bashforth's for steps of any length: the slopes' polynomial, integrated exactly."""
    s, t = sigmas[i], sigmas[i + 1]
    nodes = (s + t) / 2 + (t - s) / 2 * GAUSS
    return [(t - s) * float(basis.mean()) for basis in _lagrange(sigmas[i - order + 1 : i + 1][::-1], nodes)]


def unlike(sigmas: Sequence[float], i: int, order: int) -> list[float]:
    """Adams-Bashforth's for steps of any length as iPNDM's reference has them, slips included: images depend on them.

    Order 3 is `adams` only among equal steps, order 4 not even there: it is off wherever the steps' ratios change.
    """
    h, h1, h2, h3 = (sigmas[k + 1] - sigmas[k] if k >= 0 else math.nan for k in range(i, i - 4, -1))
    weights = [1 + h / (2 * h1), -h / (2 * h1)]
    if order > 2:
        third = (1 - h / (3 * (h + h1)) * (h * (h + h1)) / (h1 * (h1 + h2))) / 2
        ratio = h1 / h2
        weights = _added(weights, [third, -(1 + ratio) * third, ratio * third])
    if order > 3:
        lead = (1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))
        fourth = lead * h * (h + h1) * (h + h1 + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3))
        q = h1 * (h1 + h2) / (h2 * (h2 + h3))
        shape = [1, -(1 + ratio + q), ratio + q * (1 + h2 / h3), -q * ratio]
        weights = _added(weights, [fourth * part for part in shape])
    return [h * weight for weight in weights]


def exponential(sigmas: Sequence[float], i: int, order: int) -> list[float]:
    """DEIS's (Zhang and Chen 2022): the slopes' polynomial in the diffusion's time, integrated with dsigma / dtime."""
    now, following = _time(sigmas[i]), _time(sigmas[i + 1])
    known = [_time(sigma) for sigma in sigmas[i - order + 1 : i + 1][::-1]]
    times = np.linspace(now, following, NODES)
    kept = np.exp(-times * (times * SLOPE / 2 + START))
    speed = (times * SLOPE + START) / 2 / np.sqrt(kept * (1 - kept))
    return [(following - now) * float((speed * basis).mean()) for basis in _lagrange(known, times)]


def _lagrange(known: Sequence[float], at: Nodes) -> Iterator[Nodes]:
    """For each known point the polynomial that is 1 there and 0 at the others."""
    for point in known:
        yield np.prod([(at - other) / (point - other) for other in known if other != point], axis=0)


def _added(weights: Sequence[float], terms: Sequence[float]) -> list[float]:
    padded = [*weights, *[0.0] * (len(terms) - len(weights))]
    return [weight + term for weight, term in zip(padded, terms, strict=True)]


def _time(sigma: float) -> float:
    return (math.sqrt(START**2 + 2 * SLOPE * math.log(1 + sigma**2)) - START) / SLOPE
