"""Stable Diffusion 3 and 3.5: a multimodal transformer that predicts the velocity of a rectified flow."""

from __future__ import annotations

import torch

from tintype.core import ImageSpec
from tintype.diffusion.compile import Run, run_eagerly
from tintype.diffusion.image_state import Ask, ImageState
from tintype.diffusion.loading import Components, channels_last
from tintype.diffusion.memory.component import ForwardPass, LoadedComponent, MemoryEstimate
from tintype.diffusion.samplers import find_sampler
from tintype.diffusion.samplers.spec import count, noise_stream, plan, start
from tintype.diffusion.schedules import TRAINING_STEPS, Flow
from tintype.diffusion.text import Conditioning, Lengths, T5Encoder, join_sd3, lengths
from tintype.diffusion.vae import Autoencoder
from tintype.families.sd3 import AUTOENCODER, CLIP_G, CLIP_L, DENOISER, T5

#: Activation memory of a row, until measured: elements per unit of width and token of the image, and of the text,
#: counted on a GPU that is not there (tests/fakedevice.py).
ACTIVATION, TEXT_ACTIVATION = 13, 3
CLIP_TOKENS = 77


class SD3:
    """The family `sd3`: its samplers are sent the denoised latent."""

    def __init__(self, components: Components) -> None:
        self.device = components.device
        # Cached, since a diffusers model finds its dtype by walking all its modules.
        self.dtype = components.dtype
        self.needs_mask = False
        self.run: Run = run_eagerly
        self.denoiser = components.loaded(DENOISER)
        self.autoencoder = Autoencoder(components.loaded(AUTOENCODER, channels_last), components.config(AUTOENCODER))
        self.clips = [components.clip(encoder) for encoder in (CLIP_L, CLIP_G)]
        config = components.config(DENOISER)
        tokenizer, t5 = (components.tokenizer(T5), components.loaded(T5)) if components.has(T5) else (None, None)
        self.t5 = T5Encoder(tokenizer, t5, components.t5_tokens, config["joint_attention_dim"])
        self.metadata = components.metadata
        self.prompts = components.prompts
        self.space = Flow(float(components.checkpoint.scheduler["shift"]))
        self._width = int(config["num_attention_heads"] * config["attention_head_dim"])
        self._patch = int(config["patch_size"])

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        t5 = () if self.t5.component is None else (self.t5.component,)
        return *(clip.component for clip in self.clips), *t5, self.autoencoder.component, self.denoiser

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        coding = self.autoencoder.estimate(spec.height, spec.width)
        size = spec.height // self.autoencoder.factor, spec.width // self.autoencoder.factor
        step = self._pass(1, *size)
        texts = [clip.forward for clip in self.clips]
        if t5 := self.t5.forward:
            texts.append(t5)
        before = texts if spec.params.init is None else [*texts, coding]
        return MemoryEstimate((self.denoiser,), tuple(before), (step, coding))

    def lengths(self, prompt: str) -> Lengths:
        """By the encoder that reads the most tokens."""
        encoders = [one for one in (self.clips[0], self.t5) if one.component]
        read = [lengths(one.tokenizer, prompt, one.limit) for one in encoders]
        # An encoder that reads all of them wins, unless it has none to read.
        return next((one for one in read if one.sent and one.read == one.sent), max(read))

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None, _mask: torch.Tensor | None = None) -> ImageState:
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
        guidance = self.metadata.guidance(max(params.guidance, 1.0) * sampler_spec.guidance_factor)
        negative = self._text(params.negative_prompt) if guidance > 1 or sampler_spec.needs_unconditional else None
        sampler = start(sampler_spec, x, levels, self.space, noise)
        return ImageState(
            self, sampler, self._text(params.prompt), negative, guidance, steps=count(sampler_spec, levels, self.space)
        )

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Conditioning, *, exact: bool = False) -> torch.Tensor:
        """The denoised latent x - s v."""
        rows, _, height, width = x.shape
        inputs = {
            "hidden_states": x.to(self.dtype),
            "timestep": level * TRAINING_STEPS,
            "encoder_hidden_states": text.embeds,
            "pooled_projections": text.pooled,
        }
        forward = self._pass(rows, height, width)
        velocity: torch.Tensor = forward.run(
            lambda transformer: self.run(transformer, component=self.denoiser, exact=exact, **inputs)
        )
        return x - level.view(-1, 1, 1, 1) * velocity.float()

    def preview(self, _ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        return self.autoencoder.preview(guided)

    def _text(self, prompt: str) -> Conditioning:
        encoders = *(clip.component.key for clip in self.clips), *self.t5.key
        return self.prompts.get(encoders, prompt, lambda: join_sd3(self.clips, self.t5, prompt))

    def _pass(self, rows: int, height: int, width: int) -> ForwardPass:
        tokens = ACTIVATION * height * width // self._patch**2 + TEXT_ACTIVATION * (CLIP_TOKENS + self.t5.tokens)
        guess = self.denoiser.guess(self._width * rows * tokens)
        return self.denoiser.forward_pass("denoise", height, width, rows, guess)
