"""Names of tensors that older releases of the libraries wrote, as the present classes know them."""

from __future__ import annotations

from tintype.checkpoints.component import Tensors

#: An autoencoder's attention before diffusers 0.17, and since.
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern(class_name: str, tensors: Tensors) -> Tensors:
    """The tensors by the names of the class's `state_dict`; numbers that the class works out itself are left out."""
    return {_name(class_name, name): tensor for name, tensor in tensors.items() if not name.endswith("position_ids")}


def _name(class_name: str, name: str) -> str:
    if class_name == "CLIPTextModel":
        return name.removeprefix("text_model.")  # transformers 5 has flattened it
    if class_name == "AutoencoderKL" and ".attentions." in name:
        owner, _, kind = name.rpartition(".")
        parent, _, own = owner.rpartition(".")
        return f"{parent}.{ATTENTION.get(own, own)}.{kind}"
    return name
