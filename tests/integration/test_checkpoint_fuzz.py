"""Files that somebody broke, at random but always alike: whatever is said, it is WeightsUnusable, in one line.

TINTYPE_EXAMPLES is how many of each kind are tried: `TINTYPE_EXAMPLES=2000 .venv/bin/pytest` this file after a change
of what reads files.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.integration.drawing import pixels
from tests.original_layouts import original_mmdit, original_unet
from tests.toy_weights import image_spec, toy_weights

from tintype.checkpoints.weights import Lora, WeightsSpec
from tintype.diffusion.check import check
from tintype.diffusion.families import load_family
from tintype.errors import PictureNotFinite, TintypeError, WeightsUnusable
from tintype.worker.models import LoadedModel

EXAMPLES = int(os.environ.get("TINTYPE_EXAMPLES", "8"))
USUAL: dict[str, Any] = {"prompt": "a fox", "guidance": 4.0, "seed": 1, "width": 64, "height": 64}
JOBS = {
    "sd15": image_spec(**USUAL, steps=1, sampler="DDIM"),
    "sd3": image_spec(**USUAL, steps=1, sampler="euler", schedule="sgm_uniform"),
}
#: What takes the place of a value in somebody else's JSON.
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 3, 7, 12, 77, 10**9, 2**63, 10**30, 1.5, -0.5, float("nan"), float("inf"), "", "x",
    "(", "(a+)+", "\ud800", "\x1b[2J", "../..", [], [0], [None], [[]], [1, 2, 3], ["a", "b"], [-1, -1], [2**62, 2], {},
    {"a": 1}, {"(": 4}, {"to_q": [1]},
]  # fmt: skip


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value in a JSON value."""
    yield above
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*above, key))


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy with one to three of its values replaced, removed, renamed, or swapped with another."""
    changed = json.loads(json.dumps(value))
    for _ in range(chance.randint(1, 3)):
        ways = [way for way in places(changed) if way]
        if not ways:
            return chance.choice(ODD)
        *above, last = chance.choice(ways)
        owner = changed
        for key in above:
            owner = owner[key]
        match chance.randrange(5):
            case 0:
                del owner[last]
            case 1 if isinstance(owner, dict):
                owner[chance.choice(["x", "lora_te2_a.lora_up.weight", str(last) + ".9", "unet_²"])] = owner.pop(last)
            case 2 if type(owner[last]) is int:
                owner[last] += chance.choice([-1, 1, 4, 1000, -1000])
            case 3:
                other = chance.choice(list(owner) if isinstance(owner, dict) else range(len(owner)))
                owner[last], owner[other] = owner[other], owner[last]
            case _:
                owner[last] = chance.choice(ODD)
    return changed


def break_json(path: Path, chance: random.Random) -> None:
    """Change what it says, now and then its text."""
    text = path.read_text("utf-8")
    if chance.random() < 0.1:
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(["", "[" * 100_000, "\x00", "}", '{"a":' * 5000]) + text[at + 1 :]
    else:
        text = json.dumps(mutated(json.loads(text), chance))
    path.write_text(text, "utf-8")


def break_header(path: Path, chance: random.Random) -> None:
    """Change what a safetensors file's header says; its numbers stay."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, numbers = content[8 : 8 + length], content[8 + length :]
    match chance.randrange(6):
        case 0:
            at = chance.randrange(length)
            header = header[:at] + chance.randbytes(chance.randint(0, 4)) + header[at + 1 :]
        case 1:
            length = chance.choice([0, 1, length - 1, length + 1, 2**31, 2**40, 2**63, 2**64 - 1])
            path.write_bytes(length.to_bytes(8, "little") + header + numbers)
            return
        case 2:
            numbers = numbers[: chance.randrange(len(numbers) + 1)] + chance.randbytes(chance.randint(0, 9))
        case _:
            header = json.dumps(mutated(json.loads(header), chance)).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + numbers)


def reshape(path: Path, chance: random.Random) -> None:
    """Leave tensors out, rename them, or give them other shapes and formats: a header that is true."""
    tensors, metadata = load_file(path), {"lora_adapter_metadata": json.dumps(chance.choice(ODD))}
    for name in chance.sample(sorted(tensors), min(len(tensors), chance.randint(1, 3))):
        tensor = tensors.pop(name)
        match chance.randrange(6):
            case 0:
                tensors[chance.choice([name + ".9", name.replace("0", "²"), name.replace("0", "7"), "x"])] = tensor
            case 1:
                tensors[name] = torch.zeros(chance.choice([(), (0,), (1,), (0, 0), (1, 1, 1, 1, 1), (2, 3), (64,)]))
            case 2:
                tensors[name] = tensor.flatten()
            case 3:
                tensors[name] = tensor.to(chance.choice([torch.int8, torch.float64, torch.bool, torch.float8_e5m2]))
            case 4 if tensor.ndim:
                tensors[name] = tensor[: chance.randrange(len(tensor) + 1)].clone()
            case _:
                pass
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)


def refusals(weights: WeightsSpec, family: str) -> list[str]:
    """What `check` says, and what is said where the weights are loaded; nothing of either has a path or two lines."""
    said = [str(finding) for finding in check(weights, family) if not finding.harmless]
    try:
        opened = load_family(family, weights, torch.device("cpu"), torch.float32, 32)
        LoadedModel(opened, weights.fingerprint, "float32", 32, weights.metadata.native_size, builtin=False).bring()
        if not said:  # what loads must draw, whatever comes of it
            with suppress(PictureNotFinite):
                pixels(opened, JOBS[family])
    except WeightsUnusable as error:
        said.append(error.message)
    except TintypeError as error:
        pytest.fail(repr(error))
    assert not [line for line in said if "\n" in line or str(weights.path.parent) in line or len(line) > 2000]
    return said


def try_all(seed: str, make: Callable[[random.Random], list[str]]) -> None:
    """So many examples, of which some are refused: else nothing was broken."""
    warnings.simplefilter("ignore")  # of what the libraries make of all this
    refused = [bool(make(random.Random(f"{seed} {number}"))) for number in range(EXAMPLES)]
    assert any(refused)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
@pytest.mark.timeout(600 + EXAMPLES)
def test_a_folder_s_json(weights: Path, tmp_path: Path, family: str) -> None:
    toys = toy_weights(family, weights)
    names = sorted(file.relative_to(toys) for file in toys.rglob("*.json"))

    def make(chance: random.Random) -> list[str]:
        folder = tmp_path / "m"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(toys, folder)
        break_json(folder / chance.choice(names), chance)
        return refusals(WeightsSpec(folder), family)

    try_all(f"json {family}", make)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
@pytest.mark.parametrize("broken", [break_header, reshape])
@pytest.mark.timeout(600 + EXAMPLES)
def test_one_file(weights: Path, tmp_path: Path, family: str, broken: Callable[[Path, random.Random], None]) -> None:
    toys = toy_weights(family, weights)
    denoiser = "unet" if family == "sd15" else "transformer"
    tensors = load_file(toys / denoiser / "diffusion_pytorch_model.safetensors")
    originals = original_unet(tensors, 2, 1) if family == "sd15" else original_mmdit(tensors)
    whole, path = tmp_path / "whole.safetensors", tmp_path / "m.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in originals.items()}, whole)
    parts = {name: toys / name for name in ("text_encoder", "text_encoder_2", "vae") if (toys / name).is_dir()}

    def make(chance: random.Random) -> list[str]:
        shutil.copy(whole, path)
        broken(path, chance)
        return refusals(WeightsSpec(path, components=(*parts.items(), ("tokenizers", toys))), family)

    assert refusals(WeightsSpec(whole, components=(*parts.items(), ("tokenizers", toys))), family) == []

    try_all(f"file {family} {broken.__name__}", make)


@pytest.mark.parametrize("broken", [break_header, reshape])
@pytest.mark.timeout(600 + EXAMPLES)
def test_a_lora(weights: Path, tmp_path: Path, broken: Callable[[Path, random.Random], None]) -> None:
    modules = {
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q": 64,
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k": 64,
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_v": 64,
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj": 32,
    }
    content = {f"{name}.lora_{half}.weight": torch.ones(4, 4) for name in modules for half in ("up", "down")}
    for name, width in modules.items():
        content |= {f"{name}.lora_up.weight": torch.ones(width, 4), f"{name}.lora_down.weight": torch.ones(4, width)}
        content |= {f"{name}.alpha": torch.tensor(2.0)}
    settings = {"unet.lora_alpha": 4, "unet.alpha_pattern": {"to_q": 2.0, r".*\.to_k": 1}, "unet.use_rslora": True}
    whole, path = tmp_path / "whole.safetensors", tmp_path / "l.safetensors"
    save_file(content, whole, {"lora_adapter_metadata": json.dumps(settings)})

    def make(chance: random.Random) -> list[str]:
        shutil.copy(whole, path)
        broken(path, chance)
        return refusals(WeightsSpec(toy_weights("sd15", weights), (Lora(path),)), "sd15")

    assert refusals(WeightsSpec(toy_weights("sd15", weights), (Lora(whole),)), "sd15") == []
    try_all(f"lora {broken.__name__}", make)


@pytest.mark.timeout(600 + EXAMPLES)
def test_a_lora_s_settings(weights: Path, tmp_path: Path) -> None:
    module = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    path = tmp_path / "adapter_model.safetensors"
    save_file({f"{module}.lora_B.weight": torch.ones(64, 4), f"{module}.lora_A.weight": torch.ones(4, 64)}, path)
    settings = {"lora_alpha": 4, "alpha_pattern": {"to_q": 2.0, r".*\.to_k": 1}, "use_rslora": True, "r": 4}

    def make(chance: random.Random) -> list[str]:
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
        break_json(tmp_path / "adapter_config.json", chance)
        return refusals(WeightsSpec(toy_weights("sd15", weights), (Lora(path),)), "sd15")

    try_all("settings", make)
