"""DPM-Solver of orders 1 to 3 (Lu et al. 2022a) in T = -ln sigma, at fixed and at adaptive steps.

Neither goes to 0: both end at the schedule's last sigma above it, and leave that much noise in the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from tintype.diffusion.image_state import Sampler
from tintype.diffusion.samplers.spec import slope

#: dpm_adaptive: the first step, the error allowed absolutely and relatively, when to accept, how near is there.
FIRST_STEP, ABSOLUTE, RELATIVE, ACCEPT, NEAR = 0.05, 0.0078, 0.05, 0.81, 1e-5


def dpm_fast(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """DPM-Solver-fast (Lu et al. 2022a): as many third-order steps as the evaluations allow."""
    n = len(sigmas) - 1
    times = np.linspace(-math.log(sigmas[0]), -math.log(sigmas[n - 1]), n // 3 + 2).tolist()
    thirds, rest = divmod(n, 3)
    orders = [3] * thirds + [rest] if rest else [3] * (thirds - 1) + [2, 1]
    for order, (now, end) in zip(orders, pairwise(times), strict=True):
        e = yield from slope(x, math.exp(-now))
        if order == 1:
            x = _first(x, now, end - now, e)
        elif order == 2:
            x = _second(x, now, end - now, e, (yield from _ahead(x, now, (end - now) / 2, e)), 1 / 2)
        else:
            e1 = yield from _ahead(x, now, (end - now) / 3, e)
            x = yield from _third(x, now, end - now, e, e1)
    return x


def dpm_adaptive(x: torch.Tensor, sigmas: Sequence[float], *_: object) -> Sampler:
    """DPM-Solver-23 (Lu et al. 2022a, appendix C): steps as long as orders 2 and 3 agree."""
    now, end = -math.log(sigmas[0]), -math.log(sigmas[-2])
    h = FIRST_STEP
    scale = x.abs()
    while now < end - NEAR:
        step = min(h, end - now)
        e = yield from slope(x, math.exp(-now))
        e1 = yield from _ahead(x, now, step / 3, e)
        low = _second(x, now, step, e, e1, 1 / 3)
        high = yield from _third(x, now, step, e, e1)
        allowed = (RELATIVE * torch.maximum(low.abs(), scale)).clamp(min=ABSOLUTE)
        # The one value that any sampler waits for: the next step depends on the image.
        error = float(((low - high) / allowed).square().mean().sqrt())
        if math.isnan(error):
            return high  # No step would be short enough. That it isn't finite is for the caller to find.
        factor = 1 + math.atan((error + 1e-8) ** (-1 / 3) - 1)
        if factor >= ACCEPT:
            x, scale, now = high, low.abs(), now + step
        h *= factor
    return x


def _ahead(x: torch.Tensor, now: float, h: float, e: torch.Tensor) -> Sampler:
    """The slope after a first-order step of h."""
    return (yield from slope(_first(x, now, h, e), math.exp(-(now + h))))


def _first(x: torch.Tensor, now: float, h: float, e: torch.Tensor) -> torch.Tensor:
    """DPM-Solver-1 (eq. 3.7): x - e^-(T + h) (e^h - 1) e."""
    return x - math.exp(-(now + h)) * math.expm1(h) * e


def _second(x: torch.Tensor, now: float, h: float, e: torch.Tensor, e1: torch.Tensor, r: float) -> torch.Tensor:
    """DPM-Solver-2 (algorithm 1, for any r): e1 is the slope after r h."""
    return _first(x, now, h, e + (e1 - e) / (2 * r))


def _third(x: torch.Tensor, now: float, h: float, e: torch.Tensor, e1: torch.Tensor) -> Sampler:
    """DPM-Solver-3 (algorithm 2): e1 is the slope after h / 3; asks for the one after 2 h / 3."""
    x2 = _bent(x, now, 2 / 3 * h, e, 2 * (e1 - e))
    e2 = yield from slope(x2, math.exp(-(now + 2 / 3 * h)))
    return _bent(x, now, h, e, 1.5 * (e2 - e))


def _bent(x: torch.Tensor, now: float, h: float, e: torch.Tensor, bend: torch.Tensor) -> torch.Tensor:
    """A first-order step and the integral of a slope that grows by `bend` on the way."""
    return _first(x, now, h, e) - math.exp(-(now + h)) * (math.expm1(h) / h - 1) * bend
