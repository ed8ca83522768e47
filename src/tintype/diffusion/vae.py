"""Images ↔ latents, with AutoencoderKL or AutoencoderTiny, and previews of latents without the decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch.nn.functional import avg_pool2d, interpolate

from tintype.diffusion.attention import attention_for
from tintype.diffusion.compile import Run, run_eagerly
from tintype.diffusion.devices import send, unwaited
from tintype.diffusion.memory.component import ForwardPass, LoadedComponent
from tintype.errors import PictureNotFinite

KINDS = ENCODE, DECODE = "encode", "decode"
#: Activation memory, until measured: elements per pixel and channel of the first layer, of AutoencoderKL and of
#: AutoencoderTiny, counted on a GPU that is not there (tests/fakedevice.py).
ACTIVATION = {ENCODE: 5.0, DECODE: 7.0}
TINY_ACTIVATION = {ENCODE: 3.1, DECODE: 3.0}
#: Pixels per side of the image that a colour map is fitted to, and patches of colour per side.
SIDE, PATCHES = 256, 16


class Autoencoder:
    """An autoencoder whose latents are scaled and shifted as the denoiser expects."""

    def __init__(self, component: LoadedComponent, config: Mapping[str, Any]) -> None:
        self.component = component
        #: How the decoder is run.
        self.run: Run = run_eagerly
        self.scale = config["scaling_factor"]
        self.shift = config.get("shift_factor") or 0.0
        self.channels = config["latent_channels"]
        widths = config.get("block_out_channels") or config["encoder_block_out_channels"]
        #: Whether it encodes to a distribution: AutoencoderTiny doesn't, and its parameters have other names.
        self._samples = "encoder_block_out_channels" not in config
        #: Pixels per latent, along one side.
        self.factor = 2 ** (len(widths) - 1)
        self._width = int(widths[0])

    def estimate(self, height: int, width: int) -> ForwardPass:
        """Encoding or decoding an image of that size in pixels, whichever needs more memory."""
        return max((self._pass(kind, height, width) for kind in KINDS), key=lambda one: one.activation)

    def encode(self, image: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Image (1, 3, H, W) in [-1, 1] → latents (1, C, H/8, W/8) float32; raises NoRoom.

        With a generator the posterior is sampled, drawing one latent from it; without, its mode is taken.
        """
        forward = self._pass(ENCODE, *image.shape[-2:])

        def encode(model: Any) -> Any:
            pixels = send(image, model.device, model.dtype)
            with attention_for(pixels):
                return model.encode(pixels)

        coded = forward.run(encode)
        if hasattr(coded, "latents"):
            latents = coded.latents
        elif generator is None:
            latents = coded.latent_dist.mode()
        else:
            with unwaited(coded.latent_dist.mean.device):
                latents = coded.latent_dist.sample(generator)
        return (latents.float() - self.shift) * self.scale

    def skip(self, latents: torch.Tensor, generator: torch.Generator) -> None:
        """Draw from the generator what encoding an image to latents of this shape would, (1, C, h, w)."""
        if self._samples:
            torch.randn(latents.shape, generator=generator)

    def decode(self, latents: torch.Tensor, *, exact: bool = False) -> torch.Tensor:
        """Latents (1, C, h, w) → image (H, W, 3), 8 bit, on the CPU; raises PictureNotFinite, NoRoom.

        exact: the same bits every time.
        """
        name = "z" if self._samples else "x"

        def decode(model: Any) -> torch.Tensor:
            scaled = (latents / self.scale + self.shift).to(model.dtype)
            image = self.run(model, component=self.component, exact=exact, method="decode", **{name: scaled})
            image = image.float()
            if not torch.isfinite(image).all():
                raise PictureNotFinite  # it would come out black
            image = (image / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
            return image[0].permute(1, 2, 0).cpu()

        height, width = (side * self.factor for side in latents.shape[-2:])
        return self._pass(DECODE, height, width).run(decode)

    def preview(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, h, w) → approximately what `decode` gives, scaled down by `factor`, (h, w, 3), 8 bit.

        The first call fits the colour map, which takes one encoding and one decoding of a small image.
        """
        return self._colour_map(latents)

    @cached_property
    def _colour_map(self) -> ColourMap:
        # Runs on another thread than the engine's, which must still find the memory that it has reserved.
        with self.component.memory.lock:
            return ColourMap.fit(lambda image: self.encode(image, None), partial(self.decode, exact=True))

    def _pass(self, kind: str, height: int, width: int) -> ForwardPass:
        elements = (ACTIVATION if self._samples else TINY_ACTIVATION)[kind]
        guess = self.component.guess(elements * self._width * height * width)
        return self.component.forward_pass(kind, height, width, 1, guess)


class ColourMap:
    """RGB = W z + b for every latent z, fitted once per autoencoder by least squares to what its decoder draws.

    Latents of these autoencoders are nearly images themselves, an eighth in size, in other colours.
    """

    def __init__(self, weights: torch.Tensor) -> None:
        #: (C + 1, 3), the last row being b, for colours from 0 to 255.
        self._weights = weights

    @classmethod
    def fit(
        cls, encode: Callable[[torch.Tensor], torch.Tensor], decode: Callable[[torch.Tensor], torch.Tensor]
    ) -> ColourMap:
        """Encode patches of colour, (1, 3, H, W) in [-1, 1], and compare their latents with their pixels, (H, W, 3)."""
        latents = encode(_patches())
        colours = decode(latents).permute(2, 0, 1)[None].float()
        small = avg_pool2d(colours, colours.shape[-1] // latents.shape[-1])
        fitted = torch.linalg.lstsq(_rows(latents.cpu().float()), small[0].flatten(1).T).solution
        return cls(fitted.to(latents.device))

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (1, C, h, w) → a small image (h, w, 3), 8 bit, on the CPU."""
        colours = _rows(latents.float()) @ self._weights
        height, width = latents.shape[-2:]
        return colours.clamp(0, 255).round().to(torch.uint8).view(height, width, 3).cpu()


def _patches() -> torch.Tensor:
    """A fixed image of all colours next to each other, one half of it smooth."""
    random = torch.rand((2, 3, PATCHES, PATCHES), generator=torch.Generator().manual_seed(0))
    hard = interpolate(random[:1], size=(SIDE, SIDE // 2), mode="nearest")
    soft = interpolate(random[1:], size=(SIDE, SIDE // 2), mode="bilinear")
    return 2.0 * torch.cat([hard, soft], dim=-1) - 1.0


def _rows(latents: torch.Tensor) -> torch.Tensor:
    """(1, C, h, w) → (h w, C + 1), with a 1 in each row for b."""
    rows = latents[0].flatten(1).T
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
