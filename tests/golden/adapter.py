"""The product's samplers and schedules in the signatures that check.py documents."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

import torch

from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.samplers import find_sampler
from tintype.diffusion.samplers.spec import count, plan, start
from tintype.diffusion.schedules import SCHEDULES, Epsilon, Flow, Parameterization
from tintype.diffusion.text import Conditioning

SPACES: dict[str, Parameterization] = {"eps": Epsilon(), "flow": Flow(shift=3.0)}
NOTHING = Conditioning(torch.zeros(1, 1, 1))


def sample(
    denoise_fn: Callable[[torch.Tensor, float, bool], torch.Tensor],
    noise: torch.Tensor,
    sampler: str,
    scheduler: str,
    steps: int,
    denoise: float,
    model_type: str,
    noise_fn: Callable[[int], torch.Tensor],
    latent: torch.Tensor,
    cfg: float,
) -> tuple[list[float], torch.Tensor]:
    """One picture, its noise and its denoiser given."""
    space, method = SPACES[model_type], find_sampler(sampler)
    levels = plan(method, scheduler, steps, denoise, space)
    draws = itertools.count()
    x = space.start(noise, latent, levels[0])
    running = start(method, x, levels, space, lambda: noise_fn(next(draws)))
    guidance = cfg * method.guidance_factor
    picture = ImageState(cast(Family, None), running, NOTHING, NOTHING, guidance, count(method, levels, space))
    while picture.latents is None:
        x, sigma = picture.ask.x, picture.ask.level
        picture.answer(torch.cat([denoise_fn(x, sigma, False), denoise_fn(x, sigma, True)]))
    return levels, picture.latents


def sigmas(model_type: str, scheduler: str, steps: int) -> list[float]:
    """A whole schedule."""
    return SCHEDULES[scheduler](steps, SPACES[model_type])
