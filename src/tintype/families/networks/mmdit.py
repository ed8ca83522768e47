"""SD 3's transformer: `model.diffusion_model.*` (mmdit.py of Stability-AI/sd3.5) to diffusers, and its sizes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import isqrt
from typing import Any

from tintype.families.networks.names import count, numbers_after, size
from tintype.families.networks.text import HEAD
from tintype.families.spec import Config, Network, Tensors

PREFIX = "model.diffusion_model."

OUTER = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "context_embedder": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
#: Within a joint block, for the image's half and the text's. Three targets share the rows of one original equally.
BLOCK = {
    "x_block.adaLN_modulation.1": ["norm1.linear"],
    "x_block.attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "x_block.attn.ln_q": ["attn.norm_q"],
    "x_block.attn.ln_k": ["attn.norm_k"],
    "x_block.attn.proj": ["attn.to_out.0"],
    "x_block.attn2.qkv": ["attn2.to_q", "attn2.to_k", "attn2.to_v"],
    "x_block.attn2.ln_q": ["attn2.norm_q"],
    "x_block.attn2.ln_k": ["attn2.norm_k"],
    "x_block.attn2.proj": ["attn2.to_out.0"],
    "x_block.mlp.fc1": ["ff.net.0.proj"],
    "x_block.mlp.fc2": ["ff.net.2"],
    "context_block.adaLN_modulation.1": ["norm1_context.linear"],
    "context_block.attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "context_block.attn.ln_q": ["attn.norm_added_q"],
    "context_block.attn.ln_k": ["attn.norm_added_k"],
    "context_block.attn.proj": ["attn.to_add_out"],
    "context_block.mlp.fc1": ["ff_context.net.0.proj"],
    "context_block.mlp.fc2": ["ff_context.net.2"],
}


def convert(originals: Tensors, depth: int | None = None) -> Tensors:
    """The tensors under diffusers' names; one that has no such name keeps its own.

    `depth`, the number of joint blocks, is required where some of a model's tensors are missing.
    """
    depth = depth or joint_blocks(originals)
    return dict(pair for name, tensor in originals.items() for pair in _converted(name, tensor, depth))


def joint_blocks(names: Collection[str]) -> int:
    return max(numbers_after("joint_blocks", names), default=-1) + 1


def module_names(depth: int) -> list[str]:
    """All possible original names of modules, for a number of joint blocks."""
    return [*OUTER, *(f"joint_blocks.{block}.{module}" for block in range(depth) for module in BLOCK)]


def _converted(name: str, tensor: Any, depth: int) -> Iterator[tuple[str, Any]]:
    module, _, last = name.rpartition(".")
    if name == "pos_embed":
        yield "pos_embed.pos_embed", tensor
        return
    targets = _targets(module)
    if _is_scale_first(module, depth):
        tensor = tensor.roll(len(tensor) // 2, 0)
    for target, rows in zip(targets, tensor.chunk(len(targets)), strict=True):
        yield f"{target}.{last}", rows


def _targets(module: str) -> list[str]:
    match module.split(".", 2):
        case ["joint_blocks", block, rest] if rest in BLOCK:
            return [f"transformer_blocks.{block}.{target}" for target in BLOCK[rest]]
        case _:
            return [OUTER.get(module, module)]


def _is_scale_first(module: str, depth: int) -> bool:
    """The original has rows for shift, then scale; diffusers' AdaLayerNormContinuous has the reverse order."""
    return module in ("final_layer.adaLN_modulation.1", f"joint_blocks.{depth - 1}.context_block.adaLN_modulation.1")


def config(tensors: Tensors) -> Config:
    """SD3Transformer2DModel: SD 3 Medium, SD 3.5 Medium (which attends twice in some blocks), SD 3.5 Large."""
    blocks = range(count("transformer_blocks", tensors))
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
        "out_channels": size(tensors, "proj_out.weight") // patches[2] ** 2,
        "joint_attention_dim": size(tensors, "context_embedder.weight", 1),
        "caption_projection_dim": size(tensors, "context_embedder.weight"),
        "pooled_projection_dim": size(tensors, "time_text_embed.text_embedder.linear_1.weight", 1),
        "pos_embed_max_size": isqrt(size(tensors, "pos_embed.pos_embed", 1)),
        "qk_norm": None if norm is None else "rms_norm",
        "dual_attention_layers": [n for n in blocks if f"transformer_blocks.{n}.attn2.to_q.weight" in tensors],
    }


def _depth(names: Collection[str]) -> int:
    """Joint blocks, of diffusers' names."""
    return count("transformer_blocks", names)


MMDIT = Network(
    path="diffusers.models.transformers.transformer_sd3.SD3Transformer2DModel",
    convert=lambda tensors: tensors if "pos_embed.proj.weight" in tensors else convert(tensors),
    config=config,
    original_modules=lambda names: module_names(_depth(names)),
    convert_some=lambda originals, names: convert(originals, _depth(names)),
)
