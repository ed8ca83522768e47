"""A look at latents without the decoder: a linear map from a latent's channels to a pixel's colours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import avg_pool2d, interpolate

#: Pixels per side of the picture that the map is fitted to, and of its patches of colour.
SIDE, PATCHES = 256, 16


class ColourMap:
    """RGB = W z + b for every latent z, fitted once per autoencoder by least squares to what its decoder draws.

    Latents of these autoencoders are nearly pictures of their own, an eighth in size, in other colours.
    """

    def __init__(self, weights: torch.Tensor) -> None:
        #: (C + 1, 3), the last row being b, for colours from 0 to 255.
        self._weights = weights

    @classmethod
    def fit(
        cls, encode: Callable[[torch.Tensor], torch.Tensor], decode: Callable[[torch.Tensor], torch.Tensor]
    ) -> ColourMap:
        """Draw patches of colour, (1, 3, H, W) in [-1, 1], and compare their latents with their pixels, (H, W, 3)."""
        latents = encode(_patches())
        colours = decode(latents).permute(2, 0, 1)[None].float()
        small = avg_pool2d(colours, colours.shape[-1] // latents.shape[-1])
        fitted = torch.linalg.lstsq(_rows(latents.cpu().float()), small[0].flatten(1).T).solution
        return cls(fitted.to(latents.device))

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, h, w) → a small picture (h, w, 3), 8 bit, on the CPU."""
        seen = _rows(latents.float()) @ self._weights
        height, width = latents.shape[-2:]
        return seen.clamp(0, 255).round().to(torch.uint8).view(height, width, 3).cpu()


def _patches() -> torch.Tensor:
    """A fixed picture with all colours next to each other, some of it smooth."""
    random = torch.rand((2, 3, PATCHES, PATCHES), generator=torch.Generator().manual_seed(0))
    hard = interpolate(random[:1], size=(SIDE, SIDE // 2), mode="nearest")
    soft = interpolate(random[1:], size=(SIDE, SIDE // 2), mode="bilinear")
    return 2.0 * torch.cat([hard, soft], dim=-1) - 1.0


def _rows(latents: torch.Tensor) -> torch.Tensor:
    """(1, C, h, w) → (h w, C + 1), with a 1 in each row for b."""
    rows = latents[0].flatten(1).T
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
