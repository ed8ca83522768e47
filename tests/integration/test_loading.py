"""Folders as the published repositories are laid out, and folders that are broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.integration.conftest import T5_TOKENS
from tests.integration.drawing import network, pixels
from tests.toy_weights import image_spec, toy_weights

from tintype.catalog.models import MODELS
from tintype.checkpoints.weights import WeightsSpec, read_json
from tintype.core import ImageSpec
from tintype.diffusion import dtype_selection
from tintype.diffusion.devices import DEVICE_TYPES
from tintype.diffusion.dtype_selection import Layers
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.errors import WeightsUnusable
from tintype.worker.models import ModelPool

JOB = image_spec(prompt="a fox, in 2 parts", steps=20, guidance=4.0, seed=1, sampler="DDIM", width=64, height=64)
#: Decibels between bfloat16's picture and float32's: random weights tell noise from picture worse than trained ones.
PSNR = 30
SD3_JOB = image_spec(
    prompt="A Fox", steps=2, guidance=4.0, seed=1, sampler="euler", schedule="sgm_uniform", width=64, height=64
)


def as_published(built: Path, path: Path) -> Path:
    """The same weights with the files that the hub's repositories have instead, and the entries of their index."""
    shutil.copytree(built, path)
    for folder in path.glob("tokenizer*"):
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    for folder in path.glob("text_encoder*"):
        shard(folder / "model.safetensors")
    index = read_json(path / "model_index.json")
    index |= {
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "requires_safety_checker": True,
        "_diffusers_version": "0.6.0",
    }
    (path / "model_index.json").write_text(json.dumps(index))
    return path


def shard(file: Path) -> None:
    """Split a file of weights in two, with the index that names where each tensor is, as T5's is."""
    tensors = load_file(file)
    file.unlink()
    names = sorted(tensors)
    where = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        target = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, file.parent / target, metadata={"format": "pt"})
        where |= dict.fromkeys(part, target)
    content = {"metadata": {"total_size": 1}, "weight_map": where}
    (file.parent / "model.safetensors.index.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("name", "job"), [("sd15", JOB), ("sd3", SD3_JOB)])
def test_published_layouts_draw_the_same(
    weights: Path, tmp_path: Path, load: Callable[..., Family], name: str, job: ImageSpec
) -> None:
    built = toy_weights(name, weights)
    published = as_published(built, tmp_path / name)
    assert torch.equal(pixels(load(name, published), job), pixels(load(name, built), job))


def test_half_precision_files_are_converted(weights: Path, tmp_path: Path, load: Callable[..., Family]) -> None:
    path = tmp_path / "half"
    shutil.copytree(toy_weights("sd15", weights), path)
    file = path / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    family = load("sd15", path)
    assert {parameter.dtype for parameter in network(family.denoiser).parameters()} == {torch.float32}
    assert pixels(family, JOB).float().std() > 10


@pytest.mark.parametrize(("name", "job"), [("sd15", JOB), ("sd3", SD3_JOB)])
def test_bfloat16_draws_nearly_the_same(weights: Path, load: Callable[..., Family], name: str, job: ImageSpec) -> None:
    built = toy_weights(name, weights)
    family = load_family(name, WeightsSpec(built), torch.device("cpu"), torch.bfloat16, T5_TOKENS)
    exact = pixels(load(name, built), job).float()
    error = (pixels(family, job).float() - exact).square().mean()
    assert 10 * torch.log10(255**2 / error) > PSNR


@pytest.mark.parametrize("slug", ["sd1.5-img2img", "sd3-med-img2img"])
def test_a_model_gets_the_format_that_was_measured_once(monkeypatch: pytest.MonkeyPatch, slug: str) -> None:
    measured: list[Layers] = []
    monkeypatch.setitem(DEVICE_TYPES, "cpu", replace(DEVICE_TYPES["cpu"], bfloat16=lambda _: True))
    monkeypatch.setattr(dtype_selection, "speedup", lambda layers: measured.append(layers) or 2.0)
    models = ModelPool("cpu", "auto", T5_TOKENS, {})
    assert models.get(MODELS[slug]).dtype == "bfloat16"
    assert models.get(MODELS[slug]).dtype == "bfloat16"
    assert len(measured) == 1
    assert models.get(MODELS[slug], torch.float32).dtype == "float32"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda path: (path / "model_index.json").unlink(), "model_index.json is not there"),
        (lambda path: (path / "model_index.json").write_text("[]"), "model_index.json is not a JSON object"),
        (lambda path: (path / "model_index.json").write_text("{}"), "component unet is missing"),
        (
            lambda path: (path / "model_index.json").write_text('{"unet": ["os", "system"]}'),
            "component unet: system is not supported",
        ),
        (
            lambda path: (path / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
            "unet: there is no file of weights",
        ),
        (
            lambda path: (path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"pickle"),
            "unet/diffusion_pytorch_model.safetensors can't be read: it is not a whole safetensors file",
        ),
        (lambda path: shutil.rmtree(path / "scheduler"), "scheduler_config.json is not there"),
    ],
)
def test_a_broken_folder_is_named_without_its_path(
    weights: Path, tmp_path: Path, load: Callable[..., Family], broken: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "broken"
    shutil.copytree(toy_weights("sd15", weights), path)
    broken(path)
    with pytest.raises(WeightsUnusable) as error:
        load("sd15", path)
    assert words in error.value.message
    assert str(tmp_path) not in error.value.message
