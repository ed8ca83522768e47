"""Stable Diffusion 1.5: a UNet that predicts noise (or v), stepped by diffusers' own schedulers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from inspect import signature
from typing import Any

import torch

from tintype.core import ImageSpec
from tintype.diffusion.image_state import Ask, ImageState, Sampler
from tintype.diffusion.loading import Components, channels_last
from tintype.diffusion.memory.component import ForwardPass, LoadedComponent, MemoryEstimate, Run, run_eagerly
from tintype.diffusion.text import ClipEncoder, Lengths, Text, lengths
from tintype.diffusion.vae import Autoencoder

#: Name on the wire → module and class in diffusers.schedulers, and settings that override the weights' configuration.
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
#: Defaults of the published weights, where the libraries' are for pixels: latents exceed ±1, PNDM skips its four
#: Runge-Kutta steps, and the last step ends at the training's first level. The weights may override the latter.
LATENT_DEFAULTS = {"clip_sample": False, "skip_prk_steps": True, "set_alpha_to_one": False}
#: Activation memory of a row, until measured: elements per latent and channel of the first block. With the published
#: 320 channels of 2 bytes, 160 MB per row at 512².
ACTIVATION = 64


class SD15:
    """The family `sd15`: its samplers are sent the UNet's prediction, of the type that the scheduler's config names."""

    def __init__(self, components: Components) -> None:
        self.device = components.device
        # Cached, since a diffusers model finds its dtype by walking all its modules.
        self.dtype = components.dtype
        self.run: Run = run_eagerly
        # In this layout convolutions of many rows are a quarter faster, decoders' twice as fast, and none slower.
        self.denoiser = components.loaded("unet", channels_last)
        self.autoencoder = Autoencoder(components.loaded("vae", channels_last), components.config("vae"))
        width = components.config("text_encoder")["hidden_size"]
        self.clip = ClipEncoder(components.tokenizer("tokenizer"), components.loaded("text_encoder"), width)
        self.prompts = components.prompts
        self.scheduler_config = components.checkpoint.scheduler
        self._width = int(components.config("unet")["block_out_channels"][0])

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        return self.clip.component, self.autoencoder.component, self.denoiser

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        coding = self.autoencoder.estimate(spec.height, spec.width)
        size = spec.height // self.autoencoder.factor, spec.width // self.autoencoder.factor
        step = self.denoiser.estimate(self._pass(1, *size))
        text = self.clip.component.estimate(self.clip.forward)
        before = (text,) if spec.params.init is None else (text, coding)
        return MemoryEstimate(self.denoiser, before, (step, coding))

    def lengths(self, prompt: str) -> Lengths:
        return lengths(self.clip.tokenizer, prompt, self.clip.limit)

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None) -> ImageState:
        """As diffusers' StableDiffusionImg2ImgPipeline does: the same draws from the generator, in the same order."""
        params = spec.params
        scheduler = self._scheduler(params.sampler)
        scheduler.set_timesteps(params.steps)
        generator = torch.Generator().manual_seed(spec.seed)
        timesteps = scheduler.timesteps
        if init is None:
            x = self._noise(spec, generator) * scheduler.init_noise_sigma
        else:
            # min: a recipe of a file may have any strength.
            start = (params.steps - min(params.diffusers_steps, params.steps)) * scheduler.order
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
        """The UNet's prediction at the timesteps `level`."""
        x = x.to(self.dtype, memory_format=torch.channels_last)
        rows, _, height, width = x.shape
        inputs = {"exact": exact, "sample": x, "timestep": level, "encoder_hidden_states": text.embeds}
        forward = self._pass(rows, height, width)
        predicted: torch.Tensor = self.denoiser.run(forward, lambda unet: self.run(unet, **inputs).float())
        return predicted

    def preview(self, ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        """Of x0, from x = sqrt(a) x0 + sqrt(1 - a) e: schedulers scale their questions to that."""
        kept = self._signal[round(ask.level)]
        signal, noise = kept.sqrt(), (1 - kept).sqrt()
        if self.scheduler_config.get("prediction_type") == "v_prediction":
            return self.autoencoder.preview(signal * ask.x - noise * guided)
        return self.autoencoder.preview((ask.x - noise * guided) / signal)

    def _text(self, prompt: str) -> Text:
        return self.prompts.get(self.clip.component.key, prompt, lambda: Text(self.clip.last(prompt)))

    def _pass(self, rows: int, height: int, width: int) -> ForwardPass:
        guess = ACTIVATION * self._width * rows * height * width * self.denoiser.itemsize
        return ForwardPass(self.denoiser.key, "denoise", height, width, rows, guess)

    @cached_property
    def _signal(self) -> torch.Tensor:
        """DDPM's a at each timestep of the training, the cumulative product of its alphas."""
        kept: torch.Tensor = self._scheduler("DDIM").alphas_cumprod
        return kept

    def _scheduler(self, name: str) -> Any:
        module, class_name, extra = SCHEDULERS[name]
        scheduler = getattr(import_module(f"diffusers.schedulers.{module}"), class_name)
        return scheduler.from_config(LATENT_DEFAULTS | self.scheduler_config, **extra)

    def _noise(self, spec: ImageSpec, generator: torch.Generator) -> torch.Tensor:
        factor = self.autoencoder.factor
        shape = (1, self.autoencoder.channels, spec.height // factor, spec.width // factor)
        return torch.randn(shape, generator=generator).to(self.device)


def run_scheduler(
    scheduler: Any, timesteps: Sequence[torch.Tensor], x: torch.Tensor, generator: torch.Generator
) -> Sampler:
    """A diffusers scheduler as a sampler; one scheduler per image, as it holds the image's history."""
    extra = {"generator": generator} if "generator" in signature(scheduler.step).parameters else {}
    for timestep in timesteps:
        answer = yield Ask(scheduler.scale_model_input(x, timestep), float(timestep))
        x = scheduler.step(answer.guided, timestep, x, return_dict=False, **extra)[0]
    return x
