"""Pictures to latents and back, with AutoencoderKL or AutoencoderTiny."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from tintype.diffusion.preview import ColourMap
from tintype.errors import PictureNotFinite


class Autoencoder:
    """An autoencoder whose latents are scaled and shifted as the denoiser expects."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.scale = model.config.scaling_factor
        self.shift = getattr(model.config, "shift_factor", None) or 0.0
        self.channels = model.config.latent_channels
        #: Pixels per latent, along one side.
        self.factor = self._factor(model.config)

    def encode(self, picture: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Picture (1, 3, H, W) in [-1, 1] → latents (1, C, H/8, W/8) float32.

        With a generator the posterior is sampled, drawing one latent from it; without, its mode is taken.
        """
        coded = self.model.encode(picture.to(self.model.device, self.model.dtype))
        if hasattr(coded, "latents"):
            latents = coded.latents
        elif generator is None:
            latents = coded.latent_dist.mode()
        else:
            latents = coded.latent_dist.sample(generator)
        return (latents.float() - self.shift) * self.scale

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, h, w) → picture (H, W, 3), 8 bit, on the CPU; raises PictureNotFinite."""
        latents = (latents / self.scale + self.shift).to(self.model.dtype)
        picture = self.model.decode(latents, return_dict=False)[0].float()
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
        return ColourMap.fit(lambda picture: self.encode(picture, None), self.decode)

    @staticmethod
    def _factor(config: Any) -> int:
        channels = getattr(config, "block_out_channels", None) or config.encoder_block_out_channels
        return int(2 ** (len(channels) - 1))
