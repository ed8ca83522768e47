"""Stable Diffusion XL: latent diffusion whose text has two encoders, and whose UNet is told the image's size.

Its refiner, a family of its own, draws the last steps with a second UNet.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tintype.diffusion.loading import Components
from tintype.diffusion.text import ClipEncoder, Conditioning
from tintype.diffusion.unet import LatentUNet


def sdxl(components: Components) -> LatentUNet:
    """The family `sdxl`."""
    zeros = components.checkpoint.switch("force_zeros_for_empty_prompt", default=True)
    return LatentUNet(components, join, sizes, negative_zeros=zeros)


def sdxl_refiner(components: Components) -> LatentUNet:
    """The family `sdxl-refiner`."""
    zeros = components.checkpoint.switch("force_zeros_for_empty_prompt", default=False)
    return LatentUNet(components, join, aesthetic_sizes, negative_zeros=zeros)


def join(clips: Sequence[ClipEncoder], prompt: str) -> Conditioning:
    """Both encoders' states side by side, and the second's pooled text (Podell et al. 2023, § 2.1)."""
    states, pooled = zip(*(clip.penultimate(prompt) for clip in clips), strict=True)
    return Conditioning(torch.cat(states, dim=-1), pooled[-1])


def sizes(height: int, width: int) -> tuple[Sequence[float], Sequence[float]]:
    """Drawn at this size, not cropped, at this size (§ 2.2); for the negative prompt too."""
    told = (float(height), float(width), 0.0, 0.0, float(height), float(width))
    return told, told


def aesthetic_sizes(height: int, width: int) -> tuple[Sequence[float], Sequence[float]]:
    """How beautiful the image is to be, instead of its size, and how beautiful it isn't: diffusers' defaults."""
    told = (float(height), float(width), 0.0, 0.0)
    return (*told, 6.0), (*told, 2.5)
