"""Stable Diffusion 1.5: a UNet that predicts noise (or v), stepped by diffusers' own schedulers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from inspect import signature
from typing import Any

import torch

from tintype.core import ImageSpec
from tintype.diffusion.autoencoder import Autoencoder
from tintype.diffusion.conditioning import ClipEncoder, Lengths, Text
from tintype.diffusion.image_state import Ask, ImageState, Sampler
from tintype.diffusion.kit import Kit, channels_last
from tintype.diffusion.memory.activation import ForwardPass
from tintype.diffusion.memory.component import LoadedComponent
from tintype.diffusion.memory.estimate import MemoryEstimate, PassEstimate
from tintype.diffusion.prepared import Run, eagerly

#: Name on the wire → module and class in diffusers.schedulers, and what is set on top of the weights' configuration.
SCHEDULERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "DDIM": ("scheduling_ddim", "DDIMScheduler", {}),
    "DPM Multi": ("scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler", {}),
    "DPM Single": ("scheduling_dpmsolver_singlestep", "DPMSolverSinglestepScheduler", {}),
    "Euler a": ("scheduling_euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", {}),
    "Euler": ("scheduling_euler_discrete", "EulerDiscreteScheduler", {}),
    "Heun": ("scheduling_heun_discrete", "HeunDiscreteScheduler", {}),
    "DPM2 a Karras": (
        "scheduling_k_dpm_2_ancestral_discrete",
        "KDPM2AncestralDiscreteScheduler",
        {"use_karras_sigmas": True},
    ),
    "DPM2 Karras": ("scheduling_k_dpm_2_discrete", "KDPM2DiscreteScheduler", {"use_karras_sigmas": True}),
    "LMS": ("scheduling_lms_discrete", "LMSDiscreteScheduler", {}),
    "PNDM": ("scheduling_pndm", "PNDMScheduler", {}),
    "DDPM": ("scheduling_ddpm", "DDPMScheduler", {}),
    "UniPC": ("scheduling_unipc_multistep", "UniPCMultistepScheduler", {}),
}
#: What schedulers for pixels would do otherwise: latents go beyond ±1. PNDM is without its four Runge-Kutta steps, and
#: the last step ends at the training's first level, both as published; the weights may say otherwise of the latter.
FOR_LATENTS = {"clip_sample": False, "skip_prk_steps": True, "set_alpha_to_one": False}
#: Numbers per latent pixel and channel of the first block that a row needs beside the weights, before any was
#: measured: with the published 320 channels of 2 bytes, 160 MB per row at 512².
WORKING = 64


class SD15:
    """The family `sd15`; its samplers are sent what the network predicts, which the scheduler's config names."""

    def __init__(self, kit: Kit) -> None:
        self.device = kit.device
        # Asking a diffusers model for its dtype walks all its modules: not at every step.
        self.dtype = kit.dtype
        self.run: Run = eagerly
        # Convolutions over many rows are a quarter faster in this layout, decoders' twice, and none are slower.
        self.denoiser = kit.loaded("unet", channels_last)
        self.autoencoder = Autoencoder(kit.loaded("vae", channels_last), kit.config("vae"))
        width = kit.config("text_encoder")["hidden_size"]
        self.clip = ClipEncoder(kit.tokenizer("tokenizer"), kit.loaded("text_encoder"), width)
        self.prompts = kit.prompts
        self.scheduler_config = kit.checkpoint.scheduler
        self._width = int(kit.config("unet")["block_out_channels"][0])

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        """In the order of their use."""
        return self.clip.component, self.autoencoder.component, self.denoiser

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        coding = self.autoencoder.estimate(spec.height, spec.width)
        size = spec.height // self.autoencoder.factor, spec.width // self.autoencoder.factor
        step = PassEstimate(self.denoiser, self.denoiser.activation(self._pass(1, *size)))
        before = (self.clip.estimate,) if spec.params.init is None else (self.clip.estimate, coding)
        return MemoryEstimate(self.denoiser, before, (step, coding))

    def lengths(self, prompt: str) -> Lengths:
        """How many of a prompt's tokens count, and how many it has."""
        return self.clip.lengths(prompt)

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None) -> ImageState:
        """Set up as diffusers' StableDiffusionImg2ImgPipeline does: same draws from the generator, same order."""
        params = spec.params
        scheduler = self._scheduler(params.sampler)
        scheduler.set_timesteps(params.steps)
        generator = torch.Generator().manual_seed(spec.seed)
        timesteps = scheduler.timesteps
        if init is None:
            x = self._noise(spec, generator) * scheduler.init_noise_sigma
        else:
            # diffusers runs int(steps * strength) of the steps.
            start = (params.steps - min(int(params.steps * params.strength), params.steps)) * scheduler.order
            timesteps = timesteps[start:]
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(start)
            latents = self.autoencoder.encode(init, generator)
            x = scheduler.add_noise(latents, self._noise(spec, generator), timesteps[:1])
        text = self._text(params.prompt)
        negative = self._text(params.negative_prompt) if params.guidance > 1 else None
        sampler = run_scheduler(scheduler, timesteps, x, generator)
        return ImageState(self, sampler, text, negative, params.guidance, len(timesteps))

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Text, *, exact: bool = False) -> torch.Tensor:
        """The network's prediction at the timesteps `level`."""
        x = x.to(self.dtype, memory_format=torch.channels_last)
        rows, _, height, width = x.shape
        asked = {"exact": exact, "sample": x, "timestep": level, "encoder_hidden_states": text.embeds}
        predicted: torch.Tensor = self.denoiser.run(
            self._pass(rows, height, width), lambda unet: self.run(unet, **asked).float()
        )
        return predicted

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode."""
        return self.autoencoder.decode(latents)

    def glance(self, ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        """Look at x0, from x = sqrt(a) x0 + sqrt(1 - a) e: what a scheduler asks about is scaled to that."""
        kept = self._signal[round(ask.level)]
        signal, noise = kept.sqrt(), (1 - kept).sqrt()
        if self.scheduler_config.get("prediction_type") == "v_prediction":
            return self.autoencoder.glance(signal * ask.x - noise * guided)
        return self.autoencoder.glance((ask.x - noise * guided) / signal)

    def _text(self, prompt: str) -> Text:
        return self.prompts.get(self.clip.component.key, prompt, lambda: Text(self.clip.last(prompt)))

    def _pass(self, rows: int, height: int, width: int) -> ForwardPass:
        guess = WORKING * self._width * rows * height * width * self.denoiser.itemsize
        return ForwardPass(self.denoiser.key, "denoise", height, width, rows, guess)

    @cached_property
    def _signal(self) -> torch.Tensor:
        """How much of a picture is left at each timestep of the training, a: DDPM's cumulative product of alphas."""
        kept: torch.Tensor = self._scheduler("DDIM").alphas_cumprod
        return kept

    def _scheduler(self, name: str) -> Any:
        module, class_name, extra = SCHEDULERS[name]
        scheduler = getattr(import_module(f"diffusers.schedulers.{module}"), class_name)
        return scheduler.from_config(FOR_LATENTS | self.scheduler_config, **extra)

    def _noise(self, spec: ImageSpec, generator: torch.Generator) -> torch.Tensor:
        factor = self.autoencoder.factor
        shape = (1, self.autoencoder.channels, spec.height // factor, spec.width // factor)
        return torch.randn(shape, generator=generator).to(self.device)


def run_scheduler(
    scheduler: Any, timesteps: Sequence[torch.Tensor], x: torch.Tensor, generator: torch.Generator
) -> Sampler:
    """A diffusers scheduler as a sampler: one object per picture, so each keeps its own history."""
    extra = {"generator": generator} if "generator" in signature(scheduler.step).parameters else {}
    for timestep in timesteps:
        answer = yield Ask(scheduler.scale_model_input(x, timestep), float(timestep))
        x = scheduler.step(answer.guided, timestep, x, return_dict=False, **extra)[0]
    return x
