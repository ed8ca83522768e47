"""Sizes of images: which a model takes, and images scaled to them."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product

from PIL import Image, ImageOps

from tintype.core import Fit, Size

#: Every side is a multiple of it: 8 pixels per latent, 2 latents per patch.
MULTIPLE = 16
MIN_SIDE = 64
#: As far as the position embeddings of the smallest SD 3 model reach.
MAX_SIDE = 2048
#: Max ratio of a natively drawn side to the square's, either way: beyond it, position embeddings end.
MAX_STRETCH = 4


def fit(image: Image.Image, width: int, height: int, how: Fit = "cover") -> Image.Image:
    """The image brought to width × height pixels as `core.Fit` says; itself if it has that size."""
    if image.size == (width, height):
        return image
    if how == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    if how == "contain":
        return _contained(image, width, height)
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def _contained(image: Image.Image, width: int, height: int) -> Image.Image:
    """The whole image in the middle; its outermost pixels fill what is left to its sides, or above and below."""
    inner = ImageOps.contain(image, (width, height), Image.Resampling.LANCZOS)
    left, top = (width - inner.width) // 2, (height - inner.height) // 2
    right, bottom = left + inner.width, top + inner.height
    whole = Image.new(image.mode, (width, height))
    for edge, place in (
        ((0, 0, 1, inner.height), (0, top, left, bottom)),
        ((inner.width - 1, 0, inner.width, inner.height), (right, top, width, bottom)),
        ((0, 0, inner.width, 1), (left, 0, right, top)),
        ((0, inner.height - 1, inner.width, inner.height), (left, bottom, right, height)),
    ):
        if place[0] < place[2] and place[1] < place[3]:
            whole.paste(inner.crop(edge).resize((place[2] - place[0], place[3] - place[1])), place)
    whole.paste(inner, (left, top))
    return whole


def fitted_size(width: int, height: int, max_pixels: int = 2**20) -> Size:
    """The size that a model takes for an image of this size, in pixels: the nearest shape that the limits allow.

    Each side is a multiple of 16 from 64 to 2048; the area is at most `max_pixels`.
    """
    scale = min(1.0, math.sqrt(max_pixels / (width * height)), MAX_SIDE / max(width, height))
    scale = max(scale, MIN_SIDE / min(width, height))
    across, down = (min(max(int(side * scale), MIN_SIDE), MAX_SIDE) for side in (width, height))
    return across - across % MULTIPLE, down - down % MULTIPLE


def output_size(width: int, height: int, init: Size | None) -> Size:
    """Width and height in pixels of a request's images; where it names none (0), those for its init image's size."""
    return fitted_size(*init) if init is not None and not width else (width, height)


@lru_cache(1024)
def native_size(width: int, height: int, side: int) -> Size:
    """The size at which weights trained on squares of `side` pixels draw: that area in the shape of width × height.

    Sides are multiples of 16; of the sizes that leaves, the nearest in shape and area, the shape counting twice.
    Trying all takes 0.3 ms for a side of 128 and 47 ms for one of 512: results are cached.
    """
    shortest = max(MULTIPLE, side // MAX_STRETCH - side // MAX_STRETCH % MULTIPLE)
    sides = range(shortest, side * MAX_STRETCH + 1, MULTIPLE)

    def error(size: Size) -> float:
        across, down = size
        shape = math.log(across / down * height / width)
        return 2 * abs(shape) + abs(math.log(across * down / side**2))

    return min(product(sides, sides), key=error)


def resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """The whole RGB image at another size; enlarged by doublings, each sharpened a little, so that edges stay crisp."""
    while image.width < width or image.height < height:
        from tintype.media.sharpening import sharpen  # noqa: PLC0415 - brings NumPy, which who enlarges nothing goes without

        step = (min(2 * image.width, max(width, image.width)), min(2 * image.height, max(height, image.height)))
        image = sharpen(image.resize(step, Image.Resampling.LANCZOS))
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
