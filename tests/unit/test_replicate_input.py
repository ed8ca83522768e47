"""A prediction's input as a model's parameters: own names, general ones, sizes, samplers, files."""

from __future__ import annotations

from typing import Any

import pytest

from tintype.catalog.models import MODELS
from tintype.catalog.spec import Parsed
from tintype.core import Json
from tintype.errors import InvalidParameter, MissingParameter
from tintype.web.dialects.replicate_input import read_input, shaped, translated

TURBO, TEXT, OLD_TEXT = "stable-diffusion-3.5-turbo-txt2img", "sd3-med-txt2img", "sd1.5-txt2img"
OLD, MEDIUM, EDIT_TURBO = "sd1.5-img2img", "sd3-med-img2img", "stable-diffusion-3-turbo-img2img"
IMAGE = {"image": "https://a.example/x.png"}


def parsed(slug: str, input: Json | None = None, **more: Any) -> Parsed:
    sent = {"prompt": "a fox", **(input or {}), **more}
    return translated(MODELS, MODELS[slug], read_input({"input": sent}), lambda _name, source: source)


@pytest.mark.parametrize(
    ("slug", "sent", "field", "value"),
    [
        (TURBO, {"num_outputs": 3}, "count", 3),
        (TURBO, {"num_images": "2"}, "count", 2),
        (TURBO, {"batch_size": 2, "num_outputs": 3}, "count", 2),
        (OLD_TEXT, {"num_outputs": 4}, "count", 4),
        (TURBO, {"num_inference_steps": 7}, "steps", 7),
        (OLD_TEXT, {"steps": 30}, "steps", 30),
        (TEXT, {"guidance": 3}, "guidance", 3.0),
        (MEDIUM, {**IMAGE, "prompt_strength": 0.4}, "strength", 0.4),
        (MEDIUM, {**IMAGE, "strength": 0.4, "prompt_strength": 0.9}, "strength", 0.4),
        (TURBO, {"seed": None}, "seed", -1),
        (TURBO, {}, "seed", -1),
        (TURBO, {"seed": 7}, "seed", 7),
        (TURBO, {}, "format", "webp"),
        (OLD_TEXT, {"output_format": "jpg"}, "format", "jpeg"),
        (TURBO, {"image_format": "png"}, "format", "png"),
        (TURBO, {"image_format": "png", "output_format": "WEBP"}, "format", "webp"),
        (OLD_TEXT, {}, "quality", 95),
        (OLD_TEXT, {"output_quality": 1}, "quality", 10),
        (TURBO, {"output_quality": "80"}, "quality", 80),
        (TURBO, {"image_quality": 40}, "quality", 40),
        (TURBO, {"base64": True}, "base64", False),
        (TEXT, {"scheduler": "karras"}, "schedule", "karras"),
        (TEXT, {"scheduler": "euler"}, "sampler", "euler"),
        (TEXT, {"scheduler": "K_EULER_ANCESTRAL"}, "sampler", "euler_ancestral"),
        (TEXT, {"scheduler": "DDIM"}, "sampler", "ddim"),
        (TEXT, {"scheduler": "DPMSolverMultistep", "sampler": "heun"}, "sampler", "heun"),
        (OLD_TEXT, {"scheduler": "DPM Multi"}, "sampler", "DPM Multi"),
        (OLD_TEXT, {"scheduler": "KDPM2Discrete"}, "sampler", "DPM2 Karras"),
        (OLD_TEXT, {"scheduler": "PNDM"}, "sampler", "PNDM"),
    ],
)
def test_fields_by_own_and_general_names(slug: str, sent: Json, field: str, value: object) -> None:
    assert getattr(parsed(slug, sent).params, field) == value


@pytest.mark.parametrize(
    ("slug", "sent", "size"),
    [
        (TURBO, {}, (1024, 1024)),
        (TURBO, {"size": "512x768"}, (512, 768)),
        (TURBO, {"size": "auto", "width": 256, "height": "320"}, (256, 320)),
        (TURBO, {"size": "512x768", "aspect_ratio": "16:9 landscape 1344x768"}, (512, 768)),
        (TURBO, {"aspect_ratio": "16:9 landscape 1344x768", "width": 256}, (1344, 768)),
        (TURBO, {"aspect_ratio": "16:9"}, (1360, 768)),
        (TURBO, {"aspect_ratio": "1:1", "width": 256}, (1024, 1024)),
        (TURBO, {"aspect_ratio": "match_input_image"}, (1024, 1024)),
        (TEXT, {"width": 256, "height": 512}, (256, 512)),
        (TEXT, {"img_width": 256, "height": 512}, (256, 512)),
        (OLD_TEXT, {"aspect_ratio": "16:9"}, (1024, 576)),
        (OLD, {"aspect_ratio": "2:3"}, (512, 768)),
        (OLD, {**IMAGE, "size": "768x512"}, (768, 512)),
        (MEDIUM, {**IMAGE, "size": "512x512"}, (512, 512)),
        (MEDIUM, {**IMAGE, "aspect_ratio": "2:1"}, (1456, 720)),
        (MEDIUM, IMAGE, (0, 0)),
        (MEDIUM, {**IMAGE, "width": 640, "height": 640}, (640, 640)),
    ],
)
def test_sizes(slug: str, sent: Json, size: tuple[int, int]) -> None:
    params = parsed(slug, sent).params
    assert (params.width, params.height) == size


@pytest.mark.parametrize(
    ("sent", "ignored"),
    [
        ({"size": "512x768", "width": 256, "height": 256, "aspect_ratio": "16:9"}, ("aspect_ratio", "height", "width")),
        ({"size": "512x768", "aspect_ratio": "custom"}, ()),
        ({"aspect_ratio": "16:9", "width": 256}, ("width",)),
        ({"width": 256, "height": 256}, ()),
    ],
)
def test_what_a_size_goes_before_is_said(sent: Json, ignored: tuple[str, ...]) -> None:
    assert tuple(sorted(parsed(TURBO, sent).ignored)) == ignored


def test_a_shape_is_a_megapixel_at_most_in_what_the_model_draws() -> None:
    for ratio in (1.0, 16 / 9, 9 / 16, 21 / 9, 32.0, 1 / 32):
        width, height = shaped(MODELS[TURBO], ratio)
        assert width % 16 == height % 16 == 0
        assert width * height <= 1.05 * 2**20
        assert 64 <= min(width, height) <= max(width, height) <= 2048


def test_what_the_image_s_size_decides() -> None:
    """A model with only some sides draws the nearest shape; the others draw at the image's own size."""
    decided = parsed(OLD, IMAGE).size_for
    assert decided
    assert [decided(size) for size in ((600, 300), (300, 600), (64, 64))] == [(768, 512), (512, 768), (512, 512)]
    assert parsed(OLD, IMAGE, img_width=512).size_for is None
    assert parsed(MEDIUM, IMAGE).size_for is None


@pytest.mark.parametrize(
    ("slug", "sent", "canvas"),
    [
        (OLD, {}, (512, 512)),
        (OLD, {"size": "768x512", "strength": 0.3}, (768, 512)),
        (MEDIUM, {}, (1024, 1024)),
        (MEDIUM, {"width": 512}, (512, 1024)),
        (EDIT_TURBO, {"aspect_ratio": "1:1"}, (1024, 1024)),
    ],
)
def test_without_an_image_it_draws_on_a_canvas_of_which_nothing_is_kept(
    slug: str, sent: Json, canvas: tuple[int, int]
) -> None:
    found = parsed(slug, sent)
    assert (found.canvas, found.params.strength) == (canvas, 1)
    assert ("strength" in found.ignored) == ("strength" in sent)


@pytest.mark.parametrize("name", ["image", "input_image", "init_image"])
def test_the_image_by_any_of_its_names_and_what_is_ignored(name: str) -> None:
    found = parsed(MEDIUM, {name: "/files/x.png", "go_fast": True, "num_frames": 3, "disable_safety_checker": None})
    assert found.params.source == "/files/x.png"
    assert found.canvas is None
    assert found.ignored == ("go_fast", "num_frames")
    assert parsed(TURBO, prompt_strength=0.5, output_format="png").ignored == ("prompt_strength",)
    assert parsed(EDIT_TURBO, steps=20, guidance_scale=7, base64=True).ignored == ("steps", "guidance_scale", "base64")


def test_a_model_that_takes_a_mask_has_it() -> None:
    found = parsed("sd1.5-inpainting", {**IMAGE, "mask": "/files/m.png"})
    assert [(one.role, one.source) for one in found.params.inputs] == [
        ("init", IMAGE["image"]),
        ("mask", "/files/m.png"),
    ]


@pytest.mark.parametrize(
    ("slug", "sent", "name", "words"),
    [
        (TURBO, {"seed": "x"}, "seed", "a whole number from -1"),
        (TURBO, {"num_outputs": 99}, "num_outputs", "from 1 to 10"),
        (EDIT_TURBO, {"num_outputs": 2}, "num_outputs", "1, which is what"),
        (OLD_TEXT, {"steps": 2}, "steps", "from 20 to 100"),
        (OLD, {"size": "1024x1024"}, "size", "each 512 or 768"),
        (OLD, {"width": 1024}, "width", "one of 512, 768"),
        (MEDIUM, {"width": 10}, "width", "from 64 to 2048"),
        (TURBO, {"size": "big"}, "size", "WIDTHxHEIGHT"),
        (TURBO, {"aspect_ratio": "0:1"}, "aspect_ratio", "WIDTH:HEIGHT"),
        (TURBO, {"aspect_ratio": 1.5}, "aspect_ratio", "WIDTH:HEIGHT"),
        (TURBO, {"scheduler": "nope"}, "scheduler", "one of normal, karras"),
        (TURBO, {"scheduler": 7}, "scheduler", "one of "),
        (TURBO, {"output_format": "gif"}, "output_format", "webp, png, jpg, jpeg"),
        (TURBO, {"output_quality": 0}, "output_quality", "from 1 to 100"),
        (TURBO, {"mask": "x"}, "mask", "can't repaint"),
        (TURBO, {"image": "x"}, "image", "takes no image; those that do are sd1.5-img2img, "),
        (TURBO, {"init_image": "x"}, "init_image", "takes no image"),
        (MEDIUM, {"image": ["x"]}, "image", "an http(s) URL"),
    ],
)
def test_faults_are_named_as_they_were_sent(slug: str, sent: Json, name: str, words: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parsed(slug, sent)
    assert refused.value.name == f"input.{name}"
    assert refused.value.message.startswith(f"input.{name}: ")
    assert words in refused.value.message


def test_what_is_missing() -> None:
    with pytest.raises(MissingParameter, match=r"^input\.prompt: required"):
        parsed(TURBO, prompt=None)
    with pytest.raises(MissingParameter, match=r"^input\.mask: required"):
        parsed("sd1.5-inpainting", IMAGE)
    for body, kind in (({}, MissingParameter), ({"input": "x"}, InvalidParameter)):
        with pytest.raises(kind, match=r"^input: "):
            read_input(body)
