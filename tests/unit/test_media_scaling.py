"""Sizes that models take, and pictures made larger and smaller."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageColor, ImageDraw

from tintype.core import Fit
from tintype.media.scaling import fit, fitted_size, native_size, resize

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def near(pixel: Any, expected: tuple[int, int, int], by: int = 12) -> bool:
    return all(abs(a - b) <= by for a, b in zip(pixel, expected, strict=True))


def test_fit_covers_and_crops_the_centre() -> None:
    image = Image.new("RGB", (90, 30), GREEN)
    image.paste(RED, (0, 0, 30, 30))
    image.paste(BLUE, (60, 0, 90, 30))
    fitted = fit(image, 60, 60)
    assert fitted.size == (60, 60)
    assert near(fitted.getpixel((6, 30)), GREEN)
    assert near(fitted.getpixel((54, 30)), GREEN)
    assert fit(image, 90, 30) is image
    assert fit(Image.new("RGB", (5000, 1)), 64, 64).size == (64, 64)


@pytest.mark.parametrize(
    ("given_size", "taken"),
    [
        ((1024, 1024), (1024, 1024)),
        ((512, 768), (512, 768)),
        ((2048, 2048), (1024, 1024)),
        ((4000, 3000), (1168, 880)),
        ((1000, 700), (992, 688)),
        ((1, 1), (64, 64)),
        ((20, 100), (64, 320)),
        ((100_000, 10), (2048, 64)),
    ],
)
def test_fitted_size(given_size: tuple[int, int], taken: tuple[int, int]) -> None:
    assert fitted_size(*given_size) == taken


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_fitted_size_keeps_its_promises(width: int, height: int) -> None:
    across, down = fitted_size(width, height)
    assert across % 16 == down % 16 == 0
    assert min(across, down) >= 64
    assert max(across, down) <= 2048
    assert across * down <= 2**20
    assert fitted_size(across, down) == (across, down), "a picture that was fitted where it was decoded stays as it is"
    if max(width, height) < 10 * min(width, height):
        assert abs(across / down - width / height) / (width / height) < 0.3


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ((512, 512), (128, 128)),
        ((1024, 1024), (128, 128)),
        ((64, 64), (128, 128)),
        ((768, 512), (144, 96)),
        ((512, 768), (96, 144)),
        ((1344, 768), (176, 96)),
        ((1536, 640), (192, 80)),
        ((256, 1024), (64, 256)),
        ((2048, 512), (256, 64)),
        ((2048, 64), (512, 32)),
    ],
)
def test_native_size(asked: tuple[int, int], drawn: tuple[int, int]) -> None:
    assert native_size(*asked, 128) == drawn


@given(st.integers(64, 2048), st.integers(64, 2048), st.sampled_from([128, 150, 160, 256]))
def test_native_size_keeps_its_promises(width: int, height: int, side: int) -> None:
    across, down = native_size(width, height, side)
    assert across % 16 == down % 16 == 0
    assert max(across, down) <= 4 * side
    if max(width, height) <= 4 * min(width, height):
        assert abs(math.log(across * down / side**2)) < 0.4
        assert abs(math.log(across / down * height / width)) < 0.3


@pytest.mark.parametrize("size", [(1024, 1024), (768, 512), (130, 128), (64, 1000), (48, 32), (128, 128)])
def test_resize_gives_the_very_size_and_the_whole_picture(size: tuple[int, int]) -> None:
    image = Image.new("RGB", (128, 128), GREEN)
    image.paste(RED, (0, 0, 64, 128))
    made = resize(image, *size)
    assert made.size == size
    assert near(made.getpixel((size[0] // 8, size[1] // 2)), RED)
    assert near(made.getpixel((size[0] * 7 // 8, size[1] // 2)), GREEN)
    assert resize(image, 128, 128) is image


def test_enlarging_keeps_what_is_flat_and_edges_crisp() -> None:
    small = disc(128)
    made = resize(small, 1024, 1024)
    assert made.getpixel((20, 20)) == small.getpixel((2, 2)), "flat stays flat"
    truth = disc(1024)
    assert difference(made, truth) < difference(small.resize(truth.size, Image.Resampling.LANCZOS), truth)


def disc(side: int) -> Image.Image:
    """A red disc on blue."""
    large = Image.new("RGB", (2048, 2048), BLUE)
    ImageDraw.Draw(large).ellipse((400, 300, 1700, 1800), RED)
    return large.resize((side, side), Image.Resampling.BOX)


def difference(one: Image.Image, other: Image.Image) -> float:
    histogram = ImageChops.difference(one, other).convert("L").histogram()
    return sum(level * count for level, count in enumerate(histogram)) / (one.width * one.height)


@pytest.mark.parametrize(
    ("how", "corners"),
    [
        ("cover", ["green", "green", "green", "green"]),  # the middle of the image alone
        ("stretch", ["red", "blue", "red", "blue"]),
        ("contain", ["red", "blue", "red", "blue"]),
    ],
)
def test_how_an_image_is_brought_to_another_shape(how: Fit, corners: list[str]) -> None:
    image = Image.new("RGB", (300, 100), "green")
    image.paste("red", (0, 0, 50, 100))
    image.paste("blue", (250, 0, 300, 100))
    found = fit(image, 120, 120, how)
    assert found.size == (120, 120)
    places = [(0, 0), (119, 0), (0, 119), (119, 119)]
    assert [found.getpixel(place) for place in places] == [ImageColor.getrgb(colour) for colour in corners]
    middle = [found.getpixel((x, 60)) for x in (0, 60, 119)]
    assert middle == [ImageColor.getrgb(colour) for colour in (corners[0], "green", corners[1])]


def test_what_is_left_beside_a_tall_image_has_the_pixels_of_its_edges() -> None:
    image = Image.new("RGB", (10, 40), "white")
    image.paste("black", (0, 0, 5, 40))
    found = fit(image, 40, 40, "contain")
    assert [found.getpixel((x, 20)) for x in (0, 14, 26, 39)] == [*[(0, 0, 0)] * 2, *[(255, 255, 255)] * 2]
