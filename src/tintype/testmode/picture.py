"""The picture of a test request: a gradient that the request's own words choose, plainly marked as a test."""

from __future__ import annotations

import hashlib
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LEVELS = 256
MARK = "TEST"


def draw(slug: str, prompt: str, seed: int, width: int, height: int) -> Image.Image:
    """RGB, `width` × `height` pixels: the same for the same model, prompt, seed and size."""
    digest = hashlib.sha256(repr((slug, prompt, seed)).encode()).digest()
    colours = np.linspace([*digest[0:3]], [*digest[3:6]], LEVELS).astype(np.uint8)
    turn = digest[6] / LEVELS * 2 * pi
    across, down = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    share = (across * cos(turn) + down * sin(turn)) / (abs(cos(turn)) + abs(sin(turn)))
    picture = Image.fromarray(colours[((share + 1) / 2 * (LEVELS - 1)).astype(np.uint8)])
    _write(picture, MARK, 0.42, min(width // 4, height // 3))
    _write(picture, f"seed {seed}", 0.72, max(width // 16, 6))
    return picture


def _write(picture: Image.Image, text: str, down: float, size: int) -> None:
    """White on a black edge, so that it is read on any colour; `down` is its middle, as a share of the height."""
    place = (picture.width / 2, picture.height * down)
    edge = max(1, size // 16)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).text(place, text, "white", font, "mm", stroke_width=edge, stroke_fill="black")
