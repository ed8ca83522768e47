"""Noise schedules: by hand, and over the whole range that a request may ask for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tintype.diffusion.samplers.spec import plan
from tintype.diffusion.schedules import SCHEDULES, Epsilon, Flow, Parameterization, shifted
from tintype.samplers import SAMPLERS
from tintype.samplers import SCHEDULES as TABLE

FLOW, EPSILON = Flow(3.0), Epsilon()
EULER, DPM_2 = SAMPLERS["euler"], SAMPLERS["dpm_2"]


def test_sgm_uniform_by_hand() -> None:
    lowest = 3 * 0.001 / 1.002
    times = [1.0, 1 - (1 - lowest) / 2]
    expected = [3 * time / (1 + 2 * time) for time in times]
    assert plan(EULER, "sgm_uniform", 2, 1.0, FLOW) == pytest.approx([*expected, 0.0], rel=1e-12)
    assert shifted(0.5, 3.0) == 0.75


@pytest.mark.parametrize("shift", [0.5, 1.0, 1.1, 1.7, 3.0, 6.3, 12.0])
def test_a_flow_begins_at_exactly_1(shift: float) -> None:
    assert Flow(shift).table[-1] == 1.0


@pytest.mark.parametrize("space", [FLOW, EPSILON])
@pytest.mark.parametrize("sigma", [0.01, 0.3, 0.99])
def test_sigma_is_the_inverse_of_log_snr(space: Parameterization, sigma: float) -> None:
    assert space.sigma(space.log_snr(sigma)) == pytest.approx(sigma, rel=1e-12)


@pytest.mark.parametrize("space", [FLOW, EPSILON])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_falls_to_0(name: str, space: Parameterization) -> None:
    for steps in (*range(1, 101), 999, 1000, 1001, 3000):
        sigmas = SCHEDULES[name](steps, space)
        assert sigmas[-1] == 0.0
        assert sigmas[-2] > 0
        assert all(s > t for s, t in pairwise(sigmas)), steps
        if name != "ddim_uniform":
            assert sigmas[0] == pytest.approx(space.table[-1], rel=1e-12)
            assert len(sigmas) <= steps + 1


def test_ddim_uniform_counts_as_it_does() -> None:
    """One step barely above 0; often more steps than asked for."""
    assert SCHEDULES["ddim_uniform"](1, FLOW) == [FLOW.table[1], 0.0]
    assert len(SCHEDULES["ddim_uniform"](85, FLOW)) == 92
    assert len(SCHEDULES["ddim_uniform"](20, FLOW)) == 21


@pytest.mark.parametrize(("steps", "strength", "total"), [(20, 0.7, 28), (4, 0.3, 13), (1, 0.4, 2), (100, 1.0, 100)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_strength_takes_the_end_of_a_longer_schedule(name: str, steps: int, strength: float, total: int) -> None:
    assert plan(EULER, name, steps, strength, FLOW) == SCHEDULES[name](total, FLOW)[-(steps + 1) :]


@pytest.mark.parametrize(("strength", "total"), [(1.0, 20), (0.7, 28)])
def test_some_samplers_leave_out_the_last_sigma_above_0(strength: float, total: int) -> None:
    whole = SCHEDULES["normal"](total + 1, FLOW)
    assert plan(DPM_2, "normal", 20, strength, FLOW) == [*whole[:-2], 0.0][-21:]


@pytest.mark.parametrize("strength", [1e-320, 1e-6, 0.01])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_tiny_strength_costs_no_memory(name: str, strength: float) -> None:
    for method in (EULER, DPM_2):
        sigmas = plan(method, name, 100, strength, FLOW)
        assert len(sigmas) == 101
        assert all(s > t for s, t in pairwise(sigmas))
        assert sigmas[0] < 0.3
    assert TABLE[name].max_steps < 100_000


@pytest.mark.parametrize("name", SCHEDULES)
def test_strength_nothing(name: str) -> None:
    assert plan(EULER, name, 20, 0.0, FLOW) == [0.0]
