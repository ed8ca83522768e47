"""The original layouts, written out of diffusers' models: what a converter must undo.

Written from the original modules' structure (openaimodel.py, model.py, mmdit.py), block by block, not from our tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

Tensors = Mapping[str, torch.Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def original_unet(tensors: Tensors, levels: int, layers: int) -> dict[str, torch.Tensor]:
    """`model.diffusion_model.*` of a UNet with this number of levels, and of residual blocks per level."""
    places = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    inputs, outputs = 1, 0
    for level in range(levels):
        for layer in range(layers):
            places[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{inputs}.0"
            places[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{inputs}.1"
            inputs += 1
        if level < levels - 1:
            places[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{inputs}.0.op"
            inputs += 1
    for level in range(levels):
        for layer in range(layers + 1):
            places[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{outputs}.0"
            places[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{outputs}.1"
            outputs += 1
        attends = any(name.startswith(f"up_blocks.{level}.attentions") for name in tensors)
        places[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{outputs - 1}.{1 + attends}.conv"
    return {"model.diffusion_model." + _moved(name, places): tensor for name, tensor in tensors.items()}


def original_vae(tensors: Tensors, levels: int) -> dict[str, torch.Tensor]:
    """`first_stage_model.*` of an autoencoder with this number of levels."""
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    originals = {}
    for name, tensor in tensors.items():
        new = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        for level in range(levels):
            new = new.replace(f"encoder.down_blocks.{level}.resnets", f"encoder.down.{level}.block")
            new = new.replace(f"encoder.down_blocks.{level}.downsamplers.0", f"encoder.down.{level}.downsample")
            new = new.replace(f"decoder.up_blocks.{level}.resnets", f"decoder.up.{levels - 1 - level}.block")
            new = new.replace(f"decoder.up_blocks.{level}.upsamplers.0", f"decoder.up.{levels - 1 - level}.upsample")
        new = new.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        for diffusers, original in attention.items():
            new = new.replace(f"mid_block.attentions.0.{diffusers}.", f"mid.attn_1.{original}.")
        if ".attn_1." in new and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]  # noqa: PLW2901
        originals["first_stage_model." + new] = tensor
    return originals


def original_open_clip(tensors: Tensors) -> dict[str, torch.Tensor]:
    """OpenCLIP's text tower of a CLIPTextModelWithProjection, with the temperature that lies next to it."""
    names = {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    originals = {"logit_scale": torch.tensor(4.6), "text_projection": tensors["text_projection.weight"].T.contiguous()}
    originals |= {new: tensors[old] for old, new in names.items()}
    layers = {int(name.split(".")[3]) for name in tensors if ".layers." in name}
    modules = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for layer in layers:
        old, new = f"text_model.encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for last in ("weight", "bias"):
            fused = torch.cat([tensors[f"{old}self_attn.{part}_proj.{last}"] for part in "qkv"])
            originals[f"{new}attn.in_proj_{last}"] = fused
            originals[f"{new}attn.out_proj.{last}"] = tensors[f"{old}self_attn.out_proj.{last}"]
            originals |= {f"{new}{theirs}.{last}": tensors[f"{old}{ours}.{last}"] for ours, theirs in modules.items()}
    return originals


def original_mmdit(tensors: Tensors) -> dict[str, torch.Tensor]:
    """`model.diffusion_model.*` of SD 3's transformer."""
    return {"model.diffusion_model." + name: tensor for name, tensor in _mmdit(tensors)}


def _mmdit(tensors: Tensors) -> Iterator[tuple[str, torch.Tensor]]:
    yield "pos_embed", tensors["pos_embed.pos_embed"]
    depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("transformer_blocks."))
    for last in ("weight", "bias"):
        yield f"x_embedder.proj.{last}", tensors[f"pos_embed.proj.{last}"]
        yield f"context_embedder.{last}", tensors[f"context_embedder.{last}"]
        for number, layer in ((0, 1), (2, 2)):
            yield f"t_embedder.mlp.{number}.{last}", tensors[f"time_text_embed.timestep_embedder.linear_{layer}.{last}"]
            yield f"y_embedder.mlp.{number}.{last}", tensors[f"time_text_embed.text_embedder.linear_{layer}.{last}"]
        yield f"final_layer.linear.{last}", tensors[f"proj_out.{last}"]
        yield f"final_layer.adaLN_modulation.1.{last}", _turned(tensors[f"norm_out.linear.{last}"])
        for block in range(depth):
            yield from _joint_block(
                tensors, f"transformer_blocks.{block}.", f"joint_blocks.{block}.", last, block == depth - 1
            )


def _joint_block(tensors: Tensors, old: str, new: str, last: str, final: bool) -> Iterator[tuple[str, torch.Tensor]]:
    def one(name: str) -> torch.Tensor:
        return tensors[f"{old}{name}.{last}"]

    yield f"{new}x_block.adaLN_modulation.1.{last}", one("norm1.linear")
    text = one("norm1_context.linear")
    yield f"{new}context_block.adaLN_modulation.1.{last}", _turned(text) if final else text
    yield f"{new}x_block.attn.qkv.{last}", torch.cat([one(f"attn.to_{part}") for part in "qkv"])
    yield f"{new}context_block.attn.qkv.{last}", torch.cat([one(f"attn.add_{part}_proj") for part in "qkv"])
    yield f"{new}x_block.attn.proj.{last}", one("attn.to_out.0")
    for number, layer in ((1, "net.0.proj"), (2, "net.2")):
        yield f"{new}x_block.mlp.fc{number}.{last}", one(f"ff.{layer}")
        if not final:
            yield f"{new}context_block.mlp.fc{number}.{last}", one(f"ff_context.{layer}")
    if not final:
        yield f"{new}context_block.attn.proj.{last}", one("attn.to_add_out")
    if f"{old}attn2.to_q.{last}" in tensors:
        yield f"{new}x_block.attn2.qkv.{last}", torch.cat([one(f"attn2.to_{part}") for part in "qkv"])
        yield f"{new}x_block.attn2.proj.{last}", one("attn2.to_out.0")
    if last == "weight":
        for part in "qk":
            for ours, theirs in (
                (f"attn.norm_{part}", "x_block.attn"),
                (f"attn.norm_added_{part}", "context_block.attn"),
                (f"attn2.norm_{part}", "x_block.attn2"),
            ):
                if f"{old}{ours}.weight" in tensors:
                    yield f"{new}{theirs}.ln_{part}.weight", one(ours)


def _turned(tensor: torch.Tensor) -> torch.Tensor:
    scale, shift = tensor.chunk(2)
    return torch.cat([shift, scale])


def _moved(name: str, places: Mapping[str, str]) -> str:
    place = next(place for place in places if name.startswith(place + "."))
    rest = name.removeprefix(place)
    if "resnets" in place:
        layer, _, last = rest[1:].rpartition(".")
        rest = f".{RESNET[layer]}.{last}"
    return places[place] + rest
