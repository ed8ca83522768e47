"""Noise schedules: the sigmas that a sampler steps through, as host doubles."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

#: Steps of a schedule that is cut short by a low strength; beyond it nothing changes but memory.
LONGEST = 10_000
TRAINING_STEPS = 1000


def shifted(time: float, shift: float) -> float:
    """Rectified flow's sigma at a time in 0–1, moved towards noise for large pictures (Esser et al. 2024, eq. 23)."""
    return shift * time / (1 + (shift - 1) * time)


def sgm_uniform(steps: int, shift: float) -> list[float]:
    """Uniform in time, the last step going to 0 from one step above the end (`SAMPLERS.md`, Schedules)."""
    # The lower end is 1000 times the smallest sigma, not its time: the reference shifts it twice.
    lowest = shifted(1 / TRAINING_STEPS, shift)
    return [shifted(time, shift) for time in np.linspace(1.0, lowest, steps + 1)[:-1].tolist()] + [0.0]


SCHEDULES: dict[str, Callable[[int, float], list[float]]] = {"sgm_uniform": sgm_uniform}


def sigmas(name: str, steps: int, strength: float, shift: float) -> list[float]:
    """The sigmas of a request: steps + 1 of them, falling to 0; only [0.0] at strength 0.

    A strength below 1 takes the last `steps` steps of a schedule of steps / strength (KSampler's meaning).
    """
    if strength <= 0:
        return [0.0]
    total = steps if strength >= 1 else min(math.floor(steps / strength), max(steps, LONGEST))
    return SCHEDULES[name](total, shift)[-(steps + 1) :]
