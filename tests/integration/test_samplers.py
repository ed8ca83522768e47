"""Samplers on a denoiser whose answer is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from itertools import product

import pytest
import torch

from tintype.diffusion import samplers
from tintype.diffusion.image_state import Answer
from tintype.diffusion.samplers import find_sampler, other_samplers
from tintype.diffusion.samplers.schedulers import Schedulers
from tintype.diffusion.samplers.spec import Noise, count, generator, noise_stream, plan, start
from tintype.diffusion.samplers.unipc import LAST
from tintype.diffusion.schedules import SCHEDULES, Epsilon, Flow, Parameterization
from tintype.samplers import SAMPLERS, SCHEDULERS, SamplerSpec

FLOW, EPSILON = Flow(3.0), Epsilon()
#: One name for each method: several names are the same one.
METHODS = list({(method.run, method.guidance_factor): name for name, method in reversed(SAMPLERS.items())}.values())
STOCHASTIC = [name for name in METHODS if SAMPLERS[name].stochastic]
#: Those that leave the noise of the last sigma above 0.
NOISY = {"dpm_fast", "dpm_adaptive"}
#: Data ~ N(MEAN, SPREAD²): then x(s) = alpha MEAN + sqrt(alpha² SPREAD² + s²) z all along the way.
MEAN, SPREAD = 0.7, 0.4
#: Measured between sigmas above 0: multistep methods owe their second order to a start with Euler's step.
ORDERS = {
    "euler": 1, "euler_cfg_pp": 1, "heun": 2, "heunpp2": 1, "dpm_2": 2, "dpmpp_2m": 2, "lms": 2,
    "ipndm": 2, "ipndm_v": 2, "deis": 2, "dpm_fast": 3, "uni_pc": 3, "uni_pc_bh2": 3,
}  # fmt: skip


def denoise(x: torch.Tensor, sigma: float, space: Parameterization) -> torch.Tensor:
    """E[data | x] under x = alpha data + sigma noise."""
    alpha = space.alpha(sigma)
    return MEAN + alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * (x - alpha * MEAN)


def exact(sigma: float, noise: torch.Tensor, space: Parameterization) -> torch.Tensor:
    """Where the way from this noise is at `sigma`."""
    alpha = space.alpha(sigma)
    return alpha * MEAN + math.sqrt(alpha**2 * SPREAD**2 + sigma**2) * noise


def no_noise() -> torch.Tensor:
    raise AssertionError("a deterministic sampler draws nothing")


def run(
    method: SamplerSpec, levels: Sequence[float], x: torch.Tensor, space: Parameterization, noise: Noise = no_noise
) -> tuple[torch.Tensor, list[float]]:
    """The sampler's end, and the levels at which it asked."""
    asked = []
    sampler = start(method, x, levels, space, noise)
    answer = None
    while True:
        try:
            ask = sampler.send(answer)
        except StopIteration as finished:
            return finished.value, asked
        asked.append(ask.level)
        d = denoise(ask.x, ask.level, space)
        answer = Answer(d, d if method.needs_unconditional else None)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def error(name: str, steps: int, space: Parameterization) -> float:
    """Between two sigmas above 0: the jump to 0 at the end of a real schedule would hide the order."""
    z = normal(1, 4, 8, 8, dtype=torch.float64)
    end, scale = 0.1, 1.0
    if name.startswith("uni_pc"):
        # Its last sigma is always LAST, and it scales by alpha there.
        end, scale = LAST, space.alpha(LAST)
    geometric = name.startswith(("uni_pc", "dpm_fast"))
    ramp = [i / steps for i in range(steps + 1)]
    levels = [0.9 ** (1 - r) * end**r if geometric else 0.9 + (end - 0.9) * r for r in ramp]
    method = SAMPLERS[name]
    made, _ = run(method, [*levels, 0.0] if name in NOISY else levels, exact(0.9, z, space), space)
    return float((scale * made - exact(end, z, space)).abs().max())


@pytest.mark.parametrize("space", [FLOW, EPSILON])
@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_convergence_order(name: str, order: int, space: Parameterization) -> None:
    """Four times the steps make the error at least nearly 4 to the power of the order times smaller.

    With 100 and 400 dpm_fast has one step of order 1 left over; with 2 of them, or none, it would be less exact.
    """
    assert error(name, 100, space) / error(name, 400, space) > 0.6 * 4**order
    assert error(name, 100, space) < 0.02


def test_every_deterministic_sampler_has_its_order_measured() -> None:
    """But dpm_adaptive, which chooses its own steps; and euler_pp is euler."""
    assert set(METHODS) - ORDERS.keys() == {"dpm_adaptive", "euler_pp", *STOCHASTIC}


@pytest.mark.parametrize("space", [FLOW, EPSILON])
def test_dpm_adaptive_is_as_exact_as_it_says(space: Parameterization) -> None:
    z = normal(1, 4, 8, 8)
    levels = plan(SAMPLERS["dpm_adaptive"], "karras", 20, 1.0, space)
    made, _ = run(SAMPLERS["dpm_adaptive"], levels, exact(levels[0], z, space), space)
    assert (made - exact(levels[-2], z, space)).abs().max() < 0.05


def test_dpm_adaptive_gives_up_on_what_is_not_a_number() -> None:
    made, _ = run(SAMPLERS["dpm_adaptive"], [0.9, 0.1, 0.0], torch.full((1, 4, 2, 2), math.nan), FLOW)
    assert made.isnan().all()


@pytest.mark.parametrize("space", [FLOW, EPSILON])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_on_the_way_leaves_the_distribution_alone(name: str, space: Parameterization) -> None:
    if name == "lcm" or (name == "ddpm" and space is FLOW):
        pytest.skip("lcm wants a consistency model; ddpm adds a flow too much noise, as the reference does")
    start = noise_stream(1, (1, 4, 64, 64), torch.device("cpu"))
    levels = plan(SAMPLERS[name], "karras", 100, 1.0, space)
    made, _ = run(SAMPLERS[name], levels, exact(levels[0], start(), space), space, start)
    assert float(made.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(made.std()) == pytest.approx(SPREAD, rel=0.06)


@pytest.mark.parametrize("name", METHODS)
def test_a_whole_schedule_ends_at_the_data(name: str) -> None:
    """Without noise on the way each number has one right end; with it, it ends among the data."""
    x = normal(1, 4, 8, 8)
    method = SAMPLERS[name]
    levels = plan(method, "sgm_uniform", 100, 1.0, FLOW)
    made, _ = run(method, levels, x, FLOW, noise_stream(1, x.shape, x.device))
    if name in STOCHASTIC:
        assert (made - MEAN).abs().max() < 5 * SPREAD
    else:
        assert (made - (MEAN + SPREAD * x)).abs().max() < 0.08


#: Steps and strengths: the edges of what a request may ask for, and all between them.
EDGES = [(1, 1.0), (2, 1.0), (3, 1.0), (3, 0.01), (5, 0.7), (100, 1.0)]
ALL = [*product((1, 2, 3, 4, 5, 10, 50, 100), (0.01, 0.3, 0.7, 1.0))]


@pytest.mark.parametrize("wishes", [EDGES, pytest.param(ALL, marks=pytest.mark.nightly)], ids=["edges", "all"])
@pytest.mark.parametrize("name", METHODS)
def test_every_combination_is_finite_and_counted(name: str, wishes: Sequence[tuple[int, float]]) -> None:
    """Latents stay float32 and finite; evaluations are as announced, draws as documented: none for the last step."""
    method = SAMPLERS[name]
    x = normal(1, 1, 2, 2)
    for schedule, (steps, strength) in product(SCHEDULES, wishes):
        levels = plan(method, schedule, steps, strength, FLOW)
        drawn = []

        def noise(drawn: list[int] = drawn) -> torch.Tensor:
            drawn.append(1)
            return torch.full_like(x, 1 - len(drawn) % 3)

        made, asked = run(method, levels, FLOW.start(x, torch.ones_like(x), levels[0]), FLOW, noise)
        here = schedule, steps, strength
        assert made.dtype == torch.float32, here
        assert made.isfinite().all(), here
        assert made.abs().max() < 100, here
        if method.evaluations is not None:
            assert count(method, levels, FLOW) == len(asked), here
        draws = 2 if name.startswith("dpmpp_sde") else 1
        assert len(drawn) == (draws * (len(levels) - 2) if name in STOCHASTIC else 0), here


@pytest.mark.parametrize("steps", [1, 4, 20, 100])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_dpm_adaptives_evaluations_are_nearly_foreseen(schedule: str, steps: int) -> None:
    method = SAMPLERS["dpm_adaptive"]
    levels = plan(method, schedule, steps, 1.0, FLOW)
    _, asked = run(method, levels, normal(1, 4, 8, 8), FLOW)
    assert abs(count(method, levels, FLOW) - len(asked)) <= 6


@pytest.mark.parametrize("name", METHODS)
def test_one_step_returns_the_denoised_latent_or_says_that_it_does_not(name: str) -> None:
    x = normal(1, 4, 8, 8)
    method = SAMPLERS[name]
    made, _ = run(method, plan(method, "sgm_uniform", 1, 1.0, FLOW), x, FLOW)
    does_nothing = torch.allclose(made / made.std(), x / x.std(), atol=1e-5)
    assert does_nothing == (method.min_steps > 1)
    if not does_nothing:
        assert torch.allclose(made, denoise(x, 1.0, FLOW), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_no_steps_change_nothing(name: str) -> None:
    x = normal(1, 4, 8, 8)
    made, asked = run(SAMPLERS[name], [0.0], x, FLOW)
    assert made is x
    assert asked == []
    assert count(SAMPLERS[name], [0.0], FLOW) == 0


@pytest.mark.parametrize("name", METHODS)
def test_the_global_generator_does_not_matter(name: str) -> None:
    method = SAMPLERS[name]
    levels = plan(method, "karras", 6, 1.0, FLOW)
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.random.get_rng_state()
        noise = noise_stream(5, (1, 4, 8, 8), torch.device("cpu"))
        made.append(run(method, levels, noise(), FLOW, noise)[0])
        assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(*made)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_ask_and_draw_as_the_table_says(name: str) -> None:
    timesteps = Schedulers({"beta_schedule": "scaled_linear"}).timesteps(name, 8)
    dice = torch.Generator().manual_seed(1)
    state = dice.get_state()
    sampler = timesteps.run(timesteps.start(normal(1, 4, 8, 8)), dice)
    asks = [next(sampler)]
    with pytest.raises(StopIteration):
        while True:
            asks.append(sampler.send(Answer(asks[-1].x * 0.5, None)))
    assert len(asks) == len(timesteps) == SCHEDULERS[name].count(8)
    assert torch.equal(dice.get_state(), state) == (not SCHEDULERS[name].stochastic)


def test_a_stream_of_noise_is_its_seeds_own() -> None:
    one, same, other = (noise_stream(seed, (1, 4, 8, 8), torch.device("cpu")) for seed in (3, 3, 4))
    first = one()
    assert torch.equal(first, same())
    assert not torch.equal(first, one())
    assert not torch.equal(first, other())
    assert torch.equal(first, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)))


def test_cfg_pp_says_what_is_missing() -> None:
    sampler = start(SAMPLERS["euler_cfg_pp"], normal(1, 4, 8, 8), [1.0, 0.0], FLOW, no_noise)
    ask = next(sampler)
    with pytest.raises(TypeError, match="needs_unconditional"):
        sampler.send(Answer(ask.x, None))


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """What other packages offer."""
    offered: list[EntryPoint] = []
    monkeypatch.setattr(samplers, "entry_points", lambda group: [one for one in offered if one.group == group])
    other_samplers.cache_clear()
    yield offered
    other_samplers.cache_clear()


MINE = SamplerSpec(generator(SAMPLERS["euler"]), order=7)


def test_another_packages_sampler(offer: list[EntryPoint]) -> None:
    offer.append(EntryPoint("mine", f"{__name__}:MINE", "tintype.samplers"))
    assert find_sampler("mine") is MINE
    assert find_sampler("euler") is SAMPLERS["euler"]
    with pytest.raises(KeyError):
        find_sampler("nobodys")


@pytest.mark.parametrize(("name", "attribute"), [("euler", "MINE"), ("mine", "MEAN")])
def test_a_sampler_that_is_refused(offer: list[EntryPoint], name: str, attribute: str) -> None:
    offer.append(EntryPoint(name, f"{__name__}:{attribute}", "tintype.samplers"))
    with pytest.raises(TypeError, match=attribute):
        find_sampler("mine")
