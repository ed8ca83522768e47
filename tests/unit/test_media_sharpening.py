"""Sharpening is Pillow's, bit for bit: the same seed keeps its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from tintype.media.sharpening import sharpen

PILLOWS = ImageFilter.UnsharpMask(radius=1.5, percent=60, threshold=0)


@given(st.integers(1, 40), st.integers(1, 90), st.sampled_from([1, 5, 85, 255]), st.integers(0, 2**32 - 1))
def test_as_pillow_does(width: int, height: int, step: int, seed: int) -> None:
    """step: of the levels; with the largest there are only black and white."""
    levels = np.random.default_rng(seed).integers(0, 255 // step, (height, width, 3), dtype=np.uint8, endpoint=True)
    image = Image.fromarray(levels * np.uint8(step))
    assert sharpen(image).tobytes() == image.filter(PILLOWS).tobytes()


@pytest.mark.parametrize("turn", [0, 90])
def test_every_sum_that_a_pass_can_have(turn: int) -> None:
    """Of the inner three pixels 0 to 765, of the outer two 0 to 510: 40 sums at a time, from one image's rows."""
    inner, outer = np.meshgrid(np.arange(766), np.arange(0, 511, 3), indexing="ij")
    row = [outer - outer // 2, inner // 3, inner - inner // 3 - (inner + 1) // 3, (inner + 1) // 3, outer // 2]
    levels = np.stack(row, axis=-1).reshape(766 * 171 // 9, -1).astype(np.uint8)
    image = Image.fromarray(np.stack([levels] * 3, axis=-1)).rotate(turn, expand=True)
    assert sharpen(image).tobytes() == image.filter(PILLOWS).tobytes()
