"""What dialects share: sizes as each model takes them, and parameters by their meaning, named as the caller does."""

from __future__ import annotations

import pytest

from tintype.catalog.models import MODELS
from tintype.core import Size
from tintype.errors import InvalidParameter, MissingParameter
from tintype.web.dialects.common import (
    Translation,
    default_size,
    finished_size,
    nearest_shape,
    nearest_size,
    read_size,
    sizes_in_words,
)

FREE, SIDES, PICTURE, TURBO = (
    MODELS[slug]
    for slug in (
        "stable-diffusion-3.5-turbo-txt2img",
        "sd1.5-img2img",
        "sd3-med-img2img",
        "stable-diffusion-3-turbo-img2img",
    )
)


@pytest.mark.parametrize(
    ("sent", "size"),
    [
        ("512x768", (512, 768)),
        (" 1000 X 1001 ", (992, 1008)),
        ("64×2048", (64, 2048)),
        ("auto", None),
        ("", None),
        (None, None),
    ],
)
def test_a_size_is_read_and_rounded(sent: str | None, size: Size | None) -> None:
    assert read_size("size", sent) == size


@pytest.mark.parametrize("sent", ["63x64", "512x2049", "512", "512x", "axb", "-512x512", "5e2x512", 512, ["512x512"]])
def test_what_is_none_is_refused(sent: object) -> None:
    with pytest.raises(InvalidParameter, match=r"size: .* was sent; allowed: auto, or WIDTHxHEIGHT in pixels, each 64"):
        read_size("size", sent)


def test_models_have_any_sides_a_few_or_none() -> None:
    assert [default_size(one) for one in (FREE, SIDES, PICTURE)] == [(1024, 1024), (512, 512), (1024, 1024)]
    assert sizes_in_words(SIDES) == "auto, or WIDTHxHEIGHT in pixels, each 512 or 768"
    assert nearest_size(SIDES, (600, 700)) == (512, 768)
    assert nearest_size(MODELS["sd1.5-txt2img"], (64, 2048)) == (256, 1024)
    assert finished_size(PICTURE, (2048, 2048)) == (1024, 1024)
    assert finished_size(SIDES, (768, 768)) == (768, 768)


@pytest.mark.parametrize(
    ("size", "shape"),
    [((1000, 1000), (512, 512)), ((1600, 1000), (768, 512)), ((100, 300), (512, 768)), ((520, 500), (512, 512))],
)
def test_the_nearest_shape(size: Size, shape: Size) -> None:
    assert nearest_shape(SIDES, size) == shape


def test_parameters_by_their_meaning() -> None:
    asked = Translation(SIDES)
    assert asked.put("steps", "30", "steps")
    assert asked.put("prompt", "a fox", "prompt")
    assert asked.put("image", "/sample.jpeg", "image")
    assert not asked.put("schedule", "karras", "scheduler")
    asked.count("2", "n")
    asked.size((512, 768), "size", "512x768")
    params = asked.parsed().params
    assert (params.steps, params.count, params.width, params.height) == (30, 2, 512, 768)


def test_errors_name_the_caller_s_field() -> None:
    asked = Translation(SIDES)
    asked.count(5, "n")
    asked.put("prompt", "a fox", "text")
    asked.put("image", "/sample.jpeg", "image")
    with pytest.raises(InvalidParameter, match=r"^n: 5 was sent; allowed: a whole number from 1 to 4$"):
        asked.parsed()
    with pytest.raises(InvalidParameter, match=r"^size: '600x600' was sent; allowed: .* each 512 or 768$"):
        asked.size((608, 608), "size", "600x600")
    with pytest.raises(MissingParameter, match=r"^prompt: required"):
        Translation(SIDES, {"image": "/sample.jpeg"}).parsed()


def test_a_model_of_one_image_at_a_time_and_of_one_mode() -> None:
    asked = Translation(TURBO)
    asked.count(1, "n")
    with pytest.raises(InvalidParameter, match=r"^n: 2 was sent; allowed: 1"):
        asked.count(2, "n")
    asked.put("image", "/sample.jpeg", "image")
    assert asked.parsed().values["mode"] == "image-to-image"
