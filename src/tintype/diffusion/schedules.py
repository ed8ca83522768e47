"""The noising process of a family's latents, x = alpha data + sigma noise, and its schedules.

A schedule is the sigmas that a sampler steps through, as host doubles falling to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Protocol

import numpy as np
import torch

from tintype import samplers

TRAINING_STEPS = 1000


class Parameterization(Protocol):
    """Of a family's latents."""

    @property
    def table(self) -> Sequence[float]:
        """Sigmas of the training steps, rising."""

    @property
    def highest(self) -> float:
        """The highest sigma whose log-SNR is used."""

    def alpha(self, sigma: float) -> float:
        """The factor of the data in x."""

    def log_snr(self, sigma: float) -> float:
        """Lambda, ln(alpha / sigma): rising while sigma falls."""

    def sigma(self, log_snr: float) -> float:
        """The inverse of `log_snr`."""

    def evenly(self, points: int) -> list[float]:
        """Falling sigmas at that many training times, equally spaced from the last to the first."""

    def start(self, noise: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """Latents with as much noise as a schedule that begins at `sigma` expects."""


@dataclass(frozen=True)
class Flow:
    """Rectified flow (Liu et al. 2022, eq. 1): x = (1 - sigma) data + sigma noise."""

    shift: float

    @cached_property
    def table(self) -> Sequence[float]:
        return tuple(shifted(step / TRAINING_STEPS, self.shift) for step in range(1, TRAINING_STEPS + 1))

    @property
    def highest(self) -> float:
        return shifted(1 - 1e-4, self.shift)

    def alpha(self, sigma: float) -> float:
        return 1 - sigma

    def log_snr(self, sigma: float) -> float:
        return math.log((1 - sigma) / sigma)

    def sigma(self, log_snr: float) -> float:
        return 1 / (1 + math.exp(log_snr))

    def evenly(self, points: int) -> list[float]:
        # The lower end is the smallest sigma, not its time: the reference shifts it twice.
        return [shifted(time, self.shift) for time in np.linspace(1.0, self.table[0], points).tolist()]

    def start(self, noise: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        return (1 - sigma) * latents + sigma * noise


@dataclass(frozen=True)
class Epsilon:
    """Variance-exploding coordinates of a model that predicts noise (Karras et al. 2022): x = data + sigma noise."""

    first_beta: float = 0.00085
    last_beta: float = 0.012

    @cached_property
    def table(self) -> Sequence[float]:
        betas = np.linspace(math.sqrt(self.first_beta), math.sqrt(self.last_beta), TRAINING_STEPS) ** 2
        kept = np.cumprod(1 - betas)
        return tuple(np.sqrt((1 - kept) / kept).tolist())

    @property
    def highest(self) -> float:
        return math.inf

    def alpha(self, sigma: float) -> float:  # noqa: ARG002 - the same at every sigma
        return 1.0

    def log_snr(self, sigma: float) -> float:
        return -math.log(sigma)

    def sigma(self, log_snr: float) -> float:
        return math.exp(-log_snr)

    def evenly(self, points: int) -> list[float]:
        steps = np.linspace(TRAINING_STEPS - 1, 0, points)
        logs = np.interp(steps, np.arange(TRAINING_STEPS), np.log(self.table))
        return [math.exp(log) for log in logs.tolist()]

    def start(self, noise: torch.Tensor, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        # From the very top, data of variance 1 is still in what the model was trained on as pure noise.
        top = sigma >= self.table[-1] * (1 - 1e-5)
        return latents + (math.sqrt(1 + sigma**2) if top else sigma) * noise


def shifted(time: float, shift: float) -> float:
    """Rectified flow's sigma at a time in 0–1, moved towards noise for large images (Esser et al. 2024, eq. 23)."""
    # In this form it is exactly 1 at time 1, whatever the shift.
    return shift * time / (shift * time + (1 - time))


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


#: The functions above, by the names of the table.
SCHEDULES: dict[str, Callable[[int, Parameterization], list[float]]] = {
    name: globals()[name] for name in samplers.SCHEDULES
}
