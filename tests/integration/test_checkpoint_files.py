"""Files as they lie on disk: headers that contradict themselves, scales of eight bits, leftovers, symbolic links."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tests.toy_weights import toy_weights

from tintype.checkpoints import files, weights
from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.files import MAX_HEADER_BYTES, MAX_TENSORS, dequantize, read_header
from tintype.checkpoints.single_file import LEFTOVERS
from tintype.checkpoints.weights import WeightsSpec, list_files
from tintype.diffusion.check import check
from tintype.errors import WeightsUnusable
from tintype.families.sd15 import SD15

UNET = "diffusion_pytorch_model.safetensors"
FINE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def header(path: Path, said: Any, numbers: int = 8) -> Path:
    """A file with that header, written as it is given or as JSON, and so many bytes behind it."""
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(numbers))
    return path


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b'{"a":' + b"[" * 500_000, "it is not a whole safetensors file"),
        (b'{"a":' * 100_000, "it is not a whole safetensors file"),
        ({"a": FINE | {"shape": [-2]}}, "a has a shape or offsets that are not whole numbers"),
        ({"a": FINE | {"shape": [2.0]}}, "a has a shape or offsets that are not whole numbers"),
        ({"a": FINE | {"shape": [True, 2]}}, "a has a shape or offsets that are not whole numbers"),
        ({"a": FINE | {"shape": ["2"]}}, "a has a shape or offsets that are not whole numbers"),
        ({"a": FINE | {"shape": [2**62, 2]}}, "a has a shape that no network has"),
        ({"a": FINE | {"shape": [1] * 99 + [2]}}, "a has a shape that no network has"),
        ({"a": FINE | {"shape": [0, 2**63]}}, "a has a shape that no network has"),
        ({"a": FINE | {"shape": [3]}}, "a needs 12 bytes and has 8"),
        ({"a": FINE | {"shape": None}}, "it is not a whole safetensors file"),
        ({"a": FINE | {"dtype": ["F32"]}}, "a has a dtype without a name"),
        ({"a": FINE | {"data_offsets": [8, 0]}}, "a needs 8 bytes and has -8"),
        ({"a": FINE | {"data_offsets": [0]}}, "it is not a whole safetensors file"),
        ({"a": FINE | {"data_offsets": [-8, 0]}}, "a has a shape or offsets that are not whole numbers"),
        ({"a": FINE, "b": FINE}, "b is at bytes 0 to 8, and the one before ends at 8"),
        (
            {"a": FINE, "b": FINE | {"data_offsets": [16, 24]}},
            "b is at bytes 16 to 24, and the one before ends at 8",
        ),
        ({"a": FINE, "b": FINE | {"data_offsets": [4, 12]}}, "b is at bytes 4 to 12, and the one before ends at 8"),
        ({"a": FINE | {"dtype": "F4", "data_offsets": [0, 2**80]}}, "is cut short: it has"),
        ({"a\x1b[2J": FINE}, "a tensor has a name that can't be shown"),
        ({"a\ud800": FINE}, "a tensor has a name that can't be shown"),
        ({"a" * 501: FINE}, "a tensor has a name that can't be shown"),
        ({"a": FINE, "__metadata__": {"format": 1}}, "its __metadata__ has values that are not strings"),
        ({"a": FINE, "__metadata__": ["x"]}, "it is not a whole safetensors file"),
        ({"a": "x"}, "it is not a whole safetensors file"),
        ([FINE], "it is not a whole safetensors file"),
        (json.dumps({"a": FINE}).encode("utf-16"), "it is not a whole safetensors file"),
        ({}, "is damaged: it has 18 bytes instead of 10"),
    ],
)
def test_a_header_that_makes_no_sense(tmp_path: Path, said: Any, words: str) -> None:
    path = header(tmp_path / "m.safetensors", said)
    with pytest.raises(WeightsUnusable) as refused:
        read_header(path)
    assert refused.value.message.startswith("m.safetensors")
    assert words in refused.value.message
    assert len(refused.value.message) < 300
    if "shown" not in words and "no network has" not in words:  # the only two that are stricter than the format
        with pytest.raises(SafetensorError):
            safe_open(path, framework="pt").__enter__()


def test_how_long_a_header_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = header(tmp_path / "m.safetensors", b" " * (MAX_HEADER_BYTES + 1))
    with pytest.raises(WeightsUnusable, match="its header has 16,777,217 bytes, and at most 16,777,216 are allowed"):
        read_header(path)
    for length in (MAX_HEADER_BYTES, 2**40, 2**64 - 1):
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(WeightsUnusable, match=r"it is not a whole safetensors file|is cut short: it has 10 of"):
            read_header(path)
    monkeypatch.setattr(files, "MAX_TENSORS", 3)
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    with pytest.raises(WeightsUnusable, match="it has 4 tensors, and no model here has more than 3"):
        read_header(header(path, {str(number): empty for number in range(4)}, 0))
    assert MAX_TENSORS == 20_000
    assert len(read_header(header(path, {str(number): empty for number in range(3)}, 0)).tensors) == 3


WEIGHT = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
KERNEL = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("weight", [WEIGHT, WEIGHT[:48], KERNEL, WEIGHT[0]], ids=["square", "oblong", "kernel", "bias"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (-1,), (-1, 1)])
def test_scales_of_eight_bits(name: str, weight: torch.Tensor, shape: tuple[int, ...]) -> None:
    per_row = -1 in shape
    largest = weight.reshape(len(weight), -1).abs().amax(1) if per_row else weight.abs().max()
    scale = largest / 448
    rows = scale.view(-1, *[1] * (weight.ndim - 1)) if per_row else scale
    narrow = (weight / rows).to(torch.float8_e4m3fn)
    stored = scale.view(shape)
    wide = dequantize({f"m.{name}": stored, "m.weight": narrow, "m.bias": torch.ones(3).to(torch.float8_e4m3fn)})
    assert wide.keys() == {"m.weight", "m.bias"}
    assert wide["m.weight"].shape == weight.shape
    assert (wide["m.weight"].float() - weight).square().mean().sqrt() < 0.04 * weight.square().mean().sqrt()
    assert wide["m.bias"].tolist() == [1, 1, 1], "the scale is the weight's"


@pytest.mark.parametrize(
    ("name", "scale", "words"),
    [
        ("weight_scale", torch.ones(32), r"m.weight_scale doesn't fit: it is \[32\] on a weight of \[48, 64\]; known"),
        ("scale_weight", torch.ones(2, 48, 1), r"m.scale_weight doesn't fit: it is \[2, 48, 1\] on a weight of"),
        ("weight_scale", torch.ones(3, 4), r"m.weight_scale doesn't fit: it is \[3, 4\]"),
        (
            "weight_scale_inv",
            torch.ones(1, 1),
            "m.weight_scale_inv: weights with scales like this are not supported",
        ),
        ("weight_scale_2", torch.ones(()), "m.weight_scale_2: weights with scales like this are not supported"),
        ("weight_zero_point", torch.ones(()), "m.weight_zero_point: weights with scales like this"),
    ],
)
def test_a_scale_that_does_not_fit_is_named(name: str, scale: torch.Tensor, words: str) -> None:
    with pytest.raises(WeightsUnusable, match=words):
        dequantize({"m.weight": WEIGHT[:48].to(torch.float8_e4m3fn), f"m.{name}": scale})
    with pytest.raises(WeightsUnusable, match=r"is a scale, and has no weight|like this"):
        dequantize({"m.weight": WEIGHT[:48], f"m.{name}": scale})


def test_scaled_eight_bits_in_a_folder(copied: Callable[[str], Path]) -> None:
    model = copied("sd15")
    file = model / "unet" / UNET
    plain = load_file(file)
    content = dict(plain)
    for name in [name for name, tensor in plain.items() if name.endswith(".weight") and tensor.ndim > 1]:
        scale = plain[name].flatten(1).abs().amax(1) / 448
        content[name] = (plain[name] / scale.view(-1, *[1] * (plain[name].ndim - 1))).to(torch.float8_e4m3fn)
        content[f"{name}_scale"] = scale
    save_file(content, file)
    assert check(WeightsSpec(model), "sd15") == []
    stored = Checkpoint(WeightsSpec(model), "sd15").component(SD15.denoiser).tensors()
    assert stored.keys() == plain.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(stored[name].float(), tensor, rtol=0.07, atol=0.07 * float(tensor.abs().max()) / 100)
    content["conv_in.weight_scale"] = torch.ones(7)
    save_file(content, file)
    assert [str(finding) for finding in check(WeightsSpec(model), "sd15")] == [
        "unet: conv_in.weight_scale doesn't fit: it is [7] on a weight of [32, 4, 3, 3]; known are scale_weight and "
        "weight_scale of float8: one number, or one per row"
    ]


@pytest.fixture
def one_file(weights: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """What is found in a file of all of the toy SD 1.5's networks and one tensor more, which has this name."""
    toys = toy_weights("sd15", weights)
    content = {}
    for one in SD15.components:
        [file] = (toys / one.name).glob("*.safetensors")
        content |= {one.prefixes[0] + own: tensor for own, tensor in load_file(file).items()}

    def found(more: str) -> list[str]:
        save_file(content | {more: torch.ones(())}, tmp_path / "m.safetensors")
        whole = WeightsSpec(tmp_path / "m.safetensors", components=(("tokenizer", toys / "tokenizer"),))
        return [str(finding) for finding in check(whole, "sd15")]

    return found


@pytest.mark.parametrize(
    "name",
    [
        "text_encoders.t5xxl.logit_scale", "text_encoders.clip_l.logit_scale", "cond_stage_model.logit_scale",
        "safety_checker.concept_embeds", "safety_checker.vision_model.vision_model.embeddings.class_embedding",
        "model_ema.decay", "model_ema.diffusion_modelinput_blocks00weight", "unet_ema.conv_in.weight",
        "ema.model.decay", "ema_model.conv_in.weight", "alphas_cumprod", "alphas_cumprod_prev", "betas", "sigmas",
        "log_one_minus_alphas_cumprod", "log_sigmas", "posterior_mean_coef1", "sqrt_recip_alphas_cumprod", "logvar",
        "lvlb_weights", "denoiser.sigmas", "global_step", "optimizer_states.0.exp_avg", "lr_schedulers.0", "v_pred",
        "scale_factor", "feature_extractor.mean", "first_stage_model.loss.logvar",
        "first_stage_model.model_ema.decay", "cond_stage_model.transformer.logit_scale",
    ],
)  # fmt: skip
def test_what_training_leaves_behind_is_no_fault(one_file: Callable[[str], list[str]], name: str) -> None:
    """But for where a network's own tensors are."""
    assert one_file(name) == []
    assert one_file(f"model.diffusion_model.{name}") == [f"unet: {name}: has no place in it, one number"]
    assert not LEFTOVERS.search(f"model.diffusion_model.{name}") or "ema" in name or "logit_scale" in name


def link_parts(real: Path, linked: Path) -> Path:
    """A folder with the same index, whose components are links to those of another."""
    linked.mkdir()
    shutil.copy(real / "model_index.json", linked)
    for folder in (path for path in real.iterdir() if path.is_dir()):
        (linked / folder.name).symlink_to(folder)
    return linked


def test_links_to_folders_count(copied: Callable[[str], Path], tmp_path: Path) -> None:
    model = copied("sd15")
    other = Path(shutil.copytree(model, tmp_path / "other"))
    tensors = {name: tensor * 2 for name, tensor in load_file(other / "unet" / UNET).items()}
    save_file(tensors, other / "unet" / UNET, {"format": "pt"})
    linked = [WeightsSpec(link_parts(real, tmp_path / f"to-{real.name}")) for real in (model, other)]
    assert linked[0].fingerprint == WeightsSpec(model).fingerprint
    assert linked[1].fingerprint == WeightsSpec(other).fingerprint != linked[0].fingerprint
    assert [file.relative_to(linked[0].path) for file in list_files(linked[0].path)] == [
        file.relative_to(model) for file in list_files(model)
    ]
    (tmp_path / "link").symlink_to(tmp_path / "to-sd15")
    assert WeightsSpec(tmp_path / "link").fingerprint == linked[0].fingerprint


@pytest.mark.parametrize("where", ["", "unet", "unet/deeper"])
@pytest.mark.parametrize("target", [".", "..", "../..", "/", "unet", "self"])
def test_links_that_lead_back_are_not_followed(copied: Callable[[str], Path], where: str, target: str) -> None:
    model = copied("sd15")
    before = list_files(model)
    folder = model / where
    folder.mkdir(exist_ok=True)
    (folder / "self").symlink_to(model / "unet" if target == "unet" else target)
    found = list_files(model)
    assert set(before) <= set(found)
    assert len(found) <= 2 * len(before)


def test_a_folder_that_is_no_model_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_FILES", 20)
    for level in range(30):
        (tmp_path / f"{level}").mkdir()
        for name in ("a", "b"):  # two ways to each next one: 2^30 in all
            (tmp_path / f"{level}" / name).symlink_to(tmp_path / f"{level + 1}")
    with pytest.raises(WeightsUnusable, match="0 has more than 20 files: name the folder of one model"):
        list_files(tmp_path / "0")
    assert list_files(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "name", ["model_index.json", "scheduler/scheduler_config.json", f"unet/{UNET}", "unet/config.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "huge"])
def test_what_never_ends_is_not_read(copied: Callable[[str], Path], name: str, kind: str) -> None:
    model = copied("sd15")
    (model / name).unlink()
    match kind:
        case "pipe":
            os.mkfifo(model / name)
        case "device":
            (model / name).symlink_to("/dev/zero")
        case "folder":
            (model / name).mkdir()
        case _:
            with (model / name).open("wb") as file:
                file.truncate(2**40)  # a hole: it takes no room
    [finding, *_] = check(WeightsSpec(model), "sd15")
    assert "unusable" in finding.kind
    assert Path(name).name in finding.detail or "no file of weights" in finding.detail
