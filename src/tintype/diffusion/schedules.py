"""Noise schedules: the sigmas that a sampler steps through, as host doubles falling to 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby

import numpy as np

from tintype.diffusion.samplers.parameterization import TRAINING_STEPS, Parameterization
from tintype.diffusion.samplers.spec import SamplerSpec

#: Max steps of a schedule that a low strength cuts short: lower strengths begin where this one does.
MAX_STEPS = 10_000


def karras(steps: int, space: Parameterization) -> list[float]:
    """Evenly spaced in sigma^(1/7) (Karras et al. 2022, eq. 5)."""
    first, last = space.table[-1] ** (1 / 7), space.table[0] ** (1 / 7)
    return [(first + ramp * (last - first)) ** 7 for ramp in np.linspace(0, 1, steps).tolist()] + [0.0]


def exponential(steps: int, space: Parameterization) -> list[float]:
    """Evenly spaced in ln sigma."""
    first, last = math.log(space.table[-1]), math.log(space.table[0])
    return [math.exp(log) for log in np.linspace(first, last, steps).tolist()] + [0.0]


def normal(steps: int, space: Parameterization) -> list[float]:
    """Evenly spaced in training time, both ends included."""
    return [*space.evenly(steps), 0.0]


def sgm_uniform(steps: int, space: Parameterization) -> list[float]:
    """Evenly spaced in training time, with the step to the lower end going to 0 instead."""
    return [*space.evenly(steps + 1)[:-1], 0.0]


def simple(steps: int, space: Parameterization) -> list[float]:
    """Training steps at equal distances from the top down."""
    # More steps than the table has would repeat sigmas, and a step of no length is a division by zero.
    stride = TRAINING_STEPS / min(steps, TRAINING_STEPS)
    return [space.table[-1 - int(i * stride)] for i in range(min(steps, TRAINING_STEPS))] + [0.0]


def ddim_uniform(steps: int, space: Parameterization) -> list[float]:
    """Training steps at equal whole distances from the bottom up (Song et al. 2020 (DDIM), "linear").

    Often more steps than asked for; the highest is not the top.
    """
    return [*space.table[1 :: max(TRAINING_STEPS // steps, 1)][::-1], 0.0]


def beta(steps: int, space: Parameterization) -> list[float]:
    """Training steps at a beta distribution's quantiles: more at both ends (Lee et al. 2024, "Beta Sampling")."""
    from scipy.special import betaincinv  # type: ignore[import-untyped]  # noqa: PLC0415 - half a second, no types

    quantiles = betaincinv(0.6, 0.6, 1 - np.arange(steps) / steps)
    indices = np.rint(quantiles * (TRAINING_STEPS - 1)).astype(int).tolist()
    return [space.table[index] for index, _ in groupby(indices)] + [0.0]


SCHEDULES: dict[str, Callable[[int, Parameterization], list[float]]] = {
    "normal": normal,
    "karras": karras,
    "exponential": exponential,
    "sgm_uniform": sgm_uniform,
    "simple": simple,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
}


def plan(spec: SamplerSpec, schedule: str, steps: int, strength: float, space: Parameterization) -> list[float]:
    """The sigmas of a request, falling to 0: as a rule steps + 1 of them; only [0.0] at strength 0.

    A strength below 1 takes the last `steps` steps of a schedule of steps / strength (KSampler's meaning).
    """
    if strength <= 0:
        return [0.0]
    total = steps if strength >= 1 else int(min(steps / strength, max(steps, MAX_STEPS)))
    sigmas = SCHEDULES[schedule](total + spec.drops_penultimate, space)
    if spec.drops_penultimate:
        del sigmas[-2]
    return sigmas if strength >= 1 else sigmas[-(steps + 1) :]
