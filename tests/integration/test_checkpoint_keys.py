"""Names and configurations of the original layouts, against the models themselves and against diffusers' converters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from tests.original_layouts import original_mmdit, original_open_clip, original_unet, original_vae
from tests.true_sizes import REFINER_UNET, SDXL_UNET
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.t5.modeling_t5 import T5EncoderModel

from tintype.families.networks import autoencoder, mmdit, text, unet

Tensors = Mapping[str, torch.Tensor]

TRUE_UNET: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}
TOY_UNET: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 64,
    "attention_head_dim": 8,
}
TOY_SDXL: dict[str, Any] = SDXL_UNET | {
    "block_out_channels": (64, 128),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "attention_head_dim": (1, 2),
    "cross_attention_dim": 96,
    "projection_class_embeddings_input_dim": 64,
}
FOUR = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
TRUE_VAE: dict[str, Any] = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, **FOUR}
TOY_VAE: dict[str, Any] = {"block_out_channels": [32, 32, 32, 64], "layers_per_block": 1, **FOUR}
SD3_VAE = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
MMDIT: dict[str, Any] = {
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "in_channels": 16,
    "out_channels": 16,
}


def wide(heads: int, depth: int, side: int, **extra: Any) -> dict[str, Any]:
    """The configuration of SD 3's transformer with so many heads and blocks."""
    size = {"num_attention_heads": heads, "caption_projection_dim": 64 * heads, "num_layers": depth}
    return MMDIT | size | {"pos_embed_max_size": side} | extra


#: As the published repositories' config.json have them.
SD3_MEDIUM = wide(24, 24, 192)
SD35_MEDIUM = wide(24, 24, 384, qk_norm="rms_norm", dual_attention_layers=tuple(range(13)))
SD35_LARGE = wide(38, 38, 192, qk_norm="rms_norm")
SMALL = {"joint_attention_dim": 96, "pooled_projection_dim": 32}


def state(model_class: Any, device: str, **config: Any) -> dict[str, torch.Tensor]:
    """A model's tensors: random ones, or shapes only where the device is `meta`."""
    with torch.device(device), torch.random.fork_rng(devices=[]):
        return dict(model_class(**config).state_dict())


def same(left: Tensors, right: Tensors) -> bool:
    """Whether both have the same names, shapes and numbers."""
    return left.keys() == right.keys() and all(
        tensor.shape == right[name].shape and (tensor.is_meta or torch.equal(tensor, right[name]))
        for name, tensor in left.items()
    )


def bare(tensors: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    """The names after a prefix that all have."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(("config", "levels", "layers"), [(TRUE_UNET, 4, 2), (TOY_UNET, 2, 1)], ids=["sd15", "toy"])
def test_unet(config: dict[str, Any], levels: int, layers: int) -> None:
    tensors = state(UNet2DConditionModel, "meta" if levels == 4 else "cpu", **config)
    originals = original_unet(tensors, levels, layers)
    assert same(single_file_utils.convert_ldm_unet_checkpoint(dict(originals), {"layers_per_block": layers}), tensors)
    assert same(unet.convert(bare(originals, unet.PREFIX)), tensors)
    assert levels == 2 or len(tensors) == 686  # as the published file has
    assert same(state(UNet2DConditionModel, "meta", **unet.config(tensors)), on_meta(tensors))


@pytest.mark.parametrize(
    ("config", "levels", "layers"),
    [(SDXL_UNET, 3, 2), (REFINER_UNET, 4, 2), (TOY_SDXL, 2, 1)],
    ids=["sdxl", "refiner", "toy"],
)
def test_sdxl_unet(config: dict[str, Any], levels: int, layers: int) -> None:
    tensors = state(UNet2DConditionModel, "cpu" if levels == 2 else "meta", **config)
    originals = original_unet(tensors, levels, layers)
    assert same(unet.convert(bare(originals, unet.PREFIX)), tensors)
    settings = {"layers_per_block": layers, "addition_embed_type": "text_time"}
    assert same(single_file_utils.convert_ldm_unet_checkpoint(dict(originals), settings), tensors)
    assert levels != 3 or len(tensors) == 1680  # as the published file has
    found = unet.sdxl_config(tensors)
    said = ("attention_head_dim", "sample_size", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
    assert [found[name] for name in said] == [
        [*config[name]] if isinstance(config[name], tuple) else config[name] for name in said
    ]
    assert same(state(UNet2DConditionModel, "meta", **found), on_meta(tensors))


@pytest.mark.parametrize("config", [TRUE_VAE, TOY_VAE, TOY_VAE | SD3_VAE], ids=["sd15", "toy", "toy-sd3"])
def test_autoencoder(config: dict[str, Any]) -> None:
    tensors = state(AutoencoderKL, "cpu" if config["layers_per_block"] == 1 else "meta", **config)
    originals = original_vae(tensors, 4)
    reference = single_file_utils.convert_ldm_vae_checkpoint(dict(originals), config)
    assert same(reference, tensors)
    assert same(autoencoder.convert(bare(originals, "first_stage_model.")), tensors)
    assert config is not TRUE_VAE or len(tensors) == 248  # as the published file has
    assert same(state(AutoencoderKL, "meta", **autoencoder.kl().config(tensors)), on_meta(tensors))
    old = {name.replace(".to_out.0.", ".proj_attn.").replace(".to_q.", ".query."): one for name, one in tensors.items()}
    assert same(autoencoder.update(old), tensors)


def test_text_encoders() -> None:
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = CLIPTextModelWithProjection.config_class(**size, vocab_size=99, projection_dim=64)
    projecting = state(CLIPTextModelWithProjection, "cpu", config=config)
    assert same(text.clip_names(projecting, plain=False), projecting)
    plain = state(CLIPTextModel, "meta", config=config)
    assert same(text.clip_names(on_meta(projecting), plain=True), plain), "the projection has no place in it"
    saved = {f"text_model.{name}": tensor for name, tensor in plain.items()}
    spare = {"text_model.embeddings.position_ids": torch.arange(77), "logit_scale": torch.tensor(4.6)}
    assert same(text.clip_names({**saved, **spare}, plain=True), plain)
    for model_class, tensors in ((CLIPTextModelWithProjection, projecting), (CLIPTextModel, plain)):
        found = model_class.config_class(**text.clip_config(tensors, "quick_gelu"))
        assert same(state(model_class, "meta", config=found), on_meta(tensors))
    config = T5EncoderModel.config_class(
        d_model=64, d_ff=96, d_kv=16, num_heads=2, num_layers=2, vocab_size=99, feed_forward_proj="gated-gelu"
    )
    tensors = state(T5EncoderModel, "meta", config=config)
    found = T5EncoderModel.config_class(**text.t5_config(tensors))
    assert same(state(T5EncoderModel, "meta", config=found), tensors)
    once = tensors.keys() - {"encoder.embed_tokens.weight"}
    for words in text.T5_EMBEDDINGS:
        whole = tensors | {"decoder.final_layer_norm.weight": torch.zeros(64), "lm_head.weight": torch.zeros(99, 64)}
        assert text.t5_names({name: one for name, one in whole.items() if name != words}).keys() == once


def test_open_clip() -> None:
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = CLIPTextModelWithProjection.config_class(**size, vocab_size=99, projection_dim=48)
    tensors = state(CLIPTextModelWithProjection, "cpu", config=config)
    originals = original_open_clip(tensors)
    assert same(text.open_clip(originals), tensors)
    assert same(text.open_clip(tensors), tensors), "those of the class itself"
    reference = single_file_utils.convert_open_clip_checkpoint(
        CLIPTextModelWithProjection(config), {f"x.{name}": one for name, one in originals.items()}, prefix="x."
    )
    assert same({name: one for name, one in reference.items() if one is not None}, tensors)
    assert text.open_clip({"ln_final.weight": torch.zeros(1), "strange": torch.zeros(1)}).keys() == {
        "text_model.final_layer_norm.weight",
        "strange",
    }


def test_tiny_autoencoder() -> None:
    tensors = state(AutoencoderTiny, "meta", latent_channels=16)
    config = autoencoder.tiny_config(tensors)
    assert (config["num_encoder_blocks"], config["num_decoder_blocks"]) == ([1, 3, 3, 3], [3, 3, 3, 1])
    assert same(state(AutoencoderTiny, "meta", **config), tensors)


@pytest.mark.parametrize(
    "config",
    [
        SD3_MEDIUM,
        SD35_MEDIUM,
        SD35_LARGE,
        wide(1, 3, 8) | SMALL,
        wide(2, 3, 8, qk_norm="rms_norm", dual_attention_layers=(0, 1)) | SMALL,
    ],
    ids=["sd3-medium", "sd3.5-medium", "sd3.5-large", "toy", "toy-3.5"],
)
def test_transformer(config: dict[str, Any]) -> None:
    tensors = state(SD3Transformer2DModel, "cpu" if config["num_layers"] == 3 else "meta", **config)
    originals = original_mmdit(tensors)
    reference = single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(dict(originals))
    assert same(reference, tensors)
    assert same(mmdit.convert(bare(originals, mmdit.PREFIX)), tensors)
    found = mmdit.config(tensors)
    assert {name: found[name] for name in MMDIT} == {name: config[name] for name in MMDIT}
    assert same(state(SD3Transformer2DModel, "meta", **found), on_meta(tensors))


def on_meta(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Their shapes."""
    return {name: tensor.to("meta") for name, tensor in tensors.items()}
