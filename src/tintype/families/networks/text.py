"""CLIP and T5: the names of OpenCLIP and of versions of transformers to those of the installed classes, and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from tintype.families.networks.names import count, size
from tintype.families.spec import Config, Network, Tensors

CLIP_TOKENIZER = "transformers.models.clip.tokenization_clip.CLIPTokenizer"
T5_TOKENIZER = "transformers.models.t5.tokenization_t5.T5Tokenizer"

#: Tensors of CLIP files that the classes don't take: a table of 0, 1, 2… and CLIP's temperature.
UNUSED = ("position_ids", "logit_scale")
#: The same table of tokens under two names; in the class, the second is tied to the first.
T5_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")
#: Width of an attention head, in CLIP of every size, in SDXL's UNets, and in SD 3's transformer without norms of
#: queries and keys.
HEAD = 64
#: OpenCLIP's names outside the layers, and within one, where `attn.in_proj_` is of three matrices one below the other.
OPEN_CLIP = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
OPEN_CLIP_MODULES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
FUSED = "in_proj_"
OPEN_CLIP_LAYER = re.compile(r"transformer\.resblocks\.(?P<number>\d+)\.(?P<module>.+)\.(?P<last>\w+)")


def clip(class_name: str, activation: str) -> Network:
    """CLIPTextModel or CLIPTextModelWithProjection: `quick_gelu` in OpenAI's, `gelu` in OpenCLIP's."""
    update = partial(clip_names, plain=class_name == "CLIPTextModel")
    path = f"transformers.models.clip.modeling_clip.{class_name}"
    return Network(path=path, convert=update, update=update, config=partial(clip_config, activation=activation))


def clip_names(tensors: Tensors, *, plain: bool) -> Tensors:
    """CLIP of any version under the names of a class: transformers 5.6 took `text_model.` from CLIPTextModel's only.

    plain: that class, which has no projection.
    """
    named = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("text_model.")
        projects = bare.startswith("text_projection")
        if not bare.endswith(UNUSED) and not (projects and plain):
            named[bare if projects or plain else f"text_model.{bare}"] = tensor
    return named


def open_clip(tensors: Tensors) -> Tensors:
    """OpenCLIP's text tower (open_clip/transformer.py) under the names of CLIPTextModelWithProjection; others as clip.

    A tensor that has no such name keeps its own.
    """
    if "ln_final.weight" not in tensors:
        return clip_names(tensors, plain=False)
    return dict(pair for name, tensor in tensors.items() for pair in _from_open_clip(name, tensor))


def _from_open_clip(name: str, tensor: Any) -> Iterator[tuple[str, Any]]:
    if name == "text_projection":  # multiplied from the right there; a linear layer here
        yield "text_projection.weight", tensor.T.contiguous()
    elif layer := OPEN_CLIP_LAYER.fullmatch(name):
        owner = f"text_model.encoder.layers.{layer['number']}"
        if layer["module"] == "attn" and layer["last"].startswith(FUSED):
            last = layer["last"].removeprefix(FUSED)
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                yield f"{owner}.self_attn.{part}_proj.{last}", rows
        else:
            yield f"{owner}.{OPEN_CLIP_MODULES.get(layer['module'], layer['module'])}.{layer['last']}", tensor
    elif not name.endswith((*UNUSED, "attn_mask")):
        yield f"text_model.{OPEN_CLIP[name]}" if name in OPEN_CLIP else name, tensor


def with_identity_projection(tensors: Tensors) -> Tensors:
    """SD 3's first text encoder from a file in the original layout: its pooled text isn't projected.

    (Stability-AI/sd3.5, other_impls.py: `return_projected_pooled=False`.) diffusers' folder has the identity as its
    `text_projection`; so do these tensors, whatever the file has.
    """
    width = tensors["text_model.final_layer_norm.weight"]
    return {**tensors, "text_projection.weight": width.new_ones(len(width)).diag()}


def clip_config(tensors: Tensors, activation: str) -> Config:
    prefix = "text_model." if "text_model.final_layer_norm.weight" in tensors else ""
    words, width = tensors[f"{prefix}embeddings.token_embedding.weight"].shape
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": size(tensors, f"{prefix}encoder.layers.0.mlp.fc1.weight"),
        "num_hidden_layers": count(f"{prefix}encoder.layers", tensors),
        "num_attention_heads": max(1, width // HEAD),
        "max_position_embeddings": size(tensors, f"{prefix}embeddings.position_embedding.weight"),
        "projection_dim": size(tensors, "text_projection.weight") if "text_projection.weight" in tensors else width,
        "hidden_act": activation,
        "bos_token_id": words - 2,
        # To transformers, 2 means: the end of a text is its highest id.
        "eos_token_id": 2,
    }


def t5_names(tensors: Tensors) -> Tensors:
    """T5's encoder with its table of tokens under one name; without the decoder of a whole T5."""
    dropped = ("decoder.", "lm_head.", *T5_EMBEDDINGS)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(dropped)}
    embeddings = [tensors[name] for name in T5_EMBEDDINGS if name in tensors]
    return own | ({T5_EMBEDDINGS[0]: embeddings[0]} if embeddings else {})


def t5_config(tensors: Tensors) -> Config:
    """Of version 1.1."""
    words, width = tensors["shared.weight"].shape
    heads = size(tensors, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 1)
    return {
        "vocab_size": words,
        "d_model": width,
        "d_ff": size(tensors, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"),
        "d_kv": size(tensors, "encoder.block.0.layer.0.SelfAttention.q.weight") // heads,
        "num_heads": heads,
        "num_layers": count("encoder.block", tensors),
        "feed_forward_proj": "gated-gelu",
    }


T5_ENCODER = Network(
    path="transformers.models.t5.modeling_t5.T5EncoderModel", convert=t5_names, update=t5_names, config=t5_config
)
#: OpenCLIP's, of transformers' class.
OPEN_CLIP_TEXT = replace(clip("CLIPTextModelWithProjection", "gelu"), convert=open_clip)
