"""The picture of a test request: a gradient that the request's own words choose, plainly marked as a test."""

from __future__ import annotations

import hashlib
from math import cos, pi, sin

from PIL import Image, ImageDraw, ImageFont, ImageOps

MARK = "TEST"
#: Rows of Pillow's own gradient between which a picture lies; a little off its ends, where it would read outside.
FIRST, LAST = 4, 252


def draw(slug: str, prompt: str, seed: int, width: int, height: int) -> Image.Image:
    """RGB, `width` × `height` pixels: the same for the same model, prompt, seed and size."""
    digest = hashlib.sha256(repr((slug, prompt, seed)).encode()).digest()
    first, last = (digest[0], digest[1], digest[2]), (digest[3], digest[4], digest[5])
    picture = ImageOps.colorize(_slope(width, height, digest[6] / 256 * 2 * pi), first, last)
    _write(picture, MARK, 0.42, min(width // 4, height // 3))
    _write(picture, f"seed {seed}", 0.72, max(width // 16, 6))
    return picture


def _slope(width: int, height: int, turn: float) -> Image.Image:
    """Grey from dark to light in the direction of `turn`, in radians."""
    steep = (LAST - FIRST) / (abs(cos(turn)) + abs(sin(turn)))
    across, down = steep * cos(turn), steep * sin(turn)
    middle = (FIRST + LAST - across - down) / 2
    # For each pixel (x, y), where to look: always in the gradient's middle column, and in this row.
    where = (0, 0, 128, across / width, down / height, middle)
    return Image.linear_gradient("L").transform((width, height), Image.Transform.AFFINE, where)


def _write(picture: Image.Image, text: str, down: float, size: int) -> None:
    """White on a black edge, so that it is read on any colour; `down` is its middle, as a share of the height."""
    place = (picture.width / 2, picture.height * down)
    edge = max(1, size // 16)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).text(place, text, "white", font, "mm", stroke_width=edge, stroke_fill="black")
