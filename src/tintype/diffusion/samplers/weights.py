"""What the slopes of the last steps weigh in the next one.

Each function is given the sigmas, the step's index i and the order; its weights are for the newest slope first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

Nodes = np.ndarray[tuple[int], np.dtype[np.float64]]

#: Adams-Bashforth's weights for steps of equal length, by order.
ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
#: Nodes on [-1, 1] with the same mean as the whole, up to cubics (Gauss-Legendre).
GAUSS = np.array([-1.0, 1.0]) / math.sqrt(3)
#: The variance-preserving process that DEIS takes its times from (Song et al. 2021, VP SDE).
LOWEST, HIGHEST, FIRST_TIME = 0.002, 80.0, 1e-3
SLOPE = 2 * (math.log(LOWEST**2 + 1) / FIRST_TIME - math.log(HIGHEST**2 + 1)) / (FIRST_TIME - 1)
START = math.log(HIGHEST**2 + 1) - SLOPE / 2
#: So many, and both ends among them: the reference's sum, not quite the integral.
NODES = 10_000


def alike(sigmas: Sequence[float], i: int, order: int) -> list[float]:
    """Adams-Bashforth's, as if all steps were as long as this one."""
    return [(sigmas[i + 1] - sigmas[i]) * weight for weight in ADAMS_BASHFORTH[order - 1]]


def adams(sigmas: Sequence[float], i: int, order: int) -> list[float]:
    """Adams-Bashforth's for steps of any length: the slopes' polynomial, integrated exactly."""
    s, t = sigmas[i], sigmas[i + 1]
    nodes = (s + t) / 2 + (t - s) / 2 * GAUSS
    return [(t - s) * float(basis.mean()) for basis in _lagrange(sigmas[i - order + 1 : i + 1][::-1], nodes)]


def unlike(sigmas: Sequence[float], i: int, order: int) -> list[float]:
    """Adams-Bashforth's for steps of any length as iPNDM's reference has them, slips included: pictures depend on them.

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
