"""Stable Diffusion 3 and 3.5: a multimodal transformer that predicts the velocity of a rectified flow."""

from __future__ import annotations

import torch

from tintype.diffusion.autoencoder import Autoencoder
from tintype.diffusion.conditioning import ClipEncoder, T5Encoder, Text, join_sd3
from tintype.diffusion.denoising import Denoising
from tintype.diffusion.job import Job
from tintype.diffusion.loading import Folder
from tintype.diffusion.samplers import SAMPLERS
from tintype.diffusion.schedules import TRAINING_STEPS, sigmas


class SD3:
    """The family `sd3`; its samplers are sent the denoised latent."""

    def __init__(self, folder: Folder, t5_tokens: int) -> None:
        self.device = folder.device
        self.transformer = folder.required("transformer")
        self.autoencoder = Autoencoder(folder.required("vae"))
        self.clips = [
            ClipEncoder(folder.required(f"tokenizer{suffix}"), folder.required(f"text_encoder{suffix}"))
            for suffix in ("", "_2")
        ]
        self.t5 = T5Encoder(folder.component("tokenizer_3"), folder.component("text_encoder_3"), t5_tokens)
        self.shift = float(folder.config("scheduler").get("shift", 3.0))

    def begin(self, job: Job) -> Denoising:
        """Noise the picture's latents to the first sigma, (1 - s) latents + s noise, and start the sampler."""
        levels = sigmas(job.schedule, job.steps, job.strength if job.picture is not None else 1.0, self.shift)
        latents, noise = self._start(job)
        x = (1 - levels[0]) * latents + levels[0] * noise
        negative = self._text(job.negative_prompt) if job.guidance > 1 else None
        sampler = SAMPLERS[job.sampler](x, levels)
        return Denoising(self, sampler, self._text(job.prompt), negative, job.guidance, len(levels) - 1)

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Text) -> torch.Tensor:
        """The denoised latent x - s v."""
        dtype = self.transformer.dtype
        velocity = self.transformer(
            hidden_states=x.to(dtype),
            timestep=level * TRAINING_STEPS,
            encoder_hidden_states=text.embeds,
            pooled_projections=text.pooled,
            return_dict=False,
        )[0]
        return x - level.view(-1, 1, 1, 1) * velocity.float()

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode."""
        return self.autoencoder.decode(latents)

    def _start(self, job: Job) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture's latents, or zeros, and this job's noise, each (1, C, h, w) float32 on the device."""
        factor = self.autoencoder.factor
        shape = (1, self.autoencoder.channels, job.height // factor, job.width // factor)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(job.seed)).to(self.device)
        if job.picture is None:
            return torch.zeros_like(noise), noise
        # The posterior's mode, not a sample: the picture depends on the seed only through the noise.
        return self.autoencoder.encode(job.picture, None), noise

    def _text(self, prompt: str) -> Text:
        return join_sd3(self.clips, self.t5, prompt, self.transformer.config.joint_attention_dim)
