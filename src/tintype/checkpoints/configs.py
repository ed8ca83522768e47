"""Configurations for tensors that come without one: sizes read from their shapes, the rest as published.

Every function takes a component's tensors under the library's names and returns the class's configuration. Where shapes
don't tell (the width of an attention head, the activation), it has the values of the family's published models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isqrt
from typing import Any

import torch

from tintype.checkpoints.keys.unet import numbers_after

Tensors = Mapping[str, torch.Tensor]
Config = dict[str, Any]

#: Width of an attention head, in CLIP of every size and in SD 3's transformer without norms of queries and keys.
HEAD = 64
#: Heads of SD 1.5: what its configuration calls `attention_head_dim`.
SD15_HEADS = 8
#: Latent channels → scale and shift of latents (CompVis' v1-inference.yaml; Stability's SD3LatentFormat).
LATENTS = {4: {"scaling_factor": 0.18215}, 16: {"scaling_factor": 1.5305, "shift_factor": 0.0609}}


def config_of(component: str, class_name: str, tensors: Tensors) -> Config:
    """The content of `config.json` for these tensors; raises KeyError that names a required tensor."""
    match class_name:
        case "UNet2DConditionModel":
            return unet(tensors)
        case "SD3Transformer2DModel":
            return mmdit(tensors)
        case "AutoencoderTiny":
            return tiny_autoencoder(tensors)
        case "AutoencoderKL":
            return autoencoder(tensors)
        case "T5EncoderModel":
            return t5(tensors)
        case _:
            # SD 3's second CLIP is OpenCLIP's, the others are OpenAI's.
            return clip(tensors, "gelu" if component == "text_encoder_2" else "quick_gelu")


def unet(tensors: Tensors) -> Config:
    """UNet2DConditionModel of SD 1.5."""
    levels = range(_count("down_blocks", tensors))
    attending = [f"down_blocks.{level}.attentions.0.norm.weight" in tensors for level in levels]
    widths = [_size(tensors, name, 1) for name in tensors if name.endswith("attn2.to_k.weight")]
    return {
        "in_channels": _size(tensors, "conv_in.weight", 1),
        "out_channels": _size(tensors, "conv_out.weight"),
        "block_out_channels": [_size(tensors, f"down_blocks.{level}.resnets.0.conv1.weight") for level in levels],
        "layers_per_block": _count("down_blocks.0.resnets", tensors),
        "down_block_types": ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attending],
        "up_block_types": ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attending)],
        "cross_attention_dim": widths[0],
        "attention_head_dim": SD15_HEADS,
        "sample_size": 64,
    }


def mmdit(tensors: Tensors) -> Config:
    """SD3Transformer2DModel: SD 3 Medium, SD 3.5 Medium (which attends twice in some blocks), SD 3.5 Large."""
    blocks = range(_count("transformer_blocks", tensors))
    patches = tensors["pos_embed.proj.weight"].shape  # (width, channels, side, side)
    norm = tensors.get("transformer_blocks.0.attn.norm_q.weight")
    head = HEAD if norm is None else len(norm)
    return {
        "sample_size": 128,
        "num_layers": len(blocks),
        "attention_head_dim": head,
        "num_attention_heads": patches[0] // head,
        "in_channels": patches[1],
        "patch_size": patches[2],
        "out_channels": _size(tensors, "proj_out.weight") // patches[2] ** 2,
        "joint_attention_dim": _size(tensors, "context_embedder.weight", 1),
        "caption_projection_dim": _size(tensors, "context_embedder.weight"),
        "pooled_projection_dim": _size(tensors, "time_text_embed.text_embedder.linear_1.weight", 1),
        "pos_embed_max_size": isqrt(_size(tensors, "pos_embed.pos_embed", 1)),
        "qk_norm": None if norm is None else "rms_norm",
        "dual_attention_layers": [n for n in blocks if f"transformer_blocks.{n}.attn2.to_q.weight" in tensors],
    }


def autoencoder(tensors: Tensors) -> Config:
    """AutoencoderKL; its latents are SD 1.5's where there are 4 channels, SD 3's where there are 16."""
    levels = range(_count("encoder.down_blocks", tensors))
    channels = _size(tensors, "decoder.conv_in.weight", 1)
    return {
        "block_out_channels": [
            _size(tensors, f"encoder.down_blocks.{level}.resnets.0.conv1.weight") for level in levels
        ],
        "layers_per_block": _count("encoder.down_blocks.0.resnets", tensors),
        "down_block_types": ["DownEncoderBlock2D" for _ in levels],
        "up_block_types": ["UpDecoderBlock2D" for _ in levels],
        "latent_channels": channels,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
        **LATENTS.get(channels, {}),
    }


def tiny_autoencoder(tensors: Tensors) -> Config:
    """AutoencoderTiny, such as madebyollin's taesd and taesd3: its latents are already scaled."""
    encoder, decoder = (_tiny_blocks(side, tensors) for side in ("encoder", "decoder"))
    width, channels = tensors["decoder.layers.0.weight"].shape[:2]
    return {
        "encoder_block_out_channels": [width] * len(encoder),
        "decoder_block_out_channels": [width] * len(decoder),
        "num_encoder_blocks": encoder,
        "num_decoder_blocks": decoder,
        "latent_channels": channels,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
    }


def clip(tensors: Tensors, activation: str) -> Config:
    """CLIPTextModel or CLIPTextModelWithProjection: `quick_gelu` in OpenAI's, `gelu` in OpenCLIP's."""
    prefix = "text_model." if "text_model.final_layer_norm.weight" in tensors else ""
    words, width = tensors[f"{prefix}embeddings.token_embedding.weight"].shape
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": _size(tensors, f"{prefix}encoder.layers.0.mlp.fc1.weight"),
        "num_hidden_layers": _count(f"{prefix}encoder.layers", tensors),
        "num_attention_heads": max(1, width // HEAD),
        "max_position_embeddings": _size(tensors, f"{prefix}embeddings.position_embedding.weight"),
        "projection_dim": _size(tensors, "text_projection.weight") if "text_projection.weight" in tensors else width,
        "hidden_act": activation,
        "bos_token_id": words - 2,
        # To transformers, 2 means: the end of a text is its highest id.
        "eos_token_id": 2,
    }


def t5(tensors: Tensors) -> Config:
    """T5EncoderModel, version 1.1."""
    words, width = tensors["shared.weight"].shape
    heads = _size(tensors, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 1)
    return {
        "vocab_size": words,
        "d_model": width,
        "d_ff": _size(tensors, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"),
        "d_kv": _size(tensors, "encoder.block.0.layer.0.SelfAttention.q.weight") // heads,
        "num_heads": heads,
        "num_layers": _count("encoder.block", tensors),
        "feed_forward_proj": "gated-gelu",
    }


def _size(tensors: Tensors, name: str, dimension: int = 0) -> int:
    return int(tensors[name].shape[dimension])


def _count(prefix: str, names: Collection[str]) -> int:
    return len(numbers_after(prefix, names))


def _tiny_blocks(side: str, tensors: Tensors) -> list[int]:
    """Residual blocks per level; a plain convolution separates levels."""
    blocks: list[int] = []
    for layer in sorted(numbers_after(f"{side}.layers", tensors)):
        if f"{side}.layers.{layer}.weight" in tensors:
            blocks.append(0)
        else:
            blocks[-1] += 1
    return blocks[:-1]
