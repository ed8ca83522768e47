"""Samplers and schedules of the SD 3 family on a denoiser whose answer is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from tintype.catalog.parameters import READY_SAMPLERS, READY_SCHEDULES
from tintype.diffusion.denoising import Answer
from tintype.diffusion.samplers import SAMPLERS
from tintype.diffusion.schedules import LONGEST, SCHEDULES, shifted, sigmas

SHIFT = 3.0
#: Data ~ N(MEAN, SPREAD²): then x(s) = (1 - s) MEAN + sqrt((1 - s)² SPREAD² + s²) z all along the way.
MEAN, SPREAD = 0.7, 0.4


def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """E[data | x] under x = (1 - sigma) data + sigma noise."""
    clean = 1 - sigma
    variance = clean**2 * SPREAD**2 + sigma**2
    return MEAN + clean * SPREAD**2 / variance * (x - clean * MEAN)


def run(name: str, levels: Sequence[float], noise: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """The sampler's end, and the levels at which it asked."""
    asked = []
    sampler = SAMPLERS[name](noise, levels)
    answer = None
    while True:
        try:
            ask = sampler.send(answer)
        except StopIteration as finished:
            return finished.value, asked
        asked.append(ask.level)
        answer = Answer(denoise(ask.x, ask.level), None)


def exact(sigma: float, noise: torch.Tensor) -> torch.Tensor:
    """Where the way from this noise is at `sigma`."""
    return (1 - sigma) * MEAN + math.sqrt((1 - sigma) ** 2 * SPREAD**2 + sigma**2) * noise


def error(name: str, steps: int) -> float:
    """From sigma 0.9 to 0.1 in equal steps: the jump to 0 at the end of a real schedule would hide the order."""
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    levels = torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64).tolist()
    made, _ = run(name, levels, exact(levels[0], noise))
    return float((made - exact(levels[-1], noise)).abs().max())


def test_the_catalogue_promises_what_is_there() -> None:
    assert set(READY_SAMPLERS) == SAMPLERS.keys()
    assert set(READY_SCHEDULES) == SCHEDULES.keys()


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("dpmpp_2m", 2)])
def test_convergence_order(name: str, order: int) -> None:
    """Four times the steps make the error at least nearly 4 to the power of the order times smaller."""
    assert error(name, 40) / error(name, 160) > 0.7 * 4**order
    assert error(name, 160) < 0.02


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_whole_schedule_ends_at_the_data(name: str) -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    made, _ = run(name, sigmas("sgm_uniform", 100, 1.0, SHIFT), noise)
    assert (made - (MEAN + SPREAD * noise)).abs().max() < 0.08


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_evaluation_per_step_at_each_sigma(name: str) -> None:
    levels = sigmas("sgm_uniform", 7, 1.0, SHIFT)
    _, asked = run(name, levels, torch.randn(1, 4, 8, 8))
    assert asked == levels[:-1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_float32_stays_float32(name: str) -> None:
    made, _ = run(name, sigmas("sgm_uniform", 3, 1.0, SHIFT), torch.randn(1, 4, 8, 8))
    assert made.dtype == torch.float32


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_returns_the_denoised_latent(name: str) -> None:
    noise = torch.randn(1, 4, 8, 8)
    made, _ = run(name, [1.0, 0.0], noise)
    torch.testing.assert_close(made, denoise(noise, 1.0))


def test_sgm_uniform_by_hand() -> None:
    lowest = 3 * 0.001 / 1.002
    times = [1.0, 1 - (1 - lowest) / 2]
    expected = [3 * time / (1 + 2 * time) for time in times]
    assert sigmas("sgm_uniform", 2, 1.0, SHIFT) == pytest.approx([*expected, 0.0], rel=1e-12)
    assert shifted(0.5, 3.0) == 0.75


@pytest.mark.parametrize(("steps", "strength", "total"), [(20, 0.7, 28), (4, 0.3, 13), (1, 0.4, 2), (100, 1.0, 100)])
def test_strength_takes_the_end_of_a_longer_schedule(steps: int, strength: float, total: int) -> None:
    assert sigmas("sgm_uniform", steps, strength, SHIFT) == SCHEDULES["sgm_uniform"](total, SHIFT)[-(steps + 1) :]


@pytest.mark.parametrize("strength", [1e-300, 1e-6, 0.01])
def test_a_tiny_strength_costs_no_memory(strength: float) -> None:
    levels = sigmas("sgm_uniform", 100, strength, SHIFT)
    assert len(levels) == 101
    assert all(math.isfinite(level) for level in levels)
    assert levels[0] < 0.05
    assert LONGEST < 100_000


def test_strength_nothing() -> None:
    assert sigmas("sgm_uniform", 20, 0.0, SHIFT) == [0.0]
