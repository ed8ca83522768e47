"""Stable Diffusion 3 and 3.5: a multimodal transformer that predicts the velocity of a rectified flow."""

from __future__ import annotations

import torch

from tintype.core import ImageSpec
from tintype.diffusion.image_state import Ask, ImageState
from tintype.diffusion.loading import Components, channels_last
from tintype.diffusion.memory.component import ForwardPass, LoadedComponent, MemoryEstimate, Run, run_eagerly
from tintype.diffusion.samplers import find_sampler
from tintype.diffusion.samplers.spec import noise_stream, plan
from tintype.diffusion.schedules import TRAINING_STEPS, Flow
from tintype.diffusion.text import ClipEncoder, Lengths, T5Encoder, Text, join_sd3, lengths
from tintype.diffusion.vae import Autoencoder

#: Activation memory of a row, until measured: elements per token and unit of width, those of a block and of its four
#: times wider layer.
ACTIVATION = 24
CLIP_TOKENS = 77


class SD3:
    """The family `sd3`: its samplers are sent the denoised latent."""

    def __init__(self, components: Components, t5_tokens: int) -> None:
        self.device = components.device
        # Cached, since a diffusers model finds its dtype by walking all its modules.
        self.dtype = components.dtype
        self.run: Run = run_eagerly
        self.denoiser = components.loaded("transformer")
        self.autoencoder = Autoencoder(components.loaded("vae", channels_last), components.config("vae"))
        self.clips = [self._clip(components, suffix) for suffix in ("", "_2")]
        config = components.config("transformer")
        t5 = components.t5()
        self.t5 = T5Encoder(t5 and components.tokenizer("tokenizer_3"), t5, t5_tokens, config["joint_attention_dim"])
        self.prompts = components.prompts
        self.space = Flow(float(components.checkpoint.scheduler["shift"]))
        self._width = int(config["num_attention_heads"] * config["attention_head_dim"])
        self._patch = int(config["patch_size"])

    @staticmethod
    def _clip(components: Components, suffix: str) -> ClipEncoder:
        name = f"text_encoder{suffix}"
        width = components.config(name)["hidden_size"]
        return ClipEncoder(components.tokenizer(f"tokenizer{suffix}"), components.loaded(name), width)

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        t5 = () if self.t5.component is None else (self.t5.component,)
        return *(clip.component for clip in self.clips), *t5, self.autoencoder.component, self.denoiser

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        coding = self.autoencoder.estimate(spec.height, spec.width)
        size = spec.height // self.autoencoder.factor, spec.width // self.autoencoder.factor
        step = self.denoiser.estimate(self._pass(1, *size))
        texts = [clip.component.estimate(clip.forward) for clip in self.clips]
        if self.t5.component:
            texts.append(self.t5.component.estimate(self.t5.forward))
        before = texts if spec.params.init is None else [*texts, coding]
        return MemoryEstimate(self.denoiser, tuple(before), (step, coding))

    def lengths(self, prompt: str) -> Lengths:
        """By the encoder that reads the most tokens."""
        encoders = [one for one in (self.clips[0], self.t5) if one.component]
        read = [lengths(one.tokenizer, prompt, one.limit) for one in encoders]
        # An encoder that reads all of them wins, unless it has none to read.
        return next((one for one in read if one.sent and one.read == one.sent), max(read))

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None) -> ImageState:
        """Noise the init image's latents to the schedule's first sigma, and start the sampler."""
        params = spec.params
        sampler_spec = find_sampler(params.sampler)
        strength = params.strength if init is not None else 1.0
        levels = plan(sampler_spec, params.schedule, params.steps, strength, self.space)
        factor = self.autoencoder.factor
        shape = (1, self.autoencoder.channels, spec.height // factor, spec.width // factor)
        noise = noise_stream(spec.seed, shape, self.device)
        # The posterior's mode, not a sample: the seed affects the noise only.
        latents = torch.zeros(shape, device=self.device) if init is None else self.autoencoder.encode(init, None)
        # The stream's first draw is the initial noise; those that a sampler adds come after it.
        x = self.space.start(noise(), latents, levels[0])
        guidance = max(params.guidance, 1.0) * sampler_spec.guidance_factor
        negative = self._text(params.negative_prompt) if guidance > 1 or sampler_spec.needs_unconditional else None
        sampler = sampler_spec.start(x, levels, self.space, noise)
        return ImageState(
            self, sampler, self._text(params.prompt), negative, guidance, steps=sampler_spec.count(levels, self.space)
        )

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Text, *, exact: bool = False) -> torch.Tensor:
        """The denoised latent x - s v."""
        rows, _, height, width = x.shape
        inputs = {
            "exact": exact,
            "hidden_states": x.to(self.dtype),
            "timestep": level * TRAINING_STEPS,
            "encoder_hidden_states": text.embeds,
            "pooled_projections": text.pooled,
        }
        forward = self._pass(rows, height, width)
        velocity: torch.Tensor = self.denoiser.run(forward, lambda transformer: self.run(transformer, **inputs))
        return x - level.view(-1, 1, 1, 1) * velocity.float()

    def preview(self, _ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        return self.autoencoder.preview(guided)

    def _text(self, prompt: str) -> Text:
        encoders = *(clip.component.key for clip in self.clips), *self.t5.key
        return self.prompts.get(encoders, prompt, lambda: join_sd3(self.clips, self.t5, prompt))

    def _pass(self, rows: int, height: int, width: int) -> ForwardPass:
        tokens = height * width // self._patch**2 + CLIP_TOKENS + self.t5.tokens
        guess = ACTIVATION * self._width * rows * tokens * self.denoiser.itemsize
        return ForwardPass(self.denoiser.key, "denoise", height, width, rows, guess)
