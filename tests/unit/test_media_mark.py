"""The watermark: its format, which never changes, and what reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tintype.media.provenance.mark import ALONE, Pixels, find, put

#: One that was drawn once, when the format was made.
NUMBER = bytes.fromhex("12347b0c55d1")
GOLDEN = "1de5fa1db88b73e2d93b3a8973e76195eff0a19d1c9abad04ea48d01867b10a1"


def gradient(side: int = 512) -> Pixels:
    across, down = np.arange(side)[np.newaxis, :], np.arange(side)[:, np.newaxis]
    bands = np.broadcast_arrays(across // 2 % 256, down // 2 % 256, (across + down) // 4 % 256)
    return np.stack(bands, axis=-1).astype(np.uint8)


def test_the_format_never_changes() -> None:
    assert hashlib.sha256(put(gradient(), NUMBER).tobytes()).hexdigest() == GOLDEN


@given(st.binary(min_size=6, max_size=6))
def test_every_number_is_read(number: bytes) -> None:
    found = find(put(gradient(320), number))
    assert found is not None
    assert found.number == number


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_an_image_of_one_colour(level: int) -> None:
    """Half of the change is cut off where there is only black or white; what is left is enough."""
    plain = np.full((512, 512, 3), level, np.uint8)
    found = find(put(plain, NUMBER))
    assert found is not None
    assert found.number == NUMBER
    assert find(plain) is None


def test_every_shift_is_read() -> None:
    """A crop begins anywhere in a tile."""
    marked = put(gradient(), NUMBER)
    for top, left in ((0, 1), (1, 0), (37, 5), (100, 151)):
        found = find(marked[top : top + 400, left : left + 400])
        assert found is not None
        assert found.number == NUMBER


def test_no_other_number_is_taken_for_it() -> None:
    """Half of an image has one number, half another: none is made up of the two."""
    both = gradient()
    other = bytes.fromhex("abcdef012345")
    both[:256], both[256:] = put(both[:256], NUMBER), put(both[256:], other)
    found = find(both)
    assert found is not None
    assert found.number in (NUMBER, other, None)
    assert found.number or found.z > ALONE


@pytest.mark.parametrize("shape", [(1, 1), (127, 600), (600, 127), (1, 5000), (5000, 1)])
def test_images_too_small_to_hold_one(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    marked = put(pixels, NUMBER)
    assert marked.shape == pixels.shape
    assert find(marked) is None


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda noise: noise.integers(0, 256, (384, 384, 3), np.uint8), id="noise"),
        pytest.param(lambda noise: np.tile(noise.integers(0, 256, (64, 64, 3), np.uint8), (6, 6, 1)), id="tiles"),
        pytest.param(
            lambda noise: np.tile(noise.integers(0, 256, (256, 256, 3), np.uint8), (2, 2, 1)), id="its-period"
        ),
    ],
)
def test_what_repeats_itself_is_no_mark(draw: Callable[[np.random.Generator], Pixels]) -> None:
    assert find(draw(np.random.default_rng(1))) is None


def test_the_input_is_left_as_it_was() -> None:
    pixels = gradient(256)
    put(pixels, NUMBER)
    assert (pixels == gradient(256)).all()


@pytest.mark.parametrize("number", [b"", b"12345", b"1234567"])
def test_a_number_has_six_bytes(number: bytes) -> None:
    with pytest.raises(ValueError, match="6 bytes"):
        put(gradient(64), number)
