"""Parameterization of the noising process, x = alpha data + sigma noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

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
