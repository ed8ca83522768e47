"""The sample pictures."""

from __future__ import annotations

import pytest

from tintype.catalog import samples as catalog
from tintype.errors import NotFound
from tintype.media.images import decode
from tintype.media.samples import SAMPLES, draw

SIZES = {
    "/sd-img2img-input.jpeg": (512, 512),
    "/sd-inpainting-mask.jpeg": (512, 512),
    "/sd3-img2img-ip.jpg": (1024, 1024),
    "/sd3-turbo-i2i-input.jpg": (1024, 1024),
}


def test_these_are_served() -> None:
    assert set(SAMPLES) == set(SIZES)
    assert {sample.path: (sample.side, sample.side) for sample in catalog.SAMPLES} == SIZES


@pytest.mark.parametrize("path", SAMPLES)
def test_always_drawn_the_same(path: str) -> None:
    data = draw(path)
    assert draw(path) == data
    image = decode(data, 2**20)
    assert image.size == SIZES[path]
    assert len(image.getcolors(2**20) or ()) > (2 if "mask" in path else 1000)


def test_no_other_path() -> None:
    with pytest.raises(NotFound):
        draw("/../etc/passwd")
