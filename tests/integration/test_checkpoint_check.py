"""What `check` finds: nothing where all is well, else every tensor that is missing, unexpected or misshapen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.toy_weights import toy_weights

from tintype.checkpoints.weights import Lora, WeightsSpec, builtin_weights
from tintype.diffusion.check import check

UNET = "diffusion_pytorch_model.safetensors"


def lines(path: Path, *loras: Lora, family: str = "sd15", **parts: Path) -> list[str]:
    """The findings, as people read them."""
    found = [str(finding) for finding in check(WeightsSpec(path, loras, tuple(parts.items())), family)]
    assert not any(str(path.parent) in line for line in found)
    return sorted(found)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_nothing_is_found_where_all_is_well(weights: Path, family: str) -> None:
    assert check(WeightsSpec(toy_weights(family, weights)), family) == []
    assert check(builtin_weights(family, few_steps=family == "sd3"), family) == []


def test_every_difference_is_found(copied: Callable[[str], Path]) -> None:
    model = copied("sd15")
    tensors = load_file(model / "unet" / UNET)
    del tensors["conv_in.bias"], tensors["mid_block.resnets.0.conv1.weight"]
    tensors["conv_out.weight"] = torch.zeros(5, 32, 3, 3)
    tensors |= {"surplus.weight": torch.zeros(2, 3), "scalar": torch.zeros(())}
    save_file(tensors, model / "unet" / UNET)
    assert lines(model) == [
        "unet: conv_in.bias: is missing, 32",
        "unet: conv_out.weight: is 5×32×3×3 and should be 4×32×3×3",
        "unet: mid_block.resnets.0.conv1.weight: is missing, 64×64×3×3",
        "unet: scalar: has no place in it, one number",
        "unet: surplus.weight: has no place in it, 2×3",
    ]
    kinds = [(finding.component, finding.kind) for finding in check(WeightsSpec(model), "sd15")]
    assert sorted(kinds) == [("unet", "misshapen"), *[("unet", "missing")] * 2, *[("unet", "unexpected")] * 2]


def test_several_networks_may_be_wrong_at_once(copied: Callable[[str], Path]) -> None:
    model = copied("sd15")
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {"text_encoder": ["os", "system"]}))
    shutil.rmtree(model / "tokenizer")
    (model / "tokenizer").mkdir()
    (model / "unet" / UNET).write_bytes((model / "unet" / UNET).read_bytes()[:-1])
    (model / "vae" / "config.json").write_text('{"latent_channels": "four"}')
    found = {finding.component: finding.detail for finding in check(WeightsSpec(model), "sd15")}
    assert found.keys() == {"text_encoder", "tokenizer", "unet", "vae"}
    assert found["text_encoder"].startswith("component text_encoder: system is not supported; known are")
    assert found["tokenizer"].startswith("none of tokenizer.json, vocab.json")
    assert "is cut short" in found["unet"]
    assert found["vae"].startswith("its configuration is not one of AutoencoderTiny: ")


def test_what_keeps_a_checkpoint_from_being_opened(copied: Callable[[str], Path], tmp_path: Path) -> None:
    model = copied("sd15")
    assert lines(model / "unet" / UNET, family="sd3") == [
        f"checkpoint: unet/{UNET} is Stable Diffusion 1.5, not a model of the family sd3"
    ]
    (model / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "EDMEulerScheduler"}')
    [line] = lines(model)
    assert "the scheduler's configuration (EDMEulerScheduler): is for another kind of model" in line
    shutil.rmtree(model / "scheduler")
    assert lines(model) == ["scheduler: scheduler_config.json is not there"]


def test_a_lora_is_checked_too(copied: Callable[[str], Path], tmp_path: Path) -> None:
    model = copied("sd15")
    pair = {"conv_in.lora_up.weight": torch.ones(32, 2), "conv_in.lora_down.weight": torch.ones(2, 9)}
    save_file(pair, tmp_path / "l")
    [line] = lines(model, Lora(tmp_path / "l"))
    assert line.startswith("unet: l is for another unet: conv_in")


def test_a_single_file(copied: Callable[[str], Path], tmp_path: Path) -> None:
    model = copied("sd15")
    file = tmp_path / "m.safetensors"
    unet = {f"model.diffusion_model.{name}": tensor for name, tensor in load_file(model / "unet" / UNET).items()}
    strays = {"model_ema.decay": torch.ones(()), "left.over": torch.ones(1)}
    del unet["model.diffusion_model.conv_norm_out.bias"]
    save_file({**unet, **strays}, file)
    parts = {"vae": model / "vae", "text_encoder": model / "text_encoder", "tokenizer": model / "tokenizer"}
    missing = "unet: conv_norm_out.bias: is missing, 32"
    stray = "checkpoint: left.over: belongs to no network of the model"
    assert {missing, stray} <= set(lines(file, **parts))
    alone = lines(file)
    for name, kind in (("vae", "file or folder"), ("text_encoder", "file or folder"), ("tokenizer", "a folder for")):
        [line] = [line for line in alone if line.startswith(f"{name}: ")]
        assert line.startswith(f"{name}: component {name} is missing from m.safetensors: name")
        assert kind in line
