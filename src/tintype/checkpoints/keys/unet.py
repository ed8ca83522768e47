"""Stable Diffusion 1.5's UNet: `model.diffusion_model.*` (openaimodel.py of CompVis/stable-diffusion) to diffusers."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

PREFIX = "model.diffusion_model."

#: Outside the numbered blocks.
OUTER = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
#: The layers of a residual block.
RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
#: The layers of an attention over pixels and text, which have the same names in both.
ATTENTION = [
    "proj_in",
    "proj_out",
    *(f"transformer_blocks.0.attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")),
    "transformer_blocks.0.ff.net.0.proj",
    "transformer_blocks.0.ff.net.2",
]
MIDDLE = {"0": "mid_block.resnets.0", "1": "mid_block.attentions.0", "2": "mid_block.resnets.1"}


def convert(originals: Mapping[str, torch.Tensor], layers: int | None = None) -> dict[str, torch.Tensor]:
    """The tensors under diffusers' names; one that has no such name keeps its own.

    `layers`, the residual blocks per level, is required where some of a model's tensors are missing.
    """
    layers = layers or layers_per_block(originals)
    return {rename(name, layers): tensor for name, tensor in originals.items()}


def rename(name: str, layers: int) -> str:
    """Diffusers' name, where every level has `layers` residual blocks."""
    match name.split(".", 3):
        case ["input_blocks", number, place, rest] if number != "0":
            level, layer = divmod(int(number) - 1, layers + 1)
            return f"down_blocks.{level}." + _in_level(place, layer, rest)
        case ["output_blocks", number, place, rest]:
            level, layer = divmod(int(number), layers + 1)
            return f"up_blocks.{level}." + _in_level(place, layer, rest)
        case ["middle_block", place, *rest] if place in MIDDLE:
            return f"{MIDDLE[place]}." + _replace_module(".".join(rest), RESIDUAL)
        case _:
            return _replace_module(name, OUTER)


def module_names(levels: int, layers: int) -> list[str]:
    """All possible original names of modules, for a number of levels and of residual blocks per level."""
    inner = [*RESIDUAL, *ATTENTION, "op", "conv"]
    blocks = [
        f"{side}put_blocks.{n}.{place}"
        for side in ("in", "out")
        for n in range(levels * (layers + 1))
        for place in range(3)
    ]
    return [
        *OUTER,
        *(f"{block}.{module}" for block in [*blocks, *(f"middle_block.{n}" for n in MIDDLE)] for module in inner),
    ]


def layers_per_block(names: Collection[str]) -> int:
    """Residual blocks per level: they precede the first downsampler, or the end."""
    numbers = sorted(numbers_after("input_blocks", names))
    downsampled = [number for number in numbers if f"input_blocks.{number}.0.op.weight" in names]
    return (downsampled[0] if downsampled else len(numbers)) - 1


def numbers_after(prefix: str, names: Collection[str]) -> set[int]:
    """The numbers that follow a prefix in any of the names."""
    rests = (name.removeprefix(prefix + ".") for name in names if name.startswith(prefix + "."))
    return {int(number) for rest in rests if (number := rest.partition(".")[0]).isdecimal()}


def _in_level(place: str, layer: int, rest: str) -> str:
    """Place 0 is a residual block or a downsampler, 1 an attention or an upsampler, 2 an upsampler."""
    if rest.startswith("op."):
        return "downsamplers.0.conv." + rest.removeprefix("op.")
    if place != "0" and rest.startswith("conv."):
        return "upsamplers.0." + rest
    if place == "0":
        return f"resnets.{layer}." + _replace_module(rest, RESIDUAL)
    return f"attentions.{layer}." + rest


def _replace_module(name: str, table: Mapping[str, str]) -> str:
    """The name with its module replaced; `weight` or `bias` stays."""
    module, _, last = name.rpartition(".")
    return f"{table[module]}.{last}" if module in table else name
