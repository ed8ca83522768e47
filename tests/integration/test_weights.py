"""Weights beyond a plain folder: a LoRA on top, and what a folder says of itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from PIL import Image
from safetensors.torch import load_file, save_file
from structlog.testing import capture_logs
from tests.integration.drawing import network, pixels
from tests.toy_weights import BUILTIN, image_spec, toy_weights

from tintype.catalog.models import SD3_MEDIUM_IMG2IMG, SD35_TURBO_TXT2IMG, SDXL_IMG2IMG
from tintype.catalog.models import SDXL_TXT2IMG as XL
from tintype.catalog.recipe import notes, read_recipe
from tintype.catalog.spec import Catalogue
from tintype.checkpoints.weights import Lora, WeightsMetadata, WeightsSpec
from tintype.core import GenerationParams, InputImage, Recipe
from tintype.diffusion.check import check
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.errors import BadPicture, InvalidParameter, WeightsUnusable
from tintype.media.provenance.marker import NO_MARKS
from tintype.media.provenance.source import Origin
from tintype.media.scaling import output_size
from tintype.worker.models import ModelPool
from tintype.worker.outputs import finish
from tintype.worker.plan import image_specs, make_plan

LORA = "pytorch_lora_weights.safetensors"
JOB = image_spec(
    prompt="a fox", steps=2, guidance=1.0, seed=1, sampler="euler", schedule="sgm_uniform", width=64, height=64
)
TINY = {"native_size": 64, "t5_tokens": 8}
ORDER: dict[str, Any] = {"prompt": "a fox", "steps": 2, "guidance": 1.0, "seed": 1, "sampler": "euler"}


@pytest.fixture(scope="module")
def adapted(
    weights: Path, load: Callable[..., Family], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Family, Path]:
    """The toy SD 3 with a LoRA beside its weights, as in training, and the file of that LoRA."""
    family: Any = load("sd3", toy_weights("sd3", weights))
    folder = tmp_path_factory.mktemp("lora")
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(2)
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        network(family.denoiser).add_adapter(
            LoraConfig(r=4, lora_alpha=4, target_modules=targets, init_lora_weights=False)
        )
    network(family.denoiser).save_lora_adapter(folder)
    return family, folder / LORA


@pytest.mark.parametrize("metadata", [True, False])
def test_a_merged_lora_draws_what_it_drew_in_training(
    weights: Path, load: Callable[..., Family], adapted: tuple[Family, Path], tmp_path: Path, metadata: bool
) -> None:
    family, lora = adapted
    if not metadata:
        lora = tmp_path / LORA
        save_file(load_file(adapted[1]), lora, metadata={"format": "pt"})
    toys = toy_weights("sd3", weights)
    merged: Any = load_family("sd3", WeightsSpec(toys, (Lora(lora),)), torch.device("cpu"), torch.float32, 32)
    assert not any("lora" in name for name, _ in network(merged.denoiser).named_parameters())
    made = pixels(merged, JOB)
    assert (made.int() - pixels(family, JOB).int()).abs().max() <= 1
    assert (made.int() - pixels(load("sd3", toys), JOB).int()).abs().max() > 1


def test_a_lora_that_is_not_there_is_named_without_its_path(weights: Path, tmp_path: Path) -> None:
    own = WeightsSpec(toy_weights("sd3", weights), (Lora(tmp_path / LORA),))
    with pytest.raises(WeightsUnusable, match="can't be read") as error:
        load_family("sd3", own, torch.device("cpu"), torch.float32, 32)
    assert str(tmp_path) not in error.value.message


def test_fingerprints_tell_loras_and_traits_apart(weights: Path, adapted: tuple[Family, Path], tmp_path: Path) -> None:
    toys = toy_weights("sd3", weights)
    shutil.copytree(toys, tmp_path / "copy")
    plain = WeightsSpec(toys).fingerprint
    assert WeightsSpec(tmp_path / "copy").fingerprint == plain
    (tmp_path / "copy" / "tintype.json").write_text(json.dumps(TINY))
    assert (
        len({plain, WeightsSpec(toys, (Lora(adapted[1]),)).fingerprint, WeightsSpec(tmp_path / "copy").fingerprint})
        == 3
    )


@pytest.fixture(scope="module")
def small(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy SD 3 that says it draws 64 × 64."""
    folder = tmp_path_factory.mktemp("small") / "sd3"
    shutil.copytree(toy_weights("sd3", weights), folder)
    (folder / "tintype.json").write_text(json.dumps(TINY))
    return folder


def test_a_folder_s_own_traits_count(small: Path, weights: Path) -> None:
    own = {
        SD3_MEDIUM_IMG2IMG.slug: WeightsSpec(small),
        SD35_TURBO_TXT2IMG.slug: WeightsSpec(toy_weights("sd3", weights)),
    }
    models = ModelPool("cpu", "float32", 32, own)
    own, plain = models.get(SD3_MEDIUM_IMG2IMG), models.get(SD35_TURBO_TXT2IMG)
    assert (own.native_size, own.t5_tokens, own.builtin) == (64, 8, False)
    assert (plain.native_size, plain.t5_tokens, plain.builtin) == (None, 32, False)


@pytest.mark.parametrize(
    "said",
    [
        {"native_size": "128"},
        {"native_size": 1.5},
        {"native_size": 0},
        {"t5_tokens": True},
        {"t5_tokens": 1000},
        {"guidance_share": 0},
        {"guidance_share": 1.1},
        {"guidance_share": True},
    ],
)
def test_traits_that_are_not_understood_are_said(tmp_path: Path, said: dict[str, Any]) -> None:
    (tmp_path / "tintype.json").write_text(json.dumps(said))
    with pytest.raises(WeightsUnusable, match=r"tintype.json: .* was found; allowed are whole numbers"):
        _ = WeightsSpec(tmp_path).metadata


@pytest.mark.parametrize("family", ["sd3", "sd15"])
def test_weights_take_a_share_of_the_guidance(family: str, weights: Path, tmp_path: Path) -> None:
    """And others exactly what was asked for: 10.3 - 1 + 1 is another number."""
    sampler = "euler" if family == "sd3" else "DDIM"
    spec = image_spec(seed=1, width=64, height=64, guidance=10.3, steps=2, sampler=sampler, schedule="sgm_uniform")
    shutil.copytree(toy_weights(family, weights), tmp_path / family)
    (tmp_path / family / "tintype.json").write_text('{"guidance_share": 0.25}')
    folders = toy_weights(family, weights), tmp_path / family
    device = torch.device("cpu")
    whole, share = (load_family(family, WeightsSpec(one), device, torch.float32, 32).begin(spec) for one in folders)
    assert (whole.guidance, share.guidance) == (10.3, pytest.approx(1 + 0.25 * 9.3))


def test_no_traits(tmp_path: Path) -> None:
    assert WeightsSpec(tmp_path).metadata == WeightsMetadata(None, None)
    (tmp_path / "tintype.json").write_text('{"t5_tokens": 8, "of another version": 1}')
    assert WeightsSpec(tmp_path).metadata == WeightsMetadata(None, 8)


def test_text_is_drawn_natively_and_delivered_at_the_size_asked_for() -> None:
    order, size = GenerationParams(**ORDER, width=1536, height=640), (1536, 640)
    [job], _ = image_specs(order, {}, size, 128)
    assert (job.width, job.height) == (192, 80)
    [plain], _ = image_specs(order, {}, size, None)
    assert (plain.width, plain.height) == (1536, 640)
    drawn = torch.zeros(job.height, job.width, 3, dtype=torch.uint8)
    plan: Any = SimpleNamespace(size=size, origin=Origin("trainedAlgorithmicMedia", "m"))
    recipe = Recipe(model="m", params=order, weights="", dtype="float32", t5_tokens=77, source="")
    made, _ = finish(NO_MARKS, order, plan, drawn, recipe, with_recipe=True)
    assert (made.width, made.height) == (1536, 640)


def test_an_input_picture_is_fitted_to_the_size_asked_for_and_then_scaled() -> None:
    picture = Image.new("RGB", (900, 300), "blue")
    picture.paste("red", (300, 0, 600, 300))  # all that a square keeps of it
    square = GenerationParams(**ORDER, inputs=(InputImage("x"),), width=512, height=512)
    _, tensors = image_specs(square, {"init": picture, "mask": picture}, (512, 512), 128)
    init, mask = tensors["init"], tensors["mask"]
    assert (mask.shape, mask.unique().tolist()) == ((1, 1, 128, 128), [0.0]), "red is nearer to black"
    assert init.shape == (1, 3, 128, 128)
    assert init[0, 0].mean() > 0.95
    wanted = GenerationParams(**ORDER, inputs=(InputImage("x"),))
    size = output_size(wanted.width, wanted.height, picture.size)
    assert size == (896, 288)
    [job], tensors = image_specs(wanted, {"init": picture}, size, 128)
    assert tensors["init"].shape == (1, 3, job.height, job.width) == (1, 3, 80, 240)


def test_a_refiner_is_a_second_set_of_weights_of_the_same_model(weights: Path, tmp_path: Path) -> None:
    base, refiner = (WeightsSpec(toy_weights(family, weights)) for family in ("sdxl", "sdxl-refiner"))
    own = {XL.slug: replace(base, refiner=refiner), SDXL_IMG2IMG.slug: replace(base, refiner=refiner), "plain": base}
    plain = replace(XL, slug="plain")
    models = ModelPool("cpu", "float32", 32, own, catalogue=Catalogue([XL, SDXL_IMG2IMG, plain]))
    with capture_logs() as logs:
        models.check()
    assert logs == []
    loaded, refined = models.get(XL), models.get(XL, refined=True)
    assert models.get(SDXL_IMG2IMG) is models.get(plain) is loaded, "the refiner's weights don't part them"
    assert refined.fingerprint == f"{loaded.fingerprint}+{refiner.fingerprint}"
    params = {"prompt": "a fox", "steps": 20, "guidance": 5.0, "sampler": "UniPC", "width": 64, "height": 64}
    wanted = image_spec(seed=1, refiner=True, **params)
    with torch.inference_mode():
        begun = refined.family.begin(wanted)
    assert begun.family is loaded.family, "its first steps share passes with those of images without a refiner"
    assert len(refined.family.estimate(wanted).denoisers) == 2
    [note, _] = notes(make_plan(refined, XL.slug, replace(wanted.params, width=64, height=64), {}).recipe, (64, 64))
    assert read_recipe(note).params.refiner
    with pytest.raises(BadPicture):
        read_recipe(note.replace('"high_noise_fraction": 0.8', '"high_noise_fraction": 1.8'))
    with pytest.raises(
        InvalidParameter, match="refiner: true was sent; allowed: false, as no weights for the refiner are here"
    ):
        models.get(plain, refined=True)
    broken = {XL.slug: replace(base, refiner=base)}
    with capture_logs() as logs:
        ModelPool("cpu", "float32", 32, broken, catalogue=Catalogue([XL])).check()
    assert "not a model of the family sdxl-refiner" in logs[0]["error"]
    assert [one.component for one in check(broken[XL.slug], "sdxl")] == ["refiner's checkpoint"]


def test_every_model_has_built_in_weights() -> None:
    models = ModelPool("cpu", "auto", 256, {})
    loaded = {spec.slug: models.get(spec) for spec in BUILTIN.values()}
    assert {(one.builtin, one.native_size) for one in loaded.values()} == {(True, 128)}
    assert loaded[SD35_TURBO_TXT2IMG.slug].t5_tokens == 1
    assert len({one.fingerprint for one in loaded.values()}) == 3, "two families, one of them with its few-step mode"
    for spec in (spec for spec in BUILTIN.values() if spec.weights_of):
        assert loaded[spec.slug] is loaded[spec.weights_of], "they share memory and forward passes"
