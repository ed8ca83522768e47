"""Sizes: what a model takes for a picture of some size, and pictures made larger and smaller."""

from __future__ import annotations

import math
from itertools import product

from PIL import Image, ImageFilter, ImageOps

#: Every side is a multiple of it: 8 pixels per latent, 2 latents per patch.
MULTIPLE = 16
SMALLEST_SIDE = 64
#: As far as the position embeddings of the smallest SD 3 model reach.
LONGEST_SIDE = 2048
#: How much longer or shorter than a square's a natively drawn side may be: beyond it, position embeddings end.
MOST_STRETCH = 4
#: After each doubling: gives back the sharpness that enlarging takes from smooth pictures, and no halos yet.
SHARPEN = ImageFilter.UnsharpMask(radius=1.5, percent=60, threshold=0)


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture scaled to cover width × height pixels and cropped around its centre; itself if it has that size."""
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def fitted_size(width: int, height: int, max_pixels: int = 2**20) -> tuple[int, int]:
    """The size that a model takes for a picture of this size, in pixels: its shape kept as nearly as the rest allows.

    Each side is a multiple of 16 from 64 to 2048; the area is at most `max_pixels`.
    """
    scale = min(1.0, math.sqrt(max_pixels / (width * height)), LONGEST_SIDE / max(width, height))
    scale = max(scale, SMALLEST_SIDE / min(width, height))
    across, down = (min(max(int(side * scale), SMALLEST_SIDE), LONGEST_SIDE) for side in (width, height))
    return across - across % MULTIPLE, down - down % MULTIPLE


def native_size(width: int, height: int, side: int) -> tuple[int, int]:
    """The size at which weights draw that know squares of `side` pixels: that area in the shape of width × height.

    Sides are multiples of 16, so that shape and area are kept as nearly as that allows, the shape twice as nearly.
    """
    shortest = max(MULTIPLE, side // MOST_STRETCH - side // MOST_STRETCH % MULTIPLE)
    sides = range(shortest, side * MOST_STRETCH + 1, MULTIPLE)

    def error(size: tuple[int, int]) -> float:
        across, down = size
        shape = math.log(across / down * height / width)
        return 2 * abs(shape) + abs(math.log(across * down / side**2))

    return min(product(sides, sides), key=error)


def resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """The whole picture at another size; larger by doublings, each sharpened a little, so that edges stay crisp."""
    while image.width < width or image.height < height:
        step = (min(2 * image.width, max(width, image.width)), min(2 * image.height, max(height, image.height)))
        image = image.resize(step, Image.Resampling.LANCZOS).filter(SHARPEN)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
