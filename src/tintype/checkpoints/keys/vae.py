"""The autoencoder: `first_stage_model.*` (CompVis/latent-diffusion; the same names in SD 3) to diffusers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from tintype.checkpoints.keys.unet import numbers_after

PREFIX = "first_stage_model."
#: Leftovers of training: the discriminator and the perceptual loss, averages, the step.
LEFTOVERS = ("loss.", "model_ema.", "global_step")

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


def convert(originals: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
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
