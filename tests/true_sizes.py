"""Folders of every family at the published sizes whose files have no numbers: headers, and holes for the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from benchmarks.networks import AUTOENCODER, CLIP_L, SD3_MEDIUM, SD15_UNET, SD35_LARGE
from transformers.models.t5.tokenization_t5 import T5Tokenizer

from tests.toy_weights import SD3_SCHEDULER, SD15_SCHEDULER, SDXL_SCHEDULER, Components, build_once, write_random
from tintype.diffusion.libraries import CLASSES, find_class

CLIP = {"vocab_size": 49408, "hidden_act": "quick_gelu", **CLIP_L}
CLIP_G = {
    "vocab_size": 49408,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
T5 = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_ff": 10240,
    "d_kv": 64,
    "num_heads": 64,
    "num_layers": 24,
    "feed_forward_proj": "gated-gelu",
}
#: As wide as what it is for, and small enough to run on the CPU.
NARROW_T5 = T5 | {"vocab_size": 64, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 1}
KL = {**AUTOENCODER, "latent_channels": 4, "sample_size": 512}
#: As the published repositories' config.json have them.
SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
REFINER_UNET = SDXL_UNET | {
    "block_out_channels": (384, 768, 1536, 1536),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": 4,
    "attention_head_dim": (6, 12, 24, 24),
    "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560,
}
TRANSFORMER = {"sample_size": 128, "joint_attention_dim": 4096, "pooled_projection_dim": 2048}


def _sd3(transformer: Mapping[str, Any], t5: Mapping[str, Any] = T5) -> Components:
    return {
        "tokenizer": ("CLIPTokenizer", {}),
        "tokenizer_2": ("CLIPTokenizer", {}),
        "tokenizer_3": ("T5Tokenizer", {}),
        "text_encoder": ("CLIPTextModelWithProjection", CLIP | {"projection_dim": 768}),
        "text_encoder_2": ("CLIPTextModelWithProjection", CLIP_G),
        "text_encoder_3": ("T5EncoderModel", t5),
        "vae": ("AutoencoderKL", {**AUTOENCODER, "sample_size": 1024}),
        "transformer": ("SD3Transformer2DModel", TRANSFORMER | dict(transformer)),
    }


#: By name: the family, its components and its scheduler.
MODELS: Mapping[str, tuple[str, Components, Mapping[str, Any]]] = {
    "sd15": (
        "sd15",
        {
            "tokenizer": ("CLIPTokenizer", {}),
            "text_encoder": ("CLIPTextModel", CLIP),
            "vae": ("AutoencoderKL", KL),
            "unet": ("UNet2DConditionModel", SD15_UNET),
        },
        SD15_SCHEDULER,
    ),
    "sd15-inpainting": (
        "sd15",
        {
            "tokenizer": ("CLIPTokenizer", {}),
            "text_encoder": ("CLIPTextModel", CLIP),
            "vae": ("AutoencoderKL", KL),
            "unet": ("UNet2DConditionModel", {**SD15_UNET, "in_channels": 9}),
        },
        SD15_SCHEDULER,
    ),
    "sdxl": (
        "sdxl",
        {
            "tokenizer": ("CLIPTokenizer", {}),
            "tokenizer_2": ("CLIPTokenizer", {}),
            "text_encoder": ("CLIPTextModel", CLIP),
            "text_encoder_2": ("CLIPTextModelWithProjection", CLIP_G),
            "vae": ("AutoencoderKL", KL),
            "unet": ("UNet2DConditionModel", SDXL_UNET),
        },
        SDXL_SCHEDULER,
    ),
    "sdxl-refiner": (
        "sdxl-refiner",
        {
            "tokenizer_2": ("CLIPTokenizer", {}),
            "text_encoder_2": ("CLIPTextModelWithProjection", CLIP_G),
            "vae": ("AutoencoderKL", KL),
            "unet": ("UNet2DConditionModel", REFINER_UNET),
        },
        SDXL_SCHEDULER,
    ),
    "sd3-medium": ("sd3", _sd3(SD3_MEDIUM), SD3_SCHEDULER),
    "sd3-medium-narrow-t5": ("sd3", _sd3(SD3_MEDIUM, NARROW_T5), SD3_SCHEDULER),
    "sd35-large": ("sd3", _sd3(SD35_LARGE), SD3_SCHEDULER),
}


def true_size(name: str, cache: Path) -> Path:
    """The folder of a model at its true size; it takes no room on the disk."""
    _, components, scheduler = MODELS[name]
    return build_once(cache / "true" / name, lambda folder: _write(folder, components, scheduler))


def _write(folder: Path, components: Components, scheduler: Mapping[str, Any]) -> None:
    tokenizers = {name: one for name, one in components.items() if one[0] == "CLIPTokenizer"}
    write_random(folder, tokenizers, scheduler)
    for name, (class_name, config) in components.items():
        if class_name == "T5Tokenizer":
            letters = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
            T5Tokenizer(vocab=[(letter, -2.0) for letter in letters], extra_ids=0).save_pretrained(folder / name)
        elif class_name != "CLIPTokenizer":
            write_outline(folder / name, class_name, config)
    index = {name: ["any", class_name] for name, (class_name, _) in components.items()}
    pipeline = "3" if "transformer" in components else "XL" if "text_encoder_2" in components else ""
    pipeline = f"{pipeline}Img2Img" if pipeline == "XL" and "text_encoder" not in components else pipeline
    content = {"_class_name": f"StableDiffusion{pipeline}Pipeline", "scheduler": ["any", "any"], **index}
    (folder / "model_index.json").write_text(json.dumps(content))


def write_outline(folder: Path, class_name: str, config: Mapping[str, Any]) -> None:
    """A component's folder: its configuration, and a file of bfloat16 that is a hole but for its header."""
    kind = find_class(class_name)
    with torch.device("meta"):
        if CLASSES[class_name].startswith("transformers."):
            network = kind(kind.config_class(**config))
        else:
            network = kind.from_config(dict(config))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": class_name}))
    tied = getattr(network, "_tied_weights_keys", None) or ()
    shapes = {name: one.shape for name, one in network.state_dict().items() if name not in tied}
    write_hole(folder / "model.safetensors", shapes)


def write_hole(file: Path, shapes: Mapping[str, torch.Size]) -> None:
    """Tensors of bfloat16 that are all zeros, and take no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape.numel()
        header[name] = {"dtype": "BF16", "shape": [*shape], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + end)
