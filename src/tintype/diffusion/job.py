"""A job: one picture to be made."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """One picture. A request for several is several jobs with seeds one apart."""

    prompt: str
    negative_prompt: str = ""
    steps: int
    #: Classifier-free guidance (Ho and Salimans 2022, eq. 6 with w = guidance - 1); at most 1 means none.
    guidance: float = 1.0
    #: How much of the picture is replaced, 0–1.
    strength: float = 1.0
    #: Seed of this picture's own CPU generator, 0 to 2^63 - 1.
    seed: int
    sampler: str
    schedule: str = ""
    #: Size in pixels, a multiple of 16.
    width: int
    height: int
    #: The input picture, (1, 3, height, width) in [-1, 1]; None for text-to-image.
    picture: torch.Tensor | None = None
