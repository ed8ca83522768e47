"""What a prompt's writer may take for granted, and this server doesn't do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tintype.catalog.advice import wording
from tintype.catalog.models import MODELS, SD3_TURBO_IMG2IMG, SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.core import GenerationParams

ORDER = GenerationParams(prompt="a fox", steps=20, guidance=7.0, seed=1, sampler="DDIM")
WEIGHED = "words can't be weighted; the marks, as in (word:1.2), ((word)) or [word], are read as text"


@pytest.mark.parametrize(
    "prompt",
    [
        "a (red:1.2) fox",
        "a (red fox : 1.3 )",
        "(fox:.8)",
        "(fox:2)",
        "(fox:-1)",
        "(fox:+1.1)",
        "a ((red)) fox",
        "(((masterpiece, best quality)))",
        "((red:1.1))",
        "a [blurry] fox",
        "[fox:cat:0.5]",
        "[fox|cat]",
        "лиса (рыжая:1.4)",
    ],
)
def test_weights_are_said_to_be_text(prompt: str) -> None:
    assert wording(SD15_IMG2IMG, replace(ORDER, prompt=prompt)) == [f"prompt: {WEIGHED}"]
    assert wording(SD15_IMG2IMG, replace(ORDER, negative_prompt=prompt)) == [f"negative_prompt: {WEIGHED}"]


@pytest.mark.parametrize(
    "prompt",
    [
        "a fox (red) in snow",
        "a sign that says: 10:30",
        "in widescreen (16:9), a clock (at 10:30)",
        r"a face :) and \\(red:1.2\\)",
        r"fox \(animal\), \[sic\]",
        "a list [1] of notes [2]",
        "(a) and (b), f(x)",
        "",
    ],
)
def test_ordinary_brackets_are_no_weights(prompt: str) -> None:
    assert wording(SD15_IMG2IMG, replace(ORDER, prompt=prompt)) == []


def test_networks_are_said_to_be_text() -> None:
    [said] = wording(SD15_IMG2IMG, replace(ORDER, prompt="a fox <lora:lines:0.8>"))
    assert said == "prompt: <lora:name:1> is read as text; this model offers no LoRAs"


@pytest.mark.parametrize("bracket", ["(", "[", "((", "(a", "[a", "(a:", "<lora:", ")]"])
def test_it_takes_no_longer_for_odd_texts(bracket: str) -> None:
    text = bracket * (20_000 // len(bracket))
    wording(SD15_IMG2IMG, replace(ORDER, prompt=text + "a" * 20_000, negative_prompt=text))  # or it would not end


def test_a_negative_prompt_without_effect_is_said() -> None:
    own = replace(ORDER, guidance=1.0, negative_prompt="green", sampler="euler")
    words = ["negative_prompt: it has no effect at a guidance_scale of 1 or less"]
    assert wording(SD35_TURBO_TXT2IMG, own) == words
    assert wording(SD15_IMG2IMG, replace(own, sampler="Euler", guidance=0.5)) == words
    assert wording(SD35_TURBO_TXT2IMG, replace(own, guidance=1.5)) == []
    assert wording(SD35_TURBO_TXT2IMG, replace(own, sampler="euler_cfg_pp")) == []
    assert wording(SD35_TURBO_TXT2IMG, replace(own, sampler="somebody's")) == []
    # The model's own, which callers who say nothing get too.
    assert wording(SD35_TURBO_TXT2IMG, replace(own, negative_prompt="low quality, blurry")) == []
    assert wording(SD3_TURBO_IMG2IMG, replace(own, negative_prompt="")) == []


def test_what_has_no_effect_without_a_refiner_is_said() -> None:
    spec = MODELS["sdxl1.0-txt2img"]
    own = replace(ORDER, refiner_strength=0.5, high_noise_fraction=0.9)
    assert wording(spec, ORDER) == wording(spec, replace(ORDER, refiner=True)) == wording(SD15_IMG2IMG, own) == []
    without = "it has no effect without refiner"
    assert wording(spec, own) == [f"strength: {without}", f"high_noise_fraction: {without}"]
    early = "strength: it has no effect where high_noise_fraction is below 1"
    assert wording(spec, replace(own, refiner=True)) == [early]
    assert wording(spec, replace(own, refiner=True, high_noise_fraction=1)) == []
