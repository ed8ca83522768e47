"""UNets: `model.diffusion_model.*` (openaimodel.py of CompVis/stable-diffusion) to diffusers, and their sizes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tintype.families.networks.names import count, numbers_after, size
from tintype.families.networks.text import HEAD
from tintype.families.spec import Config, Network, Tensors

PREFIX = "model.diffusion_model."
#: Heads of SD 1.5: what its configuration calls `attention_head_dim`.
SD15_HEADS = 8
#: Sines and cosines of each number that SDXL's UNet takes next to the pooled text.
SDXL_TIME_WIDTH = 256

#: Outside the numbered blocks.
OUTER = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
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
#: The layers of an attention over pixels and text, and of each of its blocks, which have the same names in both.
ATTENTION = ["proj_in", "proj_out"]
BLOCK = [
    *(f"attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")),
    "ff.net.0.proj",
    "ff.net.2",
]
MIDDLE = {"0": "mid_block.resnets.0", "1": "mid_block.attentions.0", "2": "mid_block.resnets.1"}


def convert(originals: Tensors, layers: int | None = None) -> Tensors:
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


def module_names(levels: int, layers: int, depth: int = 1) -> list[str]:
    """All possible original names of modules: for a number of levels, residual blocks per level, blocks per attention.

    depth: of the attention with the most blocks.
    """
    attention = [*ATTENTION, *(f"transformer_blocks.{n}.{layer}" for n in range(depth) for layer in BLOCK)]
    inner = [*RESIDUAL, *attention, "op", "conv"]
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


def config(tensors: Tensors) -> Config:
    """UNet2DConditionModel of SD 1.5."""
    return {**_sizes(tensors), "attention_head_dim": SD15_HEADS, "sample_size": 64}


def sdxl_config(tensors: Tensors) -> Config:
    """UNet2DConditionModel of SDXL and its refiner: heads of 64, several blocks per attention, sizes as numbers."""
    sizes = _sizes(tensors)
    widths = sizes["block_out_channels"]
    blocks = [count(f"down_blocks.{level}.attentions.0.transformer_blocks", tensors) for level in range(len(widths))]
    # The last level's number is also that of the middle, which attends in any case.
    blocks[-1] = blocks[-1] or count("mid_block.attentions.0.transformer_blocks", tensors)
    return {
        **sizes,
        "attention_head_dim": [max(1, width // HEAD) for width in widths],
        "transformer_layers_per_block": [number or 1 for number in blocks],
        "use_linear_projection": tensors["mid_block.attentions.0.proj_in.weight"].ndim == 2,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SDXL_TIME_WIDTH,
        "projection_class_embeddings_input_dim": size(tensors, "add_embedding.linear_1.weight", 1),
        "sample_size": 128,
    }


def _sizes(tensors: Tensors) -> dict[str, Any]:
    levels = range(count("down_blocks", tensors))
    attending = [f"down_blocks.{level}.attentions.0.norm.weight" in tensors for level in levels]
    widths = [size(tensors, name, 1) for name in tensors if name.endswith("attn2.to_k.weight")]
    return {
        "in_channels": size(tensors, "conv_in.weight", 1),
        "out_channels": size(tensors, "conv_out.weight"),
        "block_out_channels": [size(tensors, f"down_blocks.{level}.resnets.0.conv1.weight") for level in levels],
        "layers_per_block": count("down_blocks.0.resnets", tensors),
        "down_block_types": ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attending],
        "up_block_types": ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attending)],
        "cross_attention_dim": widths[0],
    }


def _depth(names: Collection[str]) -> tuple[int, int]:
    """Levels, and residual blocks in each on the way down, of diffusers' names."""
    return count("down_blocks", names), count("down_blocks.0.resnets", names)


def _original_modules(names: Collection[str]) -> list[str]:
    """Of diffusers' names. The middle has as many blocks per attention as any level."""
    return module_names(*_depth(names), count("mid_block.attentions.0.transformer_blocks", names) or 1)


def _network(configuration: Callable[[Tensors], Config]) -> Network:
    return Network(
        path="diffusers.models.unets.unet_2d_condition.UNet2DConditionModel",
        convert=lambda tensors: tensors if "conv_in.weight" in tensors else convert(tensors),
        config=configuration,
        original_modules=_original_modules,
        convert_some=lambda originals, names: convert(originals, _depth(names)[1]),
    )


UNET, SDXL_UNET = _network(config), _network(sdxl_config)
