"""UniPC: a predictor, and a corrector that uses the next step's evaluation (Zhao et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from tintype.diffusion.image_state import Sampler
from tintype.diffusion.samplers.spec import blend, denoised
from tintype.diffusion.schedules import Parameterization

#: UniPC can't go to 0: its last step ends here.
LAST = 0.001


def uni_pc(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, *_: object) -> Sampler:
    """UniPC-3 with B1(h) = h (Zhao et al. 2023, theorem 3.1); h is negative, as the model predicts data."""
    return _uni_pc(x, sigmas, space, lambda h: h)


def uni_pc_bh2(x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, *_: object) -> Sampler:
    """UniPC-3 with B2(h) = e^h - 1 (Zhao et al. 2023, theorem 3.1)."""
    return _uni_pc(x, sigmas, space, math.expm1)


def _uni_pc(
    x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, scale: Callable[[float], float]
) -> Sampler:
    """In -ln sigma for flow models too; a single step is too short for it, and gives x back."""
    sigmas = [*sigmas[:-1], LAST]
    n = len(sigmas) - 1
    known = [(yield from denoised(x, sigmas[0]))]
    if n == 1:
        # The reference's latents have variance 1 inside: without a step, this is all that happens to them.
        x = x * math.sqrt((1 + LAST**2) / (1 + sigmas[0] ** 2))
    for k in range(1, n + 1) if n > 1 else ():
        # The order rises with the history, and falls again towards the end.
        order = min(k, 3, n - 1, n + 1 - k)
        s, t = sigmas[k - 1], sigmas[k]
        h = math.log(t / s)
        ratios = [math.log(sigmas[k - 1 - j] / s) / h for j in range(1, order)]
        changes = [(d - known[0]) / ratio for d, ratio in zip(known[1:], ratios, strict=False)]
        predictor, corrector = _weights(ratios, h, scale(h))
        base = blend(x, known[0], s, t)
        x = base - _weighted(predictor, changes)
        if k < n:
            d = yield from denoised(x, t)
            x = base - _weighted(corrector, [*changes, d - known[0]])
            known = [d, *known][:3]
    # The reference scales a flow's data up by what it takes the last sigma to be.
    return x / space.alpha(LAST)


def _weights(ratios: Sequence[float], h: float, b: float) -> tuple[list[float], list[float]]:
    """The predictor's and the corrector's, times B(h): what solves R rho = phi / B (Zhao et al. 2023, theorem 3.1)."""
    order = len(ratios) + 1
    phi = math.expm1(h) / h - 1
    right = []
    for i in range(1, order + 1):
        right.append(phi * math.factorial(i) / b)
        phi = phi / h - 1 / math.factorial(i + 1)
    left = np.vander([*ratios, 1.0], increasing=True).T
    # With one unknown the paper takes 1/2, which is right in the limit of small steps.
    predictor = np.linalg.solve(left[:-1, :-1], right[:-1]) if order > 2 else np.full(order - 1, 0.5)
    corrector = np.linalg.solve(left, right) if order > 1 else np.full(1, 0.5)
    return (b * predictor).tolist(), (b * corrector).tolist()


def _weighted(weights: Sequence[float], changes: Sequence[torch.Tensor]) -> torch.Tensor | float:
    return sum((weight * change for weight, change in zip(weights, changes, strict=True)), 0.0)
