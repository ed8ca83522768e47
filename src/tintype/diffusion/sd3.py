"""Stable Diffusion 3 and 3.5: a multimodal transformer that predicts the velocity of a rectified flow."""

from __future__ import annotations

import torch

from tintype.diffusion.autoencoder import Autoencoder
from tintype.diffusion.conditioning import ClipEncoder, T5Encoder, Text, join_sd3
from tintype.diffusion.denoising import Ask, Denoising
from tintype.diffusion.job import Job
from tintype.diffusion.loading import Loader
from tintype.diffusion.noise import Noise, noise_stream
from tintype.diffusion.prepared import Run, eagerly
from tintype.diffusion.samplers import find_sampler
from tintype.diffusion.samplers.space import TRAINING_STEPS, Flow
from tintype.diffusion.schedules import plan


class SD3:
    """The family `sd3`; its samplers are sent the denoised latent."""

    def __init__(self, loader: Loader, t5_tokens: int) -> None:
        self.device = loader.device
        # Asking a diffusers model for its dtype walks all its modules: not at every step.
        self.dtype = loader.dtype
        self.run: Run = eagerly
        self.transformer = loader.required("transformer")
        self.autoencoder = Autoencoder(loader.required("vae").to(memory_format=torch.channels_last))
        self.clips = [
            ClipEncoder(loader.tokenizer(f"tokenizer{suffix}"), loader.required(f"text_encoder{suffix}"))
            for suffix in ("", "_2")
        ]
        self.t5 = T5Encoder(loader.tokenizer("tokenizer_3"), loader.network("text_encoder_3"), t5_tokens)
        self.space = Flow(float(loader.checkpoint.config("scheduler").get("shift", 3.0)))

    def begin(self, job: Job) -> Denoising:
        """Noise the picture's latents to the schedule's first sigma, and start the sampler."""
        method = find_sampler(job.sampler)
        strength = job.strength if job.picture is not None else 1.0
        levels = plan(method, job.schedule, job.steps, strength, self.space)
        latents, noise = self._start(job)
        # The stream's first noise is the picture's; what a sampler adds on the way comes after it.
        x = self.space.start(noise(), latents, levels[0])
        guidance = max(job.guidance, 1.0) * method.guidance_factor
        negative = self._text(job.negative_prompt) if guidance > 1 or method.needs_unconditional else None
        sampler = method.start(x, levels, self.space, noise)
        return Denoising(
            self, sampler, self._text(job.prompt), negative, guidance, steps=method.count(levels, self.space)
        )

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Text, *, exact: bool = False) -> torch.Tensor:
        """The denoised latent x - s v."""
        velocity = self.run(
            self.transformer,
            exact=exact,
            hidden_states=x.to(self.dtype),
            timestep=level * TRAINING_STEPS,
            encoder_hidden_states=text.embeds,
            pooled_projections=text.pooled,
        )
        return x - level.view(-1, 1, 1, 1) * velocity.float()

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode."""
        return self.autoencoder.decode(latents)

    def glance(self, _ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        """The denoised latent itself."""
        return self.autoencoder.glance(guided)

    def _start(self, job: Job) -> tuple[torch.Tensor, Noise]:
        """The picture's latents, or zeros, (1, C, h, w) float32 on the device, and this job's noise."""
        factor = self.autoencoder.factor
        shape = (1, self.autoencoder.channels, job.height // factor, job.width // factor)
        noise = noise_stream(job.seed, shape, self.device)
        if job.picture is None:
            return torch.zeros(shape, device=self.device), noise
        # The posterior's mode, not a sample: the picture depends on the seed only through the noise.
        return self.autoencoder.encode(job.picture, None), noise

    def _text(self, prompt: str) -> Text:
        return join_sd3(self.clips, self.t5, prompt, self.transformer.config.joint_attention_dim)
