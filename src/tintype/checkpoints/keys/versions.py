"""Names that other versions of diffusers and transformers wrote → names of the installed classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tintype.checkpoints.files import Tensors

#: An autoencoder's attention before diffusers 0.17, and since.
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
#: Tensors of CLIP files that the classes don't take: a table of 0, 1, 2… and CLIP's temperature.
UNUSED = ("position_ids", "logit_scale")
#: The same table of tokens under two names; in the class, the second is tied to the first.
T5_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")


def current_names(class_name: str, tensors: Tensors) -> Tensors:
    """The tensors by the names of the class's `state_dict`; without numbers that the class computes itself."""
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


def clip(tensors: Mapping[str, torch.Tensor], class_name: str) -> Tensors:
    """CLIP of any version under the names of a class: transformers 5.6 took `text_model.` from CLIPTextModel's only."""
    plain = class_name == "CLIPTextModel"
    named = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("text_model.")
        projects = bare.startswith("text_projection")
        if not bare.endswith(UNUSED) and not (projects and plain):
            named[bare if projects or plain else f"text_model.{bare}"] = tensor
    return named


def with_identity_projection(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """SD 3's first text encoder from a file in the original layout: its pooled text isn't projected.

    (Stability-AI/sd3.5, other_impls.py: `return_projected_pooled=False`.) diffusers' folder has the identity as its
    `text_projection`; so do these tensors, whatever the file has.
    """
    width = tensors["text_model.final_layer_norm.weight"]
    return {**tensors, "text_projection.weight": torch.eye(len(width), dtype=width.dtype, device=width.device)}


def t5(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """T5's encoder with its table of tokens under one name; without the decoder of a whole T5."""
    dropped = ("decoder.", "lm_head.", *T5_EMBEDDINGS)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(dropped)}
    embeddings = [tensors[name] for name in T5_EMBEDDINGS if name in tensors]
    return own | ({T5_EMBEDDINGS[0]: embeddings[0]} if embeddings else {})
