"""From parameters to an order: sizes, seeds, steps."""

from __future__ import annotations

from typing import Any

import pytest

from tintype.catalog.models import MODELS
from tintype.catalog.parameters import planned_steps
from tintype.catalog.spec import DRAWN_SEEDS
from tintype.core import GenerationParams

TEXT = MODELS["stable-diffusion-3.5-turbo-txt2img"]
OLD = MODELS["sd1.5-img2img"]
MEDIUM = MODELS["sd3-med-img2img"]
TURBO = MODELS["stable-diffusion-3-turbo-img2img"]


def ordered(spec: Any, **changes: Any) -> GenerationParams:
    return spec.read(spec.validate({**spec.example, **changes})[0])


@pytest.mark.parametrize("side", range(64, 200))
def test_sides_are_the_nearest_multiple_of_16(side: int) -> None:
    made = ordered(TEXT, width=side, height=2048).width
    assert made % 16 == 0
    assert made >= 64
    assert abs(made - side) <= 8


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("1:1 square 1024x1024", (1024, 1024)),
        ("3:4 portrait 896x1152", (896, 1152)),
        ("5:8 portrait 832x1216", (832, 1216)),
        ("9:16 portrait 768x1344", (768, 1344)),
        ("9:21 portrait 640x1536", (640, 1536)),
        ("4:3 landscape 1152x896", (1152, 896)),
        ("3:2 landscape 1216x832", (1216, 832)),
        ("16:9 landscape 1344x768", (1344, 768)),
        ("21:9 landscape 1536x640", (1536, 640)),
        ("custom", (96, 2048)),
    ],
)
def test_aspect_ratios(ratio: str, size: tuple[int, int]) -> None:
    made = ordered(TEXT, width=100, height=2048, aspect_ratio=ratio)
    assert (made.width, made.height) == size


def test_every_parameter_finds_its_place() -> None:
    changes = {"steps": 9, "guidance_scale": 3, "seed": 5, "batch_size": 2, "image_format": "webp", "image_quality": 40}
    assert ordered(
        TEXT, prompt="a", negative_prompt="b", width=64, height=128, base64=True, **changes
    ) == GenerationParams(
        prompt="a",
        negative_prompt="b",
        steps=9,
        guidance=3.0,
        seed=5,
        count=2,
        width=64,
        height=128,
        sampler="dpmpp_2m",
        schedule="sgm_uniform",
        format="webp",
        quality=40,
        base64=True,
    )
    made = ordered(OLD, samples=3, img_width=768, scheduler="PNDM")
    assert (made.count, made.width, made.height, made.sampler, made.strength) == (3, 768, 512, "PNDM", 0.75)
    made = ordered(MEDIUM, samples=4)
    assert (made.count, made.width, made.height, made.steps, made.guidance) == (4, 0, 0, 20, 5.0)


def test_the_turbo_model_takes_four_steps_without_guidance() -> None:
    made = TURBO.parse(TURBO.example).with_seed(lambda _: 3).params
    assert (made.steps, made.guidance, made.seed, made.format) == (4, 1.0, 3, "jpeg")


def test_pictures_have_the_next_seeds_and_the_last_one_is_followed_by_the_first() -> None:
    assert ordered(TEXT, seed=5, batch_size=3).seeds == [5, 6, 7]
    assert ordered(TEXT, seed=2**63 - 1, batch_size=2).seeds == [2**63 - 1, 0]


def test_only_minus_one_is_drawn() -> None:
    asked = []

    def draw(below: int) -> int:
        asked.append(below)
        return 77

    drawn = TEXT.parse({**TEXT.example, "seed": -1}).with_seed(draw)
    assert (drawn.values["seed"], drawn.params.seed) == (77, 77)
    assert asked == [DRAWN_SEEDS]
    for seed in (0, 1, 2**63 - 1):
        kept = TEXT.parse({**TEXT.example, "seed": seed}).with_seed(draw)
        assert (kept.values["seed"], kept.params.seed) == (seed, seed)
    assert asked == [DRAWN_SEEDS]


def test_planned_steps() -> None:
    assert planned_steps(ordered(OLD, num_inference_steps=20, strength=0.1)) == 2
    assert planned_steps(ordered(OLD, num_inference_steps=100, strength=1)) == 100
    assert planned_steps(ordered(MEDIUM, strength=0.1)) == 20
    assert planned_steps(ordered(TEXT)) == 4
    assert planned_steps(ordered(OLD, num_inference_steps=20, strength=0.5, scheduler="Heun")) == 19


def test_what_an_earlier_version_stored_without_a_later_parameter_is_understood() -> None:
    whole, _ = TEXT.validate(TEXT.example)
    earlier = {name: value for name, value in whole.items() if name != "exact"}
    assert TEXT.read(earlier) == TEXT.read(whole)
    with pytest.raises(KeyError):
        TEXT.read({name: value for name, value in whole.items() if name != "prompt"})
