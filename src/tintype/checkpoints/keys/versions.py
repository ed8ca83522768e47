"""Names of tensors that other releases of the libraries wrote, as the present classes know them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tintype.checkpoints.files import Tensors

#: An autoencoder's attention before diffusers 0.17, and since.
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern(class_name: str, tensors: Tensors) -> Tensors:
    """The tensors by the names of the class's `state_dict`; numbers that the class works out itself are left out."""
    match class_name:
        case "CLIPTextModel" | "CLIPTextModelWithProjection":
            return clip(tensors, class_name)
        case "T5EncoderModel":
            return t5(tensors)
        case "AutoencoderKL":
            return {_attention(name): tensor for name, tensor in tensors.items()}
        case _:
            return tensors


def _attention(name: str) -> str:
    if ".attentions." not in name:
        return name
    owner, _, kind = name.rpartition(".")
    parent, _, own = owner.rpartition(".")
    return f"{parent}.{ATTENTION.get(own, own)}.{kind}"


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
