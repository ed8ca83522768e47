"""Names of tensors that other releases of the libraries wrote, as the present classes know them."""

from __future__ import annotations

from tintype.checkpoints.files import Tensors
from tintype.checkpoints.keys import text

#: An autoencoder's attention before diffusers 0.17, and since.
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern(class_name: str, tensors: Tensors) -> Tensors:
    """The tensors by the names of the class's `state_dict`; numbers that the class works out itself are left out."""
    match class_name:
        case "CLIPTextModel" | "CLIPTextModelWithProjection":
            return text.clip(tensors, class_name)
        case "T5EncoderModel":
            return text.t5(tensors)
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
