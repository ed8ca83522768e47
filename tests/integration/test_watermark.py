"""The watermark in images that tintype has drawn, and what it survives. benchmarks/marks.py tries it on many more."""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tests.watermarks import SURVIVED, encoded

from tintype.media.provenance.mark import find, put

NUMBER = bytes.fromhex("12347b0c55d1")
#: Two of the models' sample pictures: of the smooth kind, which is the hardest, and of the busy kind.
DRAWN = ("sd3-med-txt2img.webp", "sd1.5-txt2img.webp")


def drawn(name: str) -> Image.Image:
    data = (files("tintype") / "web/pages/static/samples" / name).read_bytes()
    return Image.open(BytesIO(data)).convert("RGB")


def marked(image: Image.Image, number: bytes = NUMBER) -> Image.Image:
    return Image.fromarray(put(np.asarray(image), number))


def number_of(image: Image.Image) -> bytes | None:
    found = find(np.asarray(image))
    return found.number if found else None


@pytest.mark.parametrize("name", DRAWN)
def test_none_is_found_where_none_was_put(name: str) -> None:
    assert find(np.asarray(drawn(name))) is None


@pytest.mark.parametrize("attack", SURVIVED)
def test_what_it_survives(attack: str) -> None:
    for name in DRAWN:
        assert number_of(SURVIVED[attack](marked(drawn(name)))) == NUMBER, name


@pytest.mark.parametrize("name", DRAWN)
def test_how_faint_it_is(name: str) -> None:
    """Signal to noise of more than 45 dB: about what a JPEG of quality 90 loses."""
    image = np.asarray(drawn(name))
    change = put(image, NUMBER).astype(float) - image
    assert 10 * np.log10(255**2 / (change**2).mean()) > 45
    assert abs(change).max() < 16


def test_a_small_image_holds_it() -> None:
    assert number_of(encoded(marked(drawn(DRAWN[1]).resize((320, 320))), "JPEG", 75)) == NUMBER


def test_one_on_top_of_another() -> None:
    """An output that was sent as an input image is marked again: one of the two is read, and never a third."""
    other = bytes.fromhex("12340a1b2c3d")
    for name in DRAWN:
        assert number_of(marked(marked(drawn(name)), other)) in (NUMBER, other)


def test_a_large_image() -> None:
    """Beyond 2048 pixels it is read at a smaller size."""
    assert number_of(marked(drawn(DRAWN[0]).resize((3072, 2048)))) == NUMBER
