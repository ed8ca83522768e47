"""Parts that can't work together are named before anybody draws with them: by `check`, and where a model is opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.toy_weights import CLIP, CLIP_G, FAMILIES, SDXL_UNET, TRANSFORMER, UNET, toy_weights, write_random
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel

from tintype.catalog.models import SD15_IMG2IMG, SD15_INPAINTING, SD15_TXT2IMG
from tintype.checkpoints.weights import Lora, WeightsSpec
from tintype.diffusion.check import Finding, check
from tintype.diffusion.families import load_family
from tintype.errors import WeightsUnusable
from tintype.worker.models import ModelPool

LAYER = "text_model.encoder.layers.0.self_attn.q_proj"
TO_Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def said(weights: WeightsSpec, family: str) -> str:
    """The one thing that `check` finds; whoever opens the model is told the same."""
    [found] = check(weights, family)
    with pytest.raises(WeightsUnusable) as refused:
        load_family(family, weights, torch.device("cpu"), torch.float32, 32)
    assert found.detail in refused.value.message
    assert not found.harmless
    return str(found)


def autoencoder(channels: int, levels: int = 4, **changes: Any) -> tuple[str, dict[str, Any]]:
    """One with so many latent channels, that halves a picture so many times but one."""
    sizes = {"block_out_channels": (8,) * levels, "norm_num_groups": 8, "latent_channels": channels}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    return "AutoencoderKL", sizes | blocks | changes


def component(folder: Path, family: str, name: str, made: tuple[str, dict[str, Any]]) -> Path:
    """The folder of one component of that class and configuration."""
    write_random(folder, {name: made}, FAMILIES[family][1])
    return folder / name


WIDE = {"hidden_size": 64, "projection_dim": 64}
SD15_MISFITS: dict[str, tuple[str, tuple[str, dict[str, Any]], str]] = {
    "sd3's autoencoder": ("vae", autoencoder(16), "unet: it takes 4 channels; the latents of vae have 16"),
    "relighting": (
        "unet",
        ("UNet2DConditionModel", UNET | {"in_channels": 12}),
        "unet: it takes 12 channels, as relighting checkpoints do, which are not supported; the latents of vae have 4",
    ),
    "upscaler": (
        "unet",
        ("UNet2DConditionModel", UNET | {"in_channels": 7}),
        "unet: it takes 7 channels; the latents of vae have 4",
    ),
    "learned variance": (
        "unet",
        ("UNet2DConditionModel", UNET | {"out_channels": 8}),
        "unet: it gives 8 channels; the latents of vae have 4",
    ),
    "another text encoder": (
        "text_encoder",
        ("CLIPTextModel", CLIP | WIDE),
        "unet: its text (cross_attention_dim) is 32 wide, and what text_encoder gives (hidden_size) is 64",
    ),
    "another class of it": (
        "text_encoder",
        ("CLIPTextModelWithProjection", CLIP),
        "CLIPTextModelWithProjection can't do its work in a model of the family sd15; known are CLIPTextModel",
    ),
    "a small vocabulary": (
        "text_encoder",
        ("CLIPTextModel", CLIP | {"vocab_size": 500}),
        "tokenizer: component tokenizer: it has tokens up to 513, and text_encoder knows 500 (vocab_size)",
    ),
    "short texts": (
        "text_encoder",
        ("CLIPTextModel", CLIP | {"max_position_embeddings": 24}),
        "its texts (model_max_length) have 77 tokens, and text_encoder takes 24 (max_position_embeddings)",
    ),
    "classes": (
        "unet",
        ("UNet2DConditionModel", UNET | {"num_class_embeds": 10}),
        "unet: it wants more than latents, time and text: num_class_embeds is 10",
    ),
    "pictures with transparency": (
        "vae",
        autoencoder(4, in_channels=4),
        "vae: it takes pictures of 4 channels",
    ),
    "a deep autoencoder": (
        "vae",
        autoencoder(4, levels=6),
        "vae: its latents stand for 32 pixels, and sides are in 16s",
    ),
}
SD3_MISFITS: dict[str, tuple[str, tuple[str, dict[str, Any]], str]] = {
    "sd15's autoencoder": ("vae", autoencoder(4), "transformer: it takes 16 channels; the latents of vae have 4"),
    "pooled text": (
        "text_encoder_2",
        ("CLIPTextModelWithProjection", CLIP | {"projection_dim": 48}),
        "its pooled text (pooled_projection_dim) is 64 wide, and what text_encoder and text_encoder_2 give "
        "(projection_dim) is 32 + 48 = 80",
    ),
    "text too wide, which would be cut": (
        "text_encoder",
        ("CLIPTextModelWithProjection", CLIP | WIDE | {"projection_dim": 32}),
        "its text (joint_attention_dim) is 64 wide, and what text_encoder and text_encoder_2 give (hidden_size) is 64",
    ),
    "unprojected": (
        "text_encoder",
        ("CLIPTextModel", CLIP),
        "CLIPTextModel can't do its work in a model of the family sd3; known are CLIPTextModelWithProjection",
    ),
    "blocks of another width": (
        "transformer",
        ("SD3Transformer2DModel", TRANSFORMER | {"caption_projection_dim": 48}),
        "transformer: caption_projection_dim is 48, its blocks are 32 wide",
    ),
}
SDXL_MISFITS: dict[str, tuple[str, tuple[str, dict[str, Any]], str]] = {
    "sd3's autoencoder": ("vae", autoencoder(16), "unet: it takes 4 channels; the latents of vae have 16"),
    "inpainting": (
        "unet",
        ("UNet2DConditionModel", SDXL_UNET | {"in_channels": 9}),
        "unet: it takes 9 channels, as inpainting checkpoints do, which are not supported",
    ),
    "another text encoder": (
        "text_encoder",
        ("CLIPTextModel", CLIP | WIDE),
        "unet: its text (cross_attention_dim) is 80 wide, and what text_encoder and text_encoder_2 give (hidden_size) "
        "is 64 + 48 = 112",
    ),
    "another pooled text": (
        "text_encoder_2",
        ("CLIPTextModelWithProjection", CLIP_G | {"projection_dim": 48}),
        "unet: its pooled text and sizes (projection_class_embeddings_input_dim) are 88 wide, and what text_encoder_2 "
        "gives (projection_dim) and 6 sizes are 48 + 48 = 96",
    ),
    "told nothing of sizes": (
        "unet",
        ("UNet2DConditionModel", UNET | {"cross_attention_dim": 80}),
        "unet: it wants something else than latents, time, text and sizes: addition_embed_type is None",
    ),
    "fewer numbers": (
        "unet",
        ("UNet2DConditionModel", SDXL_UNET | {"projection_class_embeddings_input_dim": 40 + 5 * 8}),
        "(projection_class_embeddings_input_dim) are 80 wide",
    ),
}
MISFITS = {"sd15": SD15_MISFITS, "sd3": SD3_MISFITS, "sdxl": SDXL_MISFITS}


@pytest.mark.parametrize(("family", "case"), [(family, case) for family, cases in MISFITS.items() for case in cases])
def test_a_part_for_another_model(weights: Path, tmp_path: Path, family: str, case: str) -> None:
    name, made, words = MISFITS[family][case]
    part = component(tmp_path, family, name, made)
    assert words in said(WeightsSpec(toy_weights(family, weights), components=((name, part),)), family)


def test_weights_for_inpainting_are_for_models_with_a_mask(weights: Path, tmp_path: Path) -> None:
    unet = component(tmp_path, "sd15", "unet", ("UNet2DConditionModel", UNET | {"in_channels": 9, "out_channels": 4}))
    own = WeightsSpec(toy_weights("sd15", weights), components=(("unet", unet),))
    assert check(own, "sd15", "mask") == []
    for spec in (SD15_IMG2IMG, SD15_TXT2IMG):
        [found] = check(own, "sd15", spec.needs)
        assert "unet: it is one for inpainting alone, and this model takes no mask" in str(found)
        models = ModelPool("cpu", "float32", 32, {spec.slug: own, SD15_INPAINTING.slug: own})
        assert models.get(SD15_INPAINTING).family.needs_mask
        with pytest.raises(WeightsUnusable, match="for inpainting alone"):
            models.get(spec)


def test_texts_of_two_lengths(weights: Path, tmp_path: Path) -> None:
    made = ("CLIPTextModelWithProjection", CLIP | {"max_position_embeddings": 96})
    part = component(tmp_path, "sd3", "text_encoder_2", made)
    own = WeightsSpec(toy_weights("sd3", weights), components=(("text_encoder_2", part),))
    [found] = check(own, "sd3")
    assert "its texts (model_max_length) have 77 tokens, and text_encoder_2 takes 96" in str(found)
    with pytest.raises(WeightsUnusable, match=r"text_encoder_2: it takes 96 tokens .*, and text_encoder 77"):
        load_family("sd3", own, torch.device("cpu"), torch.float32, 32)


def test_a_t5_of_another_width(weights: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        sizes = {"vocab_size": 60, "d_model": 48, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
        T5EncoderModel(T5Config(**sizes)).save_pretrained(tmp_path / "t5")
    found = check(WeightsSpec(toy_weights("sd3", weights), components=(("text_encoder_3", tmp_path / "t5"),)), "sd3")
    assert [str(one) for one in found] == [
        "tokenizer_3: component tokenizer_3 is missing from sd3: name a folder for tokenizer_3, "
        "or for tokenizers one in which the folder tokenizer_3 is"
    ]
    tokens = shutil.copytree(toy_weights("sd3", weights) / "tokenizer", tmp_path / "tokenizer_3")
    parts = (("text_encoder_3", tmp_path / "t5"), ("tokenizer_3", tokens))
    lines = [str(one) for one in check(WeightsSpec(toy_weights("sd3", weights), components=parts), "sd3")]
    assert any(line.startswith("tokenizer_3: ") for line in lines), "CLIP's words are not T5's"


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        (
            "sd15",
            FAMILIES["sd3"][1] | {"beta_schedule": None},
            "(FlowMatchEulerDiscreteScheduler): is for another kind",
        ),
        ("sd3", FAMILIES["sd15"][1], "(PNDMScheduler): is for another kind of model"),
        ("sd15", {"prediction_type": "velocity"}, "prediction_type is velocity; allowed: one of epsilon, v_prediction"),
        ("sd15", {"beta_schedule": 3}, "beta_schedule is 3; allowed: one of linear, scaled_linear"),
        ("sd15", {"beta_end": "0.012"}, "beta_end is 0.012; allowed: a number between 0 and 1"),
        ("sd15", {"num_train_timesteps": 10}, "num_train_timesteps is 10; allowed: a whole number from 100"),
        ("sd15", {"trained_betas": [0.1]}, "trained_betas must have 1000 numbers"),
        ("sd3", {"shift": 0}, "shift is 0; allowed: a number above 0"),
    ],
)
def test_a_scheduler_for_another_model(
    copied: Callable[[str], Path], family: str, changes: dict[str, Any], words: str
) -> None:
    folder = copied(family)
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert words in said(WeightsSpec(folder), family)


def test_a_folder_of_another_family(copied: Callable[[str], Path]) -> None:
    words = "checkpoint: sd3 is Stable Diffusion 3 (StableDiffusion3Pipeline), not a model of the family sd15"
    assert said(WeightsSpec(copied("sd3")), "sd15") == words
    index = (folder := copied("sd15")) / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "AnybodysPipeline"}))
    assert check(WeightsSpec(folder), "sd15") == [], "an unknown pipeline may have the family's components"


@pytest.mark.parametrize("broken", ["{}", '{"model": {"type": "BPE"}}', '{"version": "1.0", "model": null}'])
def test_a_tokenizer_that_is_not_understood(copied: Callable[[str], Path], broken: str) -> None:
    folder = copied("sd15")
    (folder / "tokenizer" / "tokenizer.json").write_text(broken)
    words = "tokenizer: its configuration is not one of a tokenizer: "
    assert said(WeightsSpec(folder), "sd15").startswith(words)


def lora(path: Path, *modules: tuple[str, str, str], width: int = 32, **metadata: str) -> Lora:
    """A LoRA of these modules: name, and what follows it for up and for down."""
    content = {f"{name}{up}": torch.ones(width, 4) for name, up, _ in modules}
    content |= {f"{name}{down}": torch.ones(4, width) for name, _, down in modules}
    save_file(content, path, metadata or None)
    return Lora(path)


KOHYA = (".lora_up.weight", ".lora_down.weight")
PEFT = (".lora_B.weight", ".lora_A.weight")
OLD = (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight")


@pytest.mark.parametrize(
    ("family", "modules", "others"),
    [
        ("sd15", [("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", *KOHYA)], "text_encoder_2"),
        ("sd15", [(f"text_encoder_2.{LAYER}", *PEFT)], "text_encoder_2"),
        ("sd15", [(f"text_encoder_2.{LAYER}", *OLD)], "text_encoder_2"),
        ("sd15", [("lora_te3_encoder_block_0_layer_0_SelfAttention_q", *KOHYA)], "text_encoder_3"),
        # Part of it is for something else: it is SDXL's.
        ("sd15", [(f"text_encoder.{LAYER}", *PEFT), (f"text_encoder_2.{LAYER}", *PEFT)], "text_encoder_2"),
        # T5 can be left out, but nothing else of this file has any effect.
        ("sd3", [("text_encoder_3.encoder.block.0.layer.0.SelfAttention.q", *PEFT)], "text_encoder_3"),
    ],
)
def test_a_lora_for_what_the_model_has_not(
    weights: Path, tmp_path: Path, family: str, modules: list[tuple[str, str, str]], others: str
) -> None:
    one = lora(tmp_path / "style.safetensors", *modules)
    words = f"style.safetensors changes {others}, which this model of the family {family} hasn't"
    assert words in said(WeightsSpec(toy_weights(family, weights), (one,)), family)
    offered = WeightsSpec(toy_weights(family, weights), available_loras=(("ink", one),))
    [found] = check(offered, family)
    assert str(found).startswith(f"available_loras: ink: {words}")


def test_a_lora_s_part_for_a_t5_that_is_left_out_is_said(weights: Path, tmp_path: Path) -> None:
    both = (f"text_encoder.{LAYER}", *PEFT), ("text_encoder_3.encoder.block.0.layer.0.SelfAttention.q", *PEFT)
    words = "style.safetensors: what it changes of text_encoder_3 has no effect, since that is left out"
    one = WeightsSpec(toy_weights("sd3", weights), (lora(tmp_path / "style.safetensors", *both),))
    assert check(one, "sd3") == [Finding("checkpoint", "ignored", "", words)]
    load_family("sd3", one, torch.device("cpu"), torch.float32, 32)


@pytest.mark.parametrize(
    "modules",
    [
        [("transformer.transformer_blocks.0.attn.to_q", *PEFT)],  # Flux and SD 3 call it alike: the width tells
        [("transformer.single_transformer_blocks.0.attn.to_q", *PEFT)],
        [("lora_unet_double_blocks_0_img_attn_qkv", *KOHYA)],
        [("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q", *KOHYA)],
    ],
)
def test_a_lora_of_another_denoiser(weights: Path, tmp_path: Path, modules: list[tuple[str, str, str]]) -> None:
    one = WeightsSpec(toy_weights("sd3", weights), (lora(tmp_path / "l.safetensors", *modules, width=3072),))
    [found] = check(one, "sd3")
    assert str(found).startswith("transformer: l.safetensors is for another transformer: ")


def pair(up: torch.Tensor, down: torch.Tensor, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of one module of the UNet."""
    return {f"unet.{TO_Q}.lora_B.weight": up, f"unet.{TO_Q}.lora_A.weight": down} | {
        f"unet.{TO_Q}.{name}": tensor for name, tensor in more.items()
    }


ONES = torch.ones(64, 4), torch.ones(4, 64)


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        ({}, None, "it is empty"),
        (pair(torch.ones(64, 0), torch.ones(0, 64)), None, f"of rank 0, which adds nothing: unet.{TO_Q}"),
        (pair(torch.zeros(64, 4), ONES[1]), None, "changes nothing: its numbers are all zero"),
        (pair(*ONES, alpha=torch.tensor(0.0)), None, "changes nothing: its numbers are all zero"),
        (pair(*ONES, alpha=torch.ones(3)), None, f"the alpha of {TO_Q} is not one number"),
        (pair(*ONES, alpha=torch.tensor(float("inf"))), None, f"the alpha of {TO_Q} is not one number"),
        (pair(torch.ones(64), torch.ones(4)), None, f"is for another unet: {TO_Q}.weight differ"),
        (pair(torch.ones(()), torch.ones(())), None, f"is for another unet: {TO_Q}.weight differ"),
        (
            {**pair(*ONES), f"{TO_Q}.lora_up.weight": ONES[0].clone(), f"{TO_Q}.lora_down.weight": ONES[1].clone()},
            None,
            f"has two updates of {TO_Q}.weight",
        ),
        (
            {**pair(*ONES), f"unet.{TO_Q}.lora_B.other.weight": ONES[0].clone()},
            None,
            f"has two updates of unet.{TO_Q}.lora_",
        ),
        (
            pair(*ONES),
            {"unet.alpha_pattern": {"(": 4}},
            "alpha_pattern '(' is not supported; allowed are names",
        ),
        (pair(*ONES), {"alpha_pattern": {"(a+)+$": 4}}, "alpha_pattern '(a+)+$' is not supported"),
        (pair(*ONES), {"alpha_pattern": {"(.*a){25}": 4}}, "alpha_pattern '(.*a){25}' is not supported"),
        (pair(*ONES), {"alpha_pattern": {"(a|a)" * 25: 4}}, "alpha_pattern '(a|a)(a|a)"),
        (pair(*ONES), {"alpha_pattern": {".*" * 9: 4}}, "alpha_pattern '.*.*.*"),
        (pair(*ONES), {"alpha_pattern": {"to_q": [4]}}, "alpha_pattern '[4]' is not a number"),
        (pair(*ONES), {"alpha_pattern": ["to_q"]}, "alpha_pattern must be an object"),
        (
            pair(*ONES),
            {"alpha_pattern": {f".*{n}": 1 for n in range(99)}},
            "has more than 50 patterns that are no plain names",
        ),
        (pair(*ONES), {"lora_alpha": "4"}, "lora_alpha '4' is not a number"),
        (pair(*ONES), {"lora_alpha": 10**400}, f"lora_alpha '1{'0' * 59}' is not a number"),
        (pair(*ONES), [], "its configuration can't be read: TypeError"),
        (pair(ONES[0] * float("nan"), ONES[1]), None, f"has numbers that are NaN or infinite: {TO_Q}.weight"),
        (pair(ONES[0], ONES[1] / 0), None, "has numbers that are NaN or infinite"),
    ],
)
def test_a_lora_that_makes_no_sense(
    weights: Path, tmp_path: Path, content: dict[str, torch.Tensor], settings: Any, words: str
) -> None:
    metadata = None if settings is None else {"lora_adapter_metadata": json.dumps(settings)}
    save_file(content, tmp_path / "l.safetensors", metadata)
    [found] = check(WeightsSpec(toy_weights("sd15", weights), (Lora(tmp_path / "l.safetensors"),)), "sd15")
    assert found.component == "unet"
    assert found.detail.startswith("l.safetensors")
    assert words in found.detail
    assert len(str(found)) < 400
