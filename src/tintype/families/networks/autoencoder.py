"""Autoencoders: `first_stage_model.*` (CompVis/latent-diffusion; the same names in SD 3) to diffusers, their sizes."""

from __future__ import annotations

import re

from tintype.families.networks.names import count, numbers_after, size
from tintype.families.spec import Config, Network, Tensors

#: Leftovers of training: the discriminator and the perceptual loss, averages, the step.
LEFTOVERS = ("loss.", "model_ema.", "global_step")
#: The attention before diffusers 0.17, and since.
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

#: Applied in this order, after `convert` has reversed the decoder's levels, which count from the other end.
TABLE = [
    (re.compile(pattern), target)
    for pattern, target in (
        (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
        (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
        (r"\.up\.(\d+)\.block\.", r".up_blocks.\1.resnets."),
        (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
        (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
        (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
        (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
        (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
        (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
        (r"\.nin_shortcut\.", ".conv_shortcut."),
        (r"\.norm_out\.", ".conv_norm_out."),
    )
]


def convert(originals: Tensors) -> Tensors:
    """The tensors under diffusers' names; one that has no such name keeps its own."""
    top = max(numbers_after("decoder.up", originals), default=0)
    converted = {}
    for name, tensor in originals.items():
        reversed_ = re.sub(r"(?<=^decoder\.up\.)\d+", lambda found: str(top - int(found[0])), name)
        new = rename(reversed_)
        # Attention is a convolution with a kernel of 1 in the original, and a matrix product in diffusers.
        converted[new] = tensor.flatten(1) if ".attentions." in new and tensor.ndim == 4 else tensor
    return converted


def rename(name: str) -> str:
    for pattern, target in TABLE:
        name = pattern.sub(target, name)
    return name


def update(tensors: Tensors) -> Tensors:
    """Former names of diffusers → today's."""
    return {_attention(name): tensor for name, tensor in tensors.items()}


def _attention(name: str) -> str:
    if ".attentions." not in name:
        return name
    owner, _, kind = name.rpartition(".")
    parent, _, own = owner.rpartition(".")
    return f"{parent}.{ATTENTION.get(own, own)}.{kind}"


def _trained(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(LEFTOVERS)}


def kl(**latents: float) -> Network:
    """AutoencoderKL, with the family's `scaling_factor` and `shift_factor` of latents."""

    def convert_any(tensors: Tensors) -> Tensors:
        own = _trained(tensors)
        return convert(own) if "decoder.mid.block_1.norm1.weight" in own else update(own)

    def config(tensors: Tensors) -> Config:
        levels = range(count("encoder.down_blocks", tensors))
        return {
            "block_out_channels": [
                size(tensors, f"encoder.down_blocks.{level}.resnets.0.conv1.weight") for level in levels
            ],
            "layers_per_block": count("encoder.down_blocks.0.resnets", tensors),
            "down_block_types": ["DownEncoderBlock2D" for _ in levels],
            "up_block_types": ["UpDecoderBlock2D" for _ in levels],
            "latent_channels": size(tensors, "decoder.conv_in.weight", 1),
            "use_quant_conv": "quant_conv.weight" in tensors,
            "use_post_quant_conv": "post_quant_conv.weight" in tensors,
            **latents,
        }

    path = "diffusers.models.autoencoders.autoencoder_kl.AutoencoderKL"
    return Network(path=path, convert=convert_any, update=update, config=config)


def tiny_config(tensors: Tensors) -> Config:
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


def _tiny_blocks(side: str, tensors: Tensors) -> list[int]:
    """Residual blocks per level; a plain convolution separates levels."""
    blocks: list[int] = []
    for layer in sorted(numbers_after(f"{side}.layers", tensors)):
        if f"{side}.layers.{layer}.weight" in tensors:
            blocks.append(0)
        else:
            blocks[-1] += 1
    return blocks[:-1]


TINY = Network(
    path="diffusers.models.autoencoders.autoencoder_tiny.AutoencoderTiny",
    convert=_trained,
    config=tiny_config,
    mark="decoder.layers.0.weight",
)
