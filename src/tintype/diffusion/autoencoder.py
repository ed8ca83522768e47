"""Pictures to latents and back, with AutoencoderKL or AutoencoderTiny."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch

from tintype.diffusion.memory.activation import ForwardPass
from tintype.diffusion.memory.component import LoadedComponent
from tintype.diffusion.memory.estimate import PassEstimate
from tintype.diffusion.preview import ColourMap
from tintype.errors import PictureNotFinite

#: Numbers per pixel and channel of its widest full-size layer that a pass needs beside the weights, before any was
#: measured: the published decoder, 128 wide, takes about 1500 numbers per pixel.
WORKING = 12
KINDS = ENCODE, DECODE = "encode", "decode"


class Autoencoder:
    """An autoencoder whose latents are scaled and shifted as the denoiser expects."""

    def __init__(self, component: LoadedComponent, config: Mapping[str, Any]) -> None:
        self.component = component
        self.scale = config["scaling_factor"]
        self.shift = config.get("shift_factor") or 0.0
        self.channels = config["latent_channels"]
        widths = config.get("block_out_channels") or config["encoder_block_out_channels"]
        #: Pixels per latent, along one side.
        self.factor = 2 ** (len(widths) - 1)
        self._width = int(widths[0])

    def estimate(self, height: int, width: int) -> PassEstimate:
        """What encoding or decoding a picture of that size in pixels needs of the memory."""
        return PassEstimate(
            self.component, max(self.component.activation(self._pass(kind, height, width)) for kind in KINDS)
        )

    def encode(self, picture: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Picture (1, 3, H, W) in [-1, 1] → latents (1, C, H/8, W/8) float32; raises NoRoom.

        With a generator the posterior is sampled, drawing one latent from it; without, its mode is taken.
        """
        forward = self._pass(ENCODE, *picture.shape[-2:])
        coded = self.component.run(forward, lambda model: model.encode(picture.to(model.device, model.dtype)))
        if hasattr(coded, "latents"):
            latents = coded.latents
        elif generator is None:
            latents = coded.latent_dist.mode()
        else:
            latents = coded.latent_dist.sample(generator)
        return (latents.float() - self.shift) * self.scale

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, h, w) → picture (H, W, 3), 8 bit, on the CPU; raises PictureNotFinite, NoRoom."""
        height, width = (side * self.factor for side in latents.shape[-2:])
        return self.component.run(self._pass(DECODE, height, width), lambda model: self._decode(model, latents))

    def _decode(self, model: Any, latents: torch.Tensor) -> torch.Tensor:
        latents = (latents / self.scale + self.shift).to(model.dtype)
        picture = model.decode(latents, return_dict=False)[0].float()
        if not torch.isfinite(picture).all():
            raise PictureNotFinite  # it would come out black
        picture = (picture / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
        return picture[0].permute(1, 2, 0).cpu()

    def glance(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, h, w) → about what `decode` gives, a `factor` smaller, (h, w, 3), at next to no cost.

        The first call fits the map, which takes one encoding and decoding of a small picture.
        """
        return self._colours(latents)

    @cached_property
    def _colours(self) -> ColourMap:
        # On another thread than the engine's, which is not to find the room gone that it was promised.
        with self.component.memory.lock:
            return ColourMap.fit(lambda picture: self.encode(picture, None), self.decode)

    def _pass(self, kind: str, height: int, width: int) -> ForwardPass:
        guess = WORKING * self._width * height * width * self.component.itemsize
        return ForwardPass(self.component.key, kind, height, width, 1, guess)
