"""diffusers' schedulers as samplers, for any model that predicts noise or v; each steps as in diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property
from inspect import signature
from pkgutil import resolve_name
from typing import Any

import torch

from tintype.diffusion.devices import send, unwaited
from tintype.diffusion.image_state import Ask, Sampler
from tintype.samplers import SCHEDULERS

#: Defaults of the published weights, where the libraries' are for pixels: latents exceed ±1, PNDM skips its four
#: Runge-Kutta steps, and the last step ends at the training's first level. The weights may override the latter.
LATENT_DEFAULTS = {"clip_sample": False, "skip_prk_steps": True, "set_alpha_to_one": False}
#: (latents after a step, timestep that they are at; None after the last) → latents to go on with. Inpainting puts
#: what it keeps back here, noised by `Timesteps.noised` to that timestep.
Between = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


class Schedulers:
    """The schedulers, for weights that were trained as `config` says (`checkpoints.scheduler`)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = {**LATENT_DEFAULTS, **config}
        #: By name, of which each image gets a copy.
        self._unset: dict[str, Any] = {}

    def timesteps(self, name: str, steps: int, steps_run: int | None = None) -> Timesteps:
        """`steps` steps of the scheduler with this name on the wire; of these the last `steps_run`, all if None."""
        if name not in self._unset:  # some take a tenth of a second to make
            self._unset[name] = scheduler_class(name).from_config(self.config, **SCHEDULERS[name].settings)
        scheduler = deepcopy(self._unset[name])
        scheduler.set_timesteps(steps)
        return Timesteps(scheduler, steps, steps_run, sends_sigmas=SCHEDULERS[name].sends_sigmas)

    def denoised(self, ask: Ask, predicted: torch.Tensor) -> torch.Tensor:
        """x0, from x = sqrt(a) x0 + sqrt(1 - a) e: schedulers scale their questions to that."""
        kept = self._signal[round(ask.level)]
        signal, noise = kept.sqrt(), (1 - kept).sqrt()
        if self.config.get("prediction_type") == "v_prediction":
            return signal * ask.x - noise * predicted
        return (ask.x - noise * predicted) / signal

    @cached_property
    def _signal(self) -> torch.Tensor:
        """DDPM's a at each timestep of the training, the cumulative product of its alphas."""
        kept: torch.Tensor = scheduler_class("DDIM").from_config(self.config).alphas_cumprod
        return kept


class Timesteps:
    """A scheduler that is set for one image, whose history it holds, and the timesteps that it runs."""

    def __init__(self, scheduler: Any, steps: int, steps_run: int | None, *, sends_sigmas: bool = False) -> None:
        self.scheduler = scheduler
        self._sends_sigmas = sends_sigmas
        self.timesteps: torch.Tensor = scheduler.timesteps
        if steps_run is not None:
            start = max(0, steps - steps_run) * scheduler.order
            self.timesteps = self.timesteps[start:]
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(start)

    def until(self, fraction: float) -> None:
        """Leave out the steps after this fraction of the training's time, 0–1, as `denoising_end` of diffusers does."""
        self.timesteps = self.timesteps[: int((self.timesteps >= self._moment(fraction)).sum())]

    def since(self, fraction: float) -> None:
        """Leave out the steps before it, as `denoising_start` does; a step of two evaluations is not divided."""
        left = int((self.timesteps < self._moment(fraction)).sum())
        if self.scheduler.order == 2 and left and left % 2 == 0:
            left += 1
        start = len(self.timesteps) - left
        self.timesteps = self.timesteps[start:]
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(start)

    def _moment(self, fraction: float) -> int:
        whole: int = self.scheduler.config.num_train_timesteps
        return round(whole - fraction * whole)

    def __len__(self) -> int:
        """Model evaluations."""
        return len(self.timesteps)

    def start(self, noise: torch.Tensor, latents: torch.Tensor | None = None) -> torch.Tensor:
        """Where to begin: pure noise, or latents, (N, C, h, w), with noise as of the first timestep, if any is run."""
        if latents is None:
            begin: torch.Tensor = noise * self.scheduler.init_noise_sigma
            return begin
        if not len(self):  # of strength 0
            return latents
        return self.noised(latents, noise, self.timesteps[0])

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Latents with noise as of one of `timesteps`: the first before `run`, the next one between its steps."""
        with unwaited(latents.device):
            noisy: torch.Tensor = self.scheduler.add_noise(latents, noise, timestep[None])
        return noisy

    def run(self, x: torch.Tensor, generator: torch.Generator, between: Between | None = None) -> Sampler:
        """Asks for what the model predicts, at timesteps; draws noise on the way, if any, from `generator`."""
        extra = {"generator": generator} if "generator" in signature(self.scheduler.step).parameters else {}
        if self._sends_sigmas:
            self.scheduler.sigmas = send(self.scheduler.sigmas, x.device)
        for index, timestep in enumerate(self.timesteps):
            answer = yield Ask(self.scheduler.scale_model_input(x, timestep), float(timestep))
            with unwaited(x.device):
                x = self.scheduler.step(answer.guided, timestep, x, return_dict=False, **extra)[0]
            if between is not None:
                x = between(x, self.timesteps[index + 1] if index + 1 < len(self) else None)
        return x


def scheduler_class(name: str) -> Any:
    """The class of diffusers for a name on the wire; KeyError if there is none."""
    return resolve_name(f"diffusers.schedulers.{SCHEDULERS[name].run}")
