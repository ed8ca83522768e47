"""Stable Diffusion 3 and 3.5: a multimodal transformer that predicts the velocity of a rectified flow."""

from __future__ import annotations

import torch

from tintype.core import ImageSpec
from tintype.diffusion.autoencoder import Autoencoder
from tintype.diffusion.conditioning import ClipEncoder, Lengths, T5Encoder, Text, join_sd3
from tintype.diffusion.image_state import Ask, ImageState
from tintype.diffusion.kit import Kit, channels_last
from tintype.diffusion.memory.activation import ForwardPass
from tintype.diffusion.memory.component import LoadedComponent
from tintype.diffusion.memory.estimate import MemoryEstimate, PassEstimate
from tintype.diffusion.noise import Noise, noise_stream
from tintype.diffusion.prepared import Run, eagerly
from tintype.diffusion.samplers import find_sampler
from tintype.diffusion.samplers.space import TRAINING_STEPS, Flow
from tintype.diffusion.schedules import plan

#: Numbers per token and unit of width that a row needs beside the weights, before any was measured: the block's own
#: and its four times wider layer's.
WORKING = 24
CLIP_TOKENS = 77


class SD3:
    """The family `sd3`; its samplers are sent the denoised latent."""

    def __init__(self, kit: Kit, t5_tokens: int) -> None:
        self.device = kit.device
        # Asking a diffusers model for its dtype walks all its modules: not at every step.
        self.dtype = kit.dtype
        self.run: Run = eagerly
        self.denoiser = kit.loaded("transformer")
        self.autoencoder = Autoencoder(kit.loaded("vae", channels_last), kit.config("vae"))
        self.clips = [self._clip(kit, suffix) for suffix in ("", "_2")]
        config = kit.config("transformer")
        t5 = kit.t5()
        self.t5 = T5Encoder(t5 and kit.tokenizer("tokenizer_3"), t5, t5_tokens, config["joint_attention_dim"])
        self.prompts = kit.prompts
        self.space = Flow(float(kit.checkpoint.scheduler["shift"]))
        self._width = int(config["num_attention_heads"] * config["attention_head_dim"])
        self._patch = int(config["patch_size"])

    @staticmethod
    def _clip(kit: Kit, suffix: str) -> ClipEncoder:
        name = f"text_encoder{suffix}"
        return ClipEncoder(kit.tokenizer(f"tokenizer{suffix}"), kit.loaded(name), kit.config(name)["hidden_size"])

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        """In the order of their use."""
        t5 = () if self.t5.component is None else (self.t5.component,)
        return *(clip.component for clip in self.clips), *t5, self.autoencoder.component, self.denoiser

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        coding = self.autoencoder.estimate(spec.height, spec.width)
        size = spec.height // self.autoencoder.factor, spec.width // self.autoencoder.factor
        step = PassEstimate(self.denoiser, self.denoiser.activation(self._pass(1, *size)))
        texts = (*(clip.estimate for clip in self.clips), *self.t5.estimates)
        before = texts if spec.params.init is None else (*texts, coding)
        return MemoryEstimate(self.denoiser, before, (step, coding))

    def lengths(self, prompt: str) -> Lengths:
        """How many of a prompt's tokens count, and how many it has, by the encoder that reads most of them."""
        read = [encoder.lengths(prompt) for encoder in (self.clips[0], self.t5)]
        # Where one reads all of it, nothing is lost. T5 that is left out reads nothing of nothing.
        return next((one for one in read if one.sent and one.read == one.sent), max(read))

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None) -> ImageState:
        """Noise the init image's latents to the schedule's first sigma, and start the sampler."""
        params = spec.params
        method = find_sampler(params.sampler)
        strength = params.strength if init is not None else 1.0
        levels = plan(method, params.schedule, params.steps, strength, self.space)
        latents, noise = self._start(spec, init)
        # The stream's first noise is the picture's; what a sampler adds on the way comes after it.
        x = self.space.start(noise(), latents, levels[0])
        guidance = max(params.guidance, 1.0) * method.guidance_factor
        negative = self._text(params.negative_prompt) if guidance > 1 or method.needs_unconditional else None
        sampler = method.start(x, levels, self.space, noise)
        return ImageState(
            self, sampler, self._text(params.prompt), negative, guidance, steps=method.count(levels, self.space)
        )

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Text, *, exact: bool = False) -> torch.Tensor:
        """The denoised latent x - s v."""
        rows, _, height, width = x.shape
        asked = {
            "exact": exact,
            "hidden_states": x.to(self.dtype),
            "timestep": level * TRAINING_STEPS,
            "encoder_hidden_states": text.embeds,
            "pooled_projections": text.pooled,
        }
        work = self._pass(rows, height, width)
        velocity: torch.Tensor = self.denoiser.run(work, lambda transformer: self.run(transformer, **asked))
        return x - level.view(-1, 1, 1, 1) * velocity.float()

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode."""
        return self.autoencoder.decode(latents)

    def glance(self, _ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        """The denoised latent itself."""
        return self.autoencoder.glance(guided)

    def _start(self, spec: ImageSpec, init: torch.Tensor | None) -> tuple[torch.Tensor, Noise]:
        """The init image's latents, or zeros, (1, C, h, w) float32 on the device, and this image's noise."""
        factor = self.autoencoder.factor
        shape = (1, self.autoencoder.channels, spec.height // factor, spec.width // factor)
        noise = noise_stream(spec.seed, shape, self.device)
        if init is None:
            return torch.zeros(shape, device=self.device), noise
        # The posterior's mode, not a sample: the picture depends on the seed only through the noise.
        return self.autoencoder.encode(init, None), noise

    def _text(self, prompt: str) -> Text:
        encoders = (
            *(clip.component.key for clip in self.clips),
            self.t5.component and self.t5.component.key,
            self.t5.tokens,
        )
        return self.prompts.get(encoders, prompt, lambda: join_sd3(self.clips, self.t5, prompt))

    def _pass(self, rows: int, height: int, width: int) -> ForwardPass:
        tokens = height * width // self._patch**2 + CLIP_TOKENS + self.t5.tokens
        guess = WORKING * self._width * rows * tokens * self.denoiser.itemsize
        return ForwardPass(self.denoiser.key, "denoise", height, width, rows, guess)
