"""Text encoders: `cond_stage_model.transformer.*`, `text_encoders.*` and ComfyUI's separate files to transformers."""

from __future__ import annotations

from collections.abc import Mapping

import torch

#: What CLIP files carry and nothing here needs: a table of 0, 1, 2… and CLIP's temperature.
SPARE = ("position_ids", "logit_scale")
#: The same table of words under two names, of which the second follows the first in the class.
T5_WORDS = ("shared.weight", "encoder.embed_tokens.weight")


def clip(tensors: Mapping[str, torch.Tensor], class_name: str) -> dict[str, torch.Tensor]:
    """CLIP of any version under the names of a class: transformers 5.6 took `text_model.` from CLIPTextModel's only."""
    plain = class_name == "CLIPTextModel"
    named = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("text_model.")
        projects = bare.startswith("text_projection")
        if not bare.endswith(SPARE) and not (projects and plain):
            named[bare if projects or plain else f"text_model.{bare}"] = tensor
    return named


def unprojected(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """SD 3's first encoder out of a file in the original layout: its pooled text isn't projected.

    (Stability-AI/sd3.5, other_impls.py: `return_projected_pooled=False`.) diffusers' folder has the identity as its
    `text_projection`, and so has this, whatever lies in the file.
    """
    width = tensors["text_model.final_layer_norm.weight"]
    return {**tensors, "text_projection.weight": torch.eye(len(width), dtype=width.dtype, device=width.device)}


def t5(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """T5's encoder with its table of words under one name; without the decoder of a whole T5."""
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(("decoder.", "lm_head.", *T5_WORDS))}
    words = [tensors[name] for name in T5_WORDS if name in tensors]
    return own | ({T5_WORDS[0]: words[0]} if words else {})
