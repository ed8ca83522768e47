"""The catalogue against the contract's tables, which are written out here a second time."""

from __future__ import annotations

from typing import Any

import pytest

from tintype.catalog.models import MODELS, SD15_IMG2IMG
from tintype.catalog.spec import Tariff
from tintype.errors import InvalidParameter, NotFound

WHOLE, NUMBER, TEXT, FLAG, PICTURE = "integer", "number", "string", "boolean", "picture"
#: Drawn from the contract: name → type, required, default, allowed (a range, an enumeration, or None).
Table = dict[str, tuple[str, bool, Any, Any]]

SAMPLERS = [
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2",
    "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu",
    "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm",
    "ipndm", "ipndm_v", "deis", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip
SCHEDULES = ["normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "beta"]
OLD_SCHEDULERS = [
    "DDIM", "DPM Multi", "DPM Single", "Euler a", "Euler", "Heun", "DPM2 a Karras", "DPM2 Karras", "LMS", "PNDM",
    "DDPM", "UniPC",
]  # fmt: skip
ASPECT_RATIOS = [
    "custom", "1:1 square 1024x1024", "3:4 portrait 896x1152", "5:8 portrait 832x1216", "9:16 portrait 768x1344",
    "9:21 portrait 640x1536", "4:3 landscape 1152x896", "3:2 landscape 1216x832", "16:9 landscape 1344x768",
    "21:9 landscape 1536x640",
]  # fmt: skip

TABLES: dict[str, Table] = {
    "sd1.5-img2img": {
        "image": (PICTURE, True, None, None),
        "prompt": (TEXT, True, None, None),
        "negative_prompt": (TEXT, False, "", None),
        "samples": (WHOLE, False, 1, (1, 4)),
        "scheduler": (TEXT, False, "DDIM", OLD_SCHEDULERS),
        "num_inference_steps": (WHOLE, False, 20, (20, 100)),
        "guidance_scale": (NUMBER, False, 7.5, (0.1, 25)),
        "strength": (NUMBER, False, 1, (0.1, 1)),
        "seed": (WHOLE, False, -1, (-1, 2**63 - 1)),
        "img_width": (WHOLE, False, 512, [512, 768]),
        "img_height": (WHOLE, False, 512, [512, 768]),
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),  # ours: WIRE.md has no word of it
    },
    "sd3-med-img2img": {
        "image": (PICTURE, True, "/sd3-img2img-ip.jpg", None),
        "prompt": (TEXT, True, "photo of a boy holding phone on table,3d pixar style", None),
        "negative_prompt": (TEXT, False, "low quality,less details", None),
        "num_inference_steps": (WHOLE, False, 20, (1, 100)),
        "guidance_scale": (NUMBER, False, 5, (1, 20)),
        "seed": (WHOLE, False, 698845, (-1, 2**63 - 1)),
        "samples": (WHOLE, False, 1, (1, 4)),
        "strength": (NUMBER, False, 0.7, (0, 1)),
        "sampler": (TEXT, False, "dpmpp_2m", SAMPLERS),
        "scheduler": (TEXT, False, "sgm_uniform", SCHEDULES),
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),  # ours: WIRE.md has no word of it
    },
    "stable-diffusion-3-turbo-img2img": {
        "mode": (TEXT, True, "image-to-image", ["image-to-image"]),
        "image": (PICTURE, True, "/sd3-turbo-i2i-input.jpg", None),
        "prompt": (TEXT, False, "", None),
        "strength": (NUMBER, False, 1, (0, 1)),
        "seed": (WHOLE, False, -1, (-1, 2**63 - 1)),
        "output_format": (TEXT, False, "jpeg", ["jpeg", "png", "avif"]),
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),  # ours: WIRE.md has no word of it
    },
    "stable-diffusion-3.5-turbo-txt2img": {
        "prompt": (TEXT, True, None, None),
        "negative_prompt": (TEXT, False, "low quality, blurry", None),
        "sampler": (TEXT, False, "dpmpp_2m", SAMPLERS),  # "yes, defaulted": it need not be sent
        "scheduler": (TEXT, False, "sgm_uniform", SCHEDULES),
        "steps": (WHOLE, False, 4, (1, 70)),
        "guidance_scale": (NUMBER, False, 1, (1, 15)),
        "seed": (WHOLE, False, 98552302, (-1, 2**63 - 1)),
        "width": (WHOLE, False, 1024, (64, 2048)),
        "height": (WHOLE, False, 1024, (64, 2048)),
        "aspect_ratio": (TEXT, False, "custom", ASPECT_RATIOS),
        "batch_size": (WHOLE, False, 1, (1, 10)),
        "image_format": (TEXT, False, "jpeg", ["jpeg", "png", "webp", "avif"]),
        "image_quality": (WHOLE, False, 95, (10, 100)),
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),  # ours: WIRE.md has no word of it
    },
    # Ours, as their image-to-image siblings are.
    "sd1.5-txt2img": {
        "prompt": (TEXT, True, None, None),
        "negative_prompt": (TEXT, False, "", None),
        "samples": (WHOLE, False, 1, (1, 4)),
        "scheduler": (TEXT, False, "DDIM", OLD_SCHEDULERS),
        "num_inference_steps": (WHOLE, False, 20, (20, 100)),
        "guidance_scale": (NUMBER, False, 7.5, (0.1, 25)),
        "seed": (WHOLE, False, -1, (-1, 2**63 - 1)),
        "img_width": (WHOLE, False, 512, (256, 1024)),
        "img_height": (WHOLE, False, 512, (256, 1024)),
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),
    },
    "sd3-med-txt2img": {
        "prompt": (TEXT, True, "photo of a boy holding phone on table,3d pixar style", None),
        "negative_prompt": (TEXT, False, "low quality,less details", None),
        "num_inference_steps": (WHOLE, False, 20, (1, 100)),
        "guidance_scale": (NUMBER, False, 5, (1, 20)),
        "seed": (WHOLE, False, 698845, (-1, 2**63 - 1)),
        "samples": (WHOLE, False, 1, (1, 4)),
        "sampler": (TEXT, False, "dpmpp_2m", SAMPLERS),
        "scheduler": (TEXT, False, "sgm_uniform", SCHEDULES),
        "img_width": (WHOLE, False, 1024, (64, 2048)),
        "img_height": (WHOLE, False, 1024, (64, 2048)),
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),
    },
    "sd1.5-inpainting": {
        "image": (PICTURE, True, None, None),
        "mask": (PICTURE, True, None, None),
        "prompt": (TEXT, True, None, None),
        "negative_prompt": (TEXT, False, "", None),
        "samples": (WHOLE, False, 1, (1, 4)),
        "scheduler": (TEXT, False, "DDIM", OLD_SCHEDULERS),
        "num_inference_steps": (WHOLE, False, 20, (20, 100)),
        "guidance_scale": (NUMBER, False, 7.5, (0.1, 25)),
        "strength": (NUMBER, False, 1, (0, 1)),
        "seed": (WHOLE, False, -1, (-1, 2**63 - 1)),
        "img_width": (WHOLE, False, 512, [512, 768]),
        "img_height": (WHOLE, False, 512, [512, 768]),
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),
    },
    "sdxl1.0-txt2img": {
        "prompt": (TEXT, True, None, None),
        "negative_prompt": (TEXT, False, "", None),
        "style": (TEXT, False, "base", ["base"]),
        "samples": (WHOLE, False, 1, (1, 4)),
        "scheduler": (TEXT, False, "UniPC", OLD_SCHEDULERS),
        "num_inference_steps": (WHOLE, False, 25, (20, 100)),
        "guidance_scale": (NUMBER, False, 7.5, (1, 25)),
        "strength": (NUMBER, False, 0.2, (0, 1)),
        "high_noise_fraction": (NUMBER, False, 0.8, (0, 1)),
        "seed": (WHOLE, False, -1, (-1, 2**63 - 1)),
        "img_width": (WHOLE, False, 1024, (512, 2048)),
        "img_height": (WHOLE, False, 1024, (512, 2048)),
        "refiner": (FLAG, False, False, [False]),  # until weights for one are configured
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),
    },
    "sdxl-img2img": {
        "image": (PICTURE, True, None, None),
        "prompt": (TEXT, True, None, None),
        "negative_prompt": (TEXT, False, "", None),
        "samples": (WHOLE, False, 1, (1, 4)),
        "scheduler": (TEXT, False, "UniPC", OLD_SCHEDULERS),
        "num_inference_steps": (WHOLE, False, 30, (20, 100)),
        "guidance_scale": (NUMBER, False, 6.5, (1, 25)),
        "strength": (NUMBER, False, 0.65, (0, 1)),
        "seed": (WHOLE, False, -1, (-1, 2**63 - 1)),
        "base64": (FLAG, False, False, None),
        "exact": (FLAG, False, False, None),
    },
}
PRICES = {
    "sd1.5-img2img": (3_700, 7.7),
    "sd3-med-img2img": (7_600, 7.4),
    "stable-diffusion-3.5-turbo-txt2img": (3_500, 4.8),
    "stable-diffusion-3-turbo-img2img": (80_000, 10.5),
    "sd1.5-txt2img": (3_700, 7.7),
    "sd3-med-txt2img": (7_600, 7.4),
    "sd1.5-inpainting": (3_700, 7.7),
    "sdxl1.0-txt2img": (8_000, 6.3),
    "sdxl-img2img": (8_000, 6.3),
}
NEVER_SLUGS = {"images", "models", "predictions", "requests", "get-user-credits", "files"}


def test_there_are_27_samplers_and_7_schedules() -> None:
    assert (len(set(SAMPLERS)), len(set(SCHEDULES)), len(ASPECT_RATIOS), len(OLD_SCHEDULERS)) == (27, 7, 10, 12)


def test_the_models_are_the_contracts() -> None:
    assert MODELS.keys() == TABLES.keys()
    assert {slug: (spec.price, spec.typical_seconds) for slug, spec in MODELS.items()} == PRICES
    assert not NEVER_SLUGS & MODELS.keys()
    assert [spec.takes_image for spec in MODELS.values()] == ["image" in TABLES[slug] for slug, spec in MODELS.items()]


@pytest.mark.parametrize("slug", TABLES)
def test_parameters_are_the_contracts(slug: str) -> None:
    found: Table = {}
    for param in MODELS[slug].parameters:
        allowed: Any = None
        if param.choices:
            allowed = list(param.choices)
        elif param.minimum is not None:
            allowed = (param.minimum, param.maximum)
        found[param.name] = (param.kind, param.required, param.default, allowed)
        assert param.help
    assert found == TABLES[slug]
    assert len(found) == len(MODELS[slug].parameters)


@pytest.mark.parametrize("slug", TABLES)
def test_both_ends_of_every_range_are_in_it(slug: str) -> None:
    spec = MODELS[slug]
    for name, (kind, _, _, allowed) in TABLES[slug].items():
        if not isinstance(allowed, tuple):
            continue
        for value in allowed:
            assert spec.validate({**spec.example, name: value})[0][name] == value
            assert spec.validate({**spec.example, name: str(value)})[0][name] == value
        step = 1 if kind == WHOLE else 1e-6
        for value in (allowed[0] - step, allowed[1] + step):
            with pytest.raises(InvalidParameter, match=f"^{name}: "):
                spec.validate({**spec.example, name: value})


@pytest.mark.parametrize("slug", TABLES)
def test_the_defaults_hold_for_what_is_not_sent(slug: str) -> None:
    spec = MODELS[slug]
    required = {name: value for name, value in spec.example.items() if TABLES[slug][name][1]}
    params, ignored = spec.validate(required)
    expected = {name: default for name, (_, needed, default, _) in TABLES[slug].items() if not needed}
    assert params == expected | required
    assert ignored == []


@pytest.mark.parametrize("slug", TABLES)
def test_the_example_is_accepted_as_it_is(slug: str) -> None:
    spec = MODELS[slug]
    params, ignored = spec.validate(spec.example)
    assert ignored == []
    assert {name: params[name] for name in spec.example} == dict(spec.example)


def test_only_what_is_asked_for_is_fixed() -> None:
    fixed = MODELS["stable-diffusion-3-turbo-img2img"].fixed
    assert (fixed["steps"], fixed["guidance"]) == (4, 1)
    assert [slug for slug, spec in MODELS.items() if spec.fixed] == ["stable-diffusion-3-turbo-img2img"]


def test_an_unknown_slug_is_not_found_by_name() -> None:
    with pytest.raises(NotFound, match="Model no-such not found"):
        MODELS.find("no-such")
    with pytest.raises(NotFound) as error:
        MODELS.find("x" * 10_000)
    assert len(error.value.message) < 400


def test_the_most_that_a_request_can_cost() -> None:
    assert SD15_IMG2IMG.tariff.max_price(4) == 14_800
    assert Tariff(101, "second", 2.5).max_price(3) == 758  # 757.5, rounded up
    assert Tariff(0, "second", 2.5).max_price(3) == 0
