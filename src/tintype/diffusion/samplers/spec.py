"""What samplers are made of: questions to the model, moves that all share, an image's own noise; and running one.

Symbols, here and in the samplers: x the latent; s this step's sigma and t the next one; d the denoised latent at
(x, s); g = (x - d) / s, which is dx/dsigma in every parameterization; z fresh noise; space the parameterization.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pkgutil import resolve_name

import torch

from tintype.diffusion.devices import device_type
from tintype.diffusion.image_state import Answer, Ask, Sampler
from tintype.diffusion.schedules import SCHEDULES, Parameterization
from tintype.samplers import SCHEDULES as SCHEDULE_SPECS
from tintype.samplers import SamplerSpec  # other packages import it from here

#: Each call gives a fresh standard normal of the latents' shape, on their device.
Noise = Callable[[], torch.Tensor]
#: (x, sigmas falling to 0, parameterization, noise) → the sampler. One that needs fewer takes `*_` for the rest.
Run = Callable[[torch.Tensor, Sequence[float], Parameterization, Noise], Sampler]
#: Of the data in the trial run that counts evaluations: narrow, as data are given a prompt.
VARIANCE = 0.1


def start(
    spec: SamplerSpec, x: torch.Tensor, sigmas: Sequence[float], space: Parameterization, noise: Noise
) -> Sampler:
    """Run the sampler; on a schedule without steps it returns x."""
    if len(sigmas) > 1:
        x = yield from generator(spec)(x, sigmas, space, noise)
    return x


def generator(spec: SamplerSpec) -> Run:
    """The function that the row names, or that another package gave."""
    found: Run = resolve_name(f"{__package__}.{spec.run}") if isinstance(spec.run, str) else spec.run
    return found


def count(spec: SamplerSpec, sigmas: Sequence[float], space: Parameterization) -> int:
    """Model evaluations on this schedule; of an adaptive sampler an estimate."""
    return spec.count(len(sigmas) - 1) if spec.evaluations else _trial(spec, sigmas, space)


def _trial(spec: SamplerSpec, sigmas: Sequence[float], space: Parameterization) -> int:
    """How many it makes on a latent of one element, with data normally distributed around 0."""
    x = torch.full((1, 1, 1, 1), sigmas[0])
    sampler = start(spec, x, sigmas, space, lambda: torch.ones_like(x))
    evaluations = 0
    try:
        ask = next(sampler)
        while True:
            evaluations += 1
            alpha = space.alpha(ask.level)
            d = alpha * VARIANCE / (alpha**2 * VARIANCE + ask.level**2) * ask.x
            ask = sampler.send(Answer(d, d))
    except StopIteration:
        return evaluations


def plan(spec: SamplerSpec, schedule: str, steps: int, strength: float, space: Parameterization) -> list[float]:
    """The sigmas of a request, falling to 0: as a rule steps + 1 of them; only [0.0] at strength 0.

    A strength below 1 takes the last `steps` steps of a schedule of steps / strength (KSampler's meaning).
    """
    if strength <= 0:
        return [0.0]
    total = steps if strength >= 1 else int(min(steps / strength, max(steps, SCHEDULE_SPECS[schedule].max_steps)))
    sigmas = SCHEDULES[schedule](total + spec.drops_penultimate, space)
    if spec.drops_penultimate:
        del sigmas[-2]
    return sigmas if strength >= 1 else sigmas[-(steps + 1) :]


def noise_stream(seed: int, shape: Sequence[int], device: torch.device) -> Noise:
    """Float32 noise from a generator of its own on the CPU, so that a seed means the same image on every device."""
    generator = torch.Generator().manual_seed(seed)
    # Copies from pinned memory are asynchronous.
    pinned = device_type(device).pinned
    return lambda: torch.randn(shape, generator=generator, pin_memory=pinned).to(device, non_blocking=pinned)


def denoised(x: torch.Tensor, s: float) -> Sampler:
    """Ask for d."""
    return (yield Ask(x, s)).guided


def slope(x: torch.Tensor, s: float) -> Sampler:
    """Ask for g (Karras et al. 2022, eqs. 1 and 3)."""
    return (x - (yield from denoised(x, s))) / s


def blend(x: torch.Tensor, d: torch.Tensor, s: float, t: float) -> torch.Tensor:
    """Where x is at t if d doesn't change on the way: Euler's step, DDIM and DPM-Solver++(1) are all this one."""
    return t / s * x + (1 - t / s) * d


def ancestral(s: float, t: float) -> tuple[float, float]:
    """The sigma to step down to and the noise to add, to land at t (Song et al. 2020 (DDIM), eq. 16 at eta 1)."""
    down = t * t / s
    return down, math.sqrt(t * t - down * down)


def renoise(space: Parameterization, s: float, t: float) -> tuple[float, float, float]:
    """`ancestral` in any parameterization: the sigma to step down to, and x's factor and the noise's to return to t."""
    down, _ = ancestral(s, t)
    keep = space.alpha(t) / space.alpha(down)
    return down, keep, math.sqrt(t * t - (keep * down) ** 2)
