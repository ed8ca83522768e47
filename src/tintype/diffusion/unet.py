"""Latent diffusion with a UNet that predicts noise (or v), stepped by diffusers' own schedulers, and SD 1.5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.nn.functional import interpolate

from tintype.core import ImageSpec
from tintype.diffusion.compile import Run, run_eagerly
from tintype.diffusion.devices import send
from tintype.diffusion.image_state import Ask, ImageState, Sampler, Stage
from tintype.diffusion.loading import Components, channels_last
from tintype.diffusion.memory.component import ForwardPass, LoadedComponent, MemoryEstimate
from tintype.diffusion.samplers.schedulers import Schedulers, Timesteps
from tintype.diffusion.text import ClipEncoder, Conditioning, Lengths, lengths
from tintype.diffusion.vae import Autoencoder
from tintype.errors import WeightsUnusable

#: Activation memory of a row, until measured: elements per latent and channel of the first block, where that attends
#: (SD 1.5) and where not (SDXL), counted on a GPU that is not there (tests/fakedevice.py). With SD 1.5's 320 channels
#: of 2 bytes, 65 MB per row at 512².
ATTENDING, ACTIVATION = 26.0, 15.75


#: Text encoders, and a prompt → its embeddings: how a family joins what its encoders give.
Join = Callable[[Sequence[ClipEncoder], str], Conditioning]
#: Height and width of an image in pixels → what the UNet is told of it, and what for the negative prompt's row.
Sizes = Callable[[int, int], tuple[Sequence[float], Sequence[float]]]


class LatentUNet:
    """Runs such a family; samplers are sent the UNet's prediction, of the type that the scheduler's config names."""

    def __init__(
        self, components: Components, join: Join, sizes: Sizes | None = None, *, negative_zeros: bool = False
    ) -> None:
        """negative_zeros: an empty negative prompt is zeros, not the embeddings of no words."""
        family = components.checkpoint.family
        self.device = components.device
        # Cached, since a diffusers model finds its dtype by walking all its modules.
        self.dtype = components.dtype
        self.run: Run = run_eagerly
        # In this layout convolutions of many rows are a quarter faster, decoders' twice as fast, and none slower.
        self.denoiser = components.loaded(family.denoiser, channels_last)
        vae = components.loaded(family.autoencoder, channels_last)
        self.autoencoder = Autoencoder(vae, components.config(family.autoencoder))
        self.clips = [components.clip(encoder) for encoder in family.text_encoders]
        self.prompts = components.prompts
        self.metadata = components.metadata
        self.schedulers = Schedulers(components.checkpoint.scheduler)
        configs = {one.name: components.config(one) for one in (family.denoiser, family.autoencoder)}
        self.needs_mask = family.needs_mask(configs)
        self._join = join
        self._sizes = sizes
        self._negative_zeros = negative_zeros
        unet = configs[family.denoiser.name]
        attends = str(unet["down_block_types"][0]).startswith("CrossAttn")
        #: Of activation memory, per latent and row.
        self._elements = int(unet["block_out_channels"][0]) * (ATTENDING if attends else ACTIVATION)

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        return *(clip.component for clip in self.clips), self.autoencoder.component, self.denoiser

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        coding = self.autoencoder.estimate(spec.height, spec.width)
        size = spec.height // self.autoencoder.factor, spec.width // self.autoencoder.factor
        step = self._pass(1, *size)
        texts = [clip.forward for clip in self.clips]
        before = texts if spec.params.init is None else [*texts, coding]
        return MemoryEstimate((self.denoiser,), tuple(before), (step, coding))

    def lengths(self, prompt: str) -> Lengths:
        return lengths(self.clips[0].tokenizer, prompt, self.clips[0].limit)

    def begin(
        self,
        spec: ImageSpec,
        init: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        *,
        refiner: LatentUNet | None = None,
    ) -> ImageState:
        """As diffusers' pipelines do: the same draws from the generator, in the same order."""
        params = spec.params
        timesteps = self.schedulers.timesteps(params.sampler, params.steps, None if init is None else params.steps_run)
        if refiner is not None:
            timesteps.until(params.high_noise_fraction)
        generator = torch.Generator().manual_seed(spec.seed)
        text, negative = self._texts(spec)
        if init is None or mask is None:
            latents = None if init is None else self.autoencoder.encode(init, generator)
            sampler = timesteps.run(timesteps.start(self._noise(spec, generator), latents), generator)
        else:
            sampler, channels = self._inpaint(spec, timesteps, generator, init, mask)
            text = replace(text, channels=channels)
            negative = negative and replace(negative, channels=channels)
        then = None if refiner is None else refiner.refine(spec, generator)
        guidance = self.metadata.guidance(params.guidance)
        return ImageState(self, sampler, text, negative, guidance, len(timesteps), then)

    def _inpaint(
        self,
        spec: ImageSpec,
        timesteps: Timesteps,
        generator: torch.Generator,
        init: torch.Tensor,
        mask: torch.Tensor,
    ) -> tuple[Sampler, torch.Tensor | None]:
        """As StableDiffusionInpaintPipeline does; the sampler, and further channels of its questions, if any.

        Weights without input channels for it are shown nothing of the mask: after each step, what is kept is put back,
        with as much noise as the rest has then.
        """
        redrawn = spec.params.strength >= 1
        latents = None if self.needs_mask and redrawn else self.autoencoder.encode(init, generator)
        noise = self._noise(spec, generator)
        x = timesteps.start(noise, None if redrawn else latents)
        repainted = send(interpolate(mask, size=noise.shape[-2:]), self.device)  # the nearest pixel's
        if self.needs_mask:
            rest = self.autoencoder.encode(init * (mask < 0.5), generator)
            return timesteps.run(x, generator), torch.cat([repainted, rest], dim=1)
        kept = latents
        self.autoencoder.skip(noise, generator)

        def between(x: torch.Tensor, timestep: torch.Tensor | None) -> torch.Tensor:
            noisy = kept if timestep is None else timesteps.noised(kept, noise, timestep)
            return (1 - repainted) * noisy + repainted * x

        return timesteps.run(x, generator, between), None

    def refine(self, spec: ImageSpec, generator: torch.Generator) -> Stage | None:
        """What is left of the image's steps after its high-noise fraction; None where nothing is.

        After all of them, it redraws the finished image with the refiner's strength.
        """
        params = spec.params
        after_all = params.high_noise_fraction == 1
        steps_run = int(params.steps * params.refiner_strength) if after_all else None
        timesteps = self.schedulers.timesteps(params.sampler, params.steps, steps_run)
        if not after_all:
            timesteps.since(params.high_noise_fraction)

        def sampler(latents: torch.Tensor) -> Sampler:
            x = timesteps.start(self._noise(spec, generator), latents) if after_all else latents
            return timesteps.run(x, generator)

        return Stage(self, *self._texts(spec), sampler, len(timesteps)) if len(timesteps) else None

    def predict(self, x: torch.Tensor, level: torch.Tensor, text: Conditioning, *, exact: bool = False) -> torch.Tensor:
        """The UNet's prediction at the timesteps `level`."""
        if text.channels is not None:
            x = torch.cat([x, text.channels], dim=1)
        x = x.to(self.dtype, memory_format=torch.channels_last)
        rows, _, height, width = x.shape
        inputs = {"sample": x, "timestep": level, "encoder_hidden_states": text.embeds}
        if text.time_ids is not None:
            inputs |= {"text_embeds": text.pooled, "time_ids": text.time_ids}
        forward = self._pass(rows, height, width)
        predicted: torch.Tensor = forward.run(
            lambda unet: self.run(unet, component=self.denoiser, exact=exact, **inputs).float()
        )
        return predicted

    def preview(self, ask: Ask, guided: torch.Tensor) -> torch.Tensor:
        return self.autoencoder.preview(self.schedulers.denoised(ask, guided))

    def _texts(self, spec: ImageSpec) -> tuple[Conditioning, Conditioning | None]:
        """The prompt's, and the negative prompt's where there is guidance."""
        params = spec.params
        text = self._text(params.prompt)
        negative = None
        if params.guidance > 1:
            is_zero = self._negative_zeros and not params.negative_prompt
            negative = text.zeros() if is_zero else self._text(params.negative_prompt)
        if self._sizes is None:
            return text, negative
        own, other = (send(torch.tensor([one]), self.device) for one in self._sizes(spec.height, spec.width))
        return replace(text, time_ids=own), negative and replace(negative, time_ids=other)

    def _text(self, prompt: str) -> Conditioning:
        encoders = self._join, *(clip.component.key for clip in self.clips)
        return self.prompts.get(encoders, prompt, lambda: self._join(self.clips, prompt))

    def _pass(self, rows: int, height: int, width: int) -> ForwardPass:
        guess = self.denoiser.guess(self._elements * rows * height * width)
        return self.denoiser.forward_pass("denoise", height, width, rows, guess)

    def _noise(self, spec: ImageSpec, generator: torch.Generator) -> torch.Tensor:
        factor = self.autoencoder.factor
        shape = (1, self.autoencoder.channels, spec.height // factor, spec.width // factor)
        return send(torch.randn(shape, generator=generator), self.device)


class RefinedUNet:
    """A family whose images a refiner ends: their first steps share passes with those of images without."""

    def __init__(self, base: LatentUNet, refiner: LatentUNet) -> None:
        """Raises WeightsUnusable where their latents differ."""
        if (base.autoencoder.channels, base.autoencoder.factor) != (
            refiner.autoencoder.channels,
            refiner.autoencoder.factor,
        ):
            raise WeightsUnusable("the refiner's latents are not those of the model")
        self.device = base.device
        self.run = base.run
        self.denoiser = base.denoiser
        self.autoencoder = base.autoencoder
        self.needs_mask = base.needs_mask
        self.lengths, self.predict, self.preview = base.lengths, base.predict, base.preview
        self._base, self._refiner = base, refiner

    @property
    def components(self) -> tuple[LoadedComponent, ...]:
        return tuple(dict.fromkeys((*self._base.components, *self._refiner.components)))

    def estimate(self, spec: ImageSpec) -> MemoryEstimate:
        """Both UNets stay on the device: other images may need the first one until this image is finished."""
        base, refiner = self._base.estimate(spec), self._refiner.estimate(spec)
        return MemoryEstimate(
            (*base.denoisers, *refiner.denoisers), (*base.before, *refiner.before), (*base.during, *refiner.during)
        )

    def begin(self, spec: ImageSpec, init: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> ImageState:
        return self._base.begin(spec, init, mask, refiner=self._refiner)


def sd15(components: Components) -> LatentUNet:
    """The family `sd15`."""
    return LatentUNet(components, last_state)


def last_state(clips: Sequence[ClipEncoder], prompt: str) -> Conditioning:
    """The text of a family with one encoder."""
    [clip] = clips
    return Conditioning(clip.last(prompt))
