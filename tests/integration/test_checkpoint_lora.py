"""LoRAs of every naming, against an explicit merge and against diffusers' own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import save_file

from tintype.checkpoints.lora import LoraFile, lora_targets, loras_for, merge_loras
from tintype.checkpoints.weights import Lora
from tintype.errors import WeightsUnusable
from tintype.families import FAMILIES
from tintype.families.networks import unet
from tintype.families.sd3 import SD3
from tintype.families.sd15 import SD15

Tensors = Mapping[str, torch.Tensor]
RANK, ALPHA, SCALE = 4, 2.0, 0.75
UNET: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 64,
}
TRANSFORMER: dict[str, Any] = {
    "num_layers": 2,
    "num_attention_heads": 1,
    "attention_head_dim": 32,
    "caption_projection_dim": 32,
    "joint_attention_dim": 64,
    "pooled_projection_dim": 48,
    "pos_embed_max_size": 8,
}
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
TO_Q, KERNEL = f"{ATTENTION}.to_q", "down_blocks.0.resnets.0.conv1"

COMPONENTS = {one.name: one for family in FAMILIES.values() for one in family.components}


@pytest.fixture(scope="module", autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(7)
        yield


@pytest.fixture(scope="module")
def unet_weights() -> dict[str, torch.Tensor]:
    """A toy UNet's tensors."""
    return {name: tensor.clone() for name, tensor in UNet2DConditionModel(**UNET).state_dict().items()}


@pytest.fixture(scope="module")
def mmdit_weights() -> dict[str, torch.Tensor]:
    """A toy SD 3 transformer's tensors."""
    return {name: tensor.clone() for name, tensor in SD3Transformer2DModel(**TRANSFORMER).state_dict().items()}


def halves(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Random up and down for a weight, of which a convolution's are four-dimensional."""
    inner = (1,) * (weight.ndim - 2)
    return torch.randn(len(weight), RANK, *inner), torch.randn(RANK, *weight.shape[1:])


def saved(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    """A file of them."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


def merged(path: Path, component: str, weights: Tensors, scale: float = SCALE) -> dict[str, torch.Tensor]:
    """The weights with the LoRA in that file."""
    return merge_loras(COMPONENTS[component], weights, [Lora(path, scale)], torch.float32)


def changed(before: Tensors, after: Tensors) -> set[str]:
    """The names of the weights that differ."""
    return {name for name in before if not torch.equal(before[name], after[name])}


#: (what the file calls up and down, what it calls the module), of the UNet's two modules.
STYLES = {
    "kohya": ("lora_up.weight", "lora_down.weight", lambda name: "lora_unet_" + name.replace(".", "_")),
    "peft": ("lora_B.weight", "lora_A.weight", lambda name: "base_model.model." + name),
    "peft-named-adapter": ("lora_B.default.weight", "lora_A.default.weight", lambda name: "base_model.model." + name),
    "diffusers": ("lora_B.weight", "lora_A.weight", lambda name: "unet." + name),
    "diffusers-before-peft": ("lora.up.weight", "lora.down.weight", lambda name: "unet." + name),
    "model-alone": ("lora_B.weight", "lora_A.weight", lambda name: name),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("with_alpha", [True, False])
def test_styles_of_names_against_an_explicit_merge(
    unet_weights: Tensors, tmp_path: Path, style: str, with_alpha: bool
) -> None:
    up_name, down_name, module_name = STYLES[style]
    content, expected = {}, {}
    for module in (TO_Q, KERNEL):
        weight = unet_weights[f"{module}.weight"]
        up, down = halves(weight)
        content |= {f"{module_name(module)}.{up_name}": up, f"{module_name(module)}.{down_name}": down}
        content |= {f"{module_name(module)}.alpha": torch.tensor(ALPHA)} if with_alpha else {}
        factor = SCALE * (ALPHA / RANK if with_alpha else 1.0)
        added = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)).reshape(weight.shape)
        expected[f"{module}.weight"] = weight + factor * added
    after = merged(saved(tmp_path / "lora.safetensors", content), "unet", unet_weights)
    assert changed(unet_weights, after) == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(after[name], weight)


def test_attention_processors_of_old(unet_weights: Tensors, tmp_path: Path) -> None:
    content = {}
    for layer in ("to_q", "to_out"):
        up, down = halves(unet_weights[f"{TO_Q}.weight"])
        content |= {
            f"unet.{ATTENTION}.processor.{layer}_lora.up.weight": up,
            f"unet.{ATTENTION}.processor.{layer}_lora.down.weight": down,
        }
    after = merged(saved(tmp_path / "lora.safetensors", content), "unet", unet_weights)
    assert changed(unet_weights, after) == {f"{TO_Q}.weight", f"{ATTENTION}.to_out.0.weight"}


@pytest.mark.parametrize("root", [False, True])
def test_as_diffusers_merges_it(mmdit_weights: Tensors, tmp_path: Path, root: bool) -> None:
    model: Any = SD3Transformer2DModel(**TRANSFORMER)
    model.load_state_dict(mmdit_weights)
    pattern = {"to_k": 3.0}
    model.add_adapter(
        LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            alpha_pattern=pattern,
            use_rslora=root,
            target_modules=["to_q", "to_k", "proj"],
            init_lora_weights=False,
        )
    )
    model.save_lora_adapter(tmp_path)
    model.fuse_lora(lora_scale=SCALE)
    model.unload_lora()
    after = merged(tmp_path / "pytorch_lora_weights.safetensors", "transformer", mmdit_weights)
    assert len(changed(mmdit_weights, after)) > 6
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(after[name], weight, rtol=1e-5, atol=1e-6)


ORIGINALS = {
    "joint_blocks.0.x_block.attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "joint_blocks.0.context_block.attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "joint_blocks.0.x_block.mlp.fc1": ["ff.net.0.proj"],
}


@pytest.mark.parametrize(
    "named", [lambda name: "lora_unet_" + name.replace(".", "_"), lambda name: "diffusion_model." + name]
)
def test_fused_originals_are_split(mmdit_weights: Tensors, tmp_path: Path, named: Callable[[str], str]) -> None:
    content, expected = {}, {}
    for module, targets in ORIGINALS.items():
        weights = [f"transformer_blocks.0.{target}.weight" for target in targets]
        fused = torch.cat([mmdit_weights[name] for name in weights])
        up, down = halves(fused)
        content |= {f"{named(module)}.lora_up.weight": up, f"{named(module)}.lora_down.weight": down}
        content |= {f"{named(module)}.alpha": torch.tensor(ALPHA)}
        whole = fused + SCALE * ALPHA / RANK * (up @ down)
        expected |= dict(zip(weights, whole.chunk(len(weights)), strict=True))
    after = merged(saved(tmp_path / "lora.safetensors", content), "transformer", mmdit_weights)
    assert changed(mmdit_weights, after) == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(after[name], weight)


def test_rows_that_change_places_do_so_in_a_lora_too(mmdit_weights: Tensors, tmp_path: Path) -> None:
    name = "norm_out.linear.weight"
    up, down = halves(mmdit_weights[name])
    content = {
        "lora_unet_final_layer_adaLN_modulation_1.lora_up.weight": up,
        "lora_unet_final_layer_adaLN_modulation_1.lora_down.weight": down,
    }
    after = merged(saved(tmp_path / "lora.safetensors", content), "transformer", mmdit_weights, 1.0)
    shift, scale = (up @ down).chunk(2)
    torch.testing.assert_close(after[name], mmdit_weights[name] + torch.cat([scale, shift]))


def test_the_original_unet_s_names(unet_weights: Tensors, tmp_path: Path) -> None:
    weight = unet_weights[f"{TO_Q}.weight"]
    up, down = halves(weight)
    module = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"
    content = {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down}
    after = merged(saved(tmp_path / "lora.safetensors", content), "unet", unet_weights, 1.0)
    assert changed(unet_weights, after) == {f"{TO_Q}.weight"}
    torch.testing.assert_close(after[f"{TO_Q}.weight"], weight + up @ down)
    reached = {unet.rename(f"{module}.weight", 1) for module in unet.module_names(2, 1)}
    assert {name for name, tensor in unet_weights.items() if tensor.ndim > 1} <= reached


@pytest.mark.parametrize(
    ("component", "prefix", "own"),
    [
        ("text_encoder", "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_", "encoder"),
        ("text_encoder", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.", "encoder"),
        ("text_encoder", "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_", "text_model.encoder"),
        ("text_encoder_2", "lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_", "text_model.encoder"),
        ("text_encoder_2", "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.", "encoder"),
    ],
)
def test_text_encoders(tmp_path: Path, component: str, prefix: str, own: str) -> None:
    name = f"{own}.layers.0.self_attn.q_proj.weight"
    weights = {name: torch.randn(8, 8)}
    up, down = halves(weights[name])
    path = saved(tmp_path / "lora.safetensors", {f"{prefix}up.weight": up, f"{prefix}down.weight": down})
    torch.testing.assert_close(merged(path, component, weights, 1.0)[name], weights[name] + up @ down)
    assert loras_for(lora_targets([Lora(path)]), component) == (Lora(path),)
    assert loras_for(lora_targets([Lora(path)]), "transformer") == (), "another component's"


def test_several_loras_add_up_and_the_dtype_stays(tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(8, 8, dtype=torch.bfloat16), "a.bias": torch.randn(8)}
    pairs = [halves(weights["a.weight"]) for _ in range(2)]
    loras = []
    for number, (up, down) in enumerate(pairs):
        path = saved(tmp_path / f"{number}.safetensors", {"a.lora_B.weight": up, "a.lora_A.weight": down})
        loras.append(Lora(path, [0.5, -1.0][number]))
    after = merge_loras(SD15.denoiser, weights, loras, torch.bfloat16)
    sums = weights["a.weight"].float() + 0.5 * pairs[0][0] @ pairs[0][1] - pairs[1][0] @ pairs[1][1]
    assert torch.equal(after["a.weight"], sums.bfloat16())
    assert torch.equal(after["a.bias"], weights["a.bias"].bfloat16())
    assert loras_for(lora_targets([*loras, Lora(path, 0.0)]), "unet") == tuple(loras)


UP, DOWN = torch.ones(32, 4), torch.ones(4, 32)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({f"unet.{TO_Q}.lora_A.weight": DOWN}, f"no pair of up and down: unet.{TO_Q}"),
        ({}, "it is empty"),
        ({"lora_unet_x.hada_w1_a": UP}, r"unknown tensors: lora_unet_x.hada_w1_a; known are .* \(no DoRA"),
        ({f"{TO_Q}.lora_B.weight": UP, f"{TO_Q}.lora_A.weight": DOWN, f"{TO_Q}.dora_scale": UP}, "unknown tensors"),
        (
            {f"lora_unet_blocks_{n}_to_q.lora_{half}.weight": UP for n in range(9) for half in ("up", "down")},
            "is for another unet: .*lora_unet_blocks_4_to_q and 4 more differ",
        ),
        ({f"{TO_Q}.lora_B.weight": UP, f"{TO_Q}.lora_A.weight": torch.ones(4, 48)}, f"another unet: {TO_Q}.weight"),
    ],
)
def test_what_does_not_fit_is_said(unet_weights: Tensors, tmp_path: Path, content: Tensors, words: str) -> None:
    path = saved(tmp_path / "style.safetensors", {name: tensor.clone() for name, tensor in content.items()})
    with pytest.raises(WeightsUnusable, match=words) as error:
        LoraFile(path).updates(SD15.denoiser, unet_weights)
    assert "style.safetensors" in error.value.message
    assert str(tmp_path) not in error.value.message


def test_a_fused_module_of_another_size_is_said(mmdit_weights: Tensors, tmp_path: Path) -> None:
    module = "lora_unet_joint_blocks_0_x_block_attn_qkv"
    content = {f"{module}.lora_up.weight": torch.ones(2, 4), f"{module}.lora_down.weight": torch.ones(4, 32)}
    path = saved(tmp_path / "style.safetensors", content)
    with pytest.raises(WeightsUnusable, match=r"another transformer: joint_blocks\.0\.x_block\.attn\.qkv differs"):
        LoraFile(path).updates(SD3.denoiser, mmdit_weights)
    saved(path, {f"{module}.lora_up.weight": torch.ones(96), f"{module}.lora_down.weight": torch.ones(4, 32)})
    with pytest.raises(WeightsUnusable, match=r"another transformer: transformer_blocks\.0\.attn\.to_q\.weight"):
        LoraFile(path).updates(SD3.denoiser, mmdit_weights)


def test_peft_s_own_files(tmp_path: Path) -> None:
    weights = {"to_q.weight": torch.zeros(32, 32)}
    content = {"base_model.model.to_q.lora_B.weight": UP, "base_model.model.to_q.lora_A.weight": DOWN}
    path = saved(tmp_path / "adapter_model.safetensors", content)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
    assert merged(path, "transformer", weights, 1.0)["to_q.weight"].unique().tolist() == [8.0]
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(WeightsUnusable, match="its configuration can't be read"):
        LoraFile(path)
