"""SD 3's transformer: `model.diffusion_model.*` (mmdit.py of Stability-AI/sd3.5) to diffusers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from tintype.checkpoints.keys.unet import numbers_after

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


def convert(originals: Mapping[str, torch.Tensor], depth: int | None = None) -> dict[str, torch.Tensor]:
    """The tensors under diffusers' names; one that has no such name keeps its own.

    `depth`, the number of joint blocks, is required where some of a model's tensors are missing.
    """
    depth = depth or joint_blocks(originals)
    return dict(pair for name, tensor in originals.items() for pair in _converted(name, tensor, depth))


def joint_blocks(names: Mapping[str, object]) -> int:
    return max(numbers_after("joint_blocks", names), default=-1) + 1


def module_names(depth: int) -> list[str]:
    """All possible original names of modules, for a number of joint blocks."""
    return [*OUTER, *(f"joint_blocks.{block}.{module}" for block in range(depth) for module in BLOCK)]


def _converted(name: str, tensor: torch.Tensor, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    module, _, last = name.rpartition(".")
    if name == "pos_embed":
        yield "pos_embed.pos_embed", tensor
        return
    targets = _targets(module)
    if _is_scale_first(module, depth):
        tensor = torch.cat(tensor.chunk(2)[::-1])
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
