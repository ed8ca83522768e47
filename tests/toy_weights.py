"""Toy weights: tiny, seeded, random weights of all families in the ordinary layout, for tests whose numbers matter.

They are the true architectures at toy width; they draw textures, not things.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from tintype.catalog.models import MODELS
from tintype.catalog.spec import Catalogue
from tintype.checkpoints.weights import has_builtin
from tintype.core import GenerationParams, ImageSpec, InputImage
from tintype.diffusion.libraries import CLASSES

SEED = 1856  # the year of the tintype's patent

CLIP_WIDTH = 32
#: 256 bytes, 256 bytes that end a word, and the two marks of start and end.
VOCABULARY = 514
CLIP = {
    "vocab_size": VOCABULARY,
    "hidden_size": CLIP_WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": CLIP_WIDTH,
    "bos_token_id": VOCABULARY - 2,
    "eos_token_id": VOCABULARY - 1,
}
AUTOENCODER = {
    "encoder_block_out_channels": (16,) * 4,
    "decoder_block_out_channels": (16,) * 4,
    "num_encoder_blocks": (1, 1, 1, 1),
    "num_decoder_blocks": (1, 1, 1, 1),
}
TRANSFORMER = {
    "sample_size": 128,
    "num_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 1,
    "joint_attention_dim": 2 * CLIP_WIDTH,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 2 * CLIP_WIDTH,
    "pos_embed_max_size": 128,
    "qk_norm": "rms_norm",
}
UNET = {
    "sample_size": 64,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": CLIP_WIDTH,
    "attention_head_dim": 2,
    "norm_num_groups": 16,
}
SD15_SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}
#: Of CLIP's two widths, the second is the wider one, and projects to a third.
CLIP_G = CLIP | {"hidden_size": 48, "num_attention_heads": 3, "projection_dim": 40, "hidden_act": "gelu"}
SDXL_UNET = UNET | {
    "transformer_layers_per_block": (1, 2),
    "cross_attention_dim": CLIP_WIDTH + 48,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 40 + 6 * 8,
    "sample_size": 128,
}
REFINER_UNET = SDXL_UNET | {"cross_attention_dim": 48, "projection_class_embeddings_input_dim": 40 + 5 * 8}
SDXL_SCHEDULER = SD15_SCHEDULER | {
    "_class_name": "EulerDiscreteScheduler",
    "timestep_spacing": "leading",
    "interpolation_type": "linear",
}
SD3_SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}

#: Pixels of a side.
SMALL = 192
#: The models that a server draws with nothing configured.
BUILTIN = Catalogue(spec for spec in MODELS.values() if has_builtin(spec.family, few_steps=spec.few_steps))

Components = Mapping[str, tuple[str, Mapping[str, Any]]]
FAMILIES: Mapping[str, tuple[Components, Mapping[str, Any]]] = {
    "sd15": (
        {
            "tokenizer": ("CLIPTokenizer", {}),
            "text_encoder": ("CLIPTextModel", CLIP),
            "vae": ("AutoencoderTiny", AUTOENCODER | {"latent_channels": 4}),
            "unet": ("UNet2DConditionModel", UNET),
        },
        SD15_SCHEDULER,
    ),
    "sdxl": (
        {
            "tokenizer": ("CLIPTokenizer", {}),
            "tokenizer_2": ("CLIPTokenizer", {}),
            "text_encoder": ("CLIPTextModel", CLIP),
            "text_encoder_2": ("CLIPTextModelWithProjection", CLIP_G),
            "vae": ("AutoencoderTiny", AUTOENCODER | {"latent_channels": 4}),
            "unet": ("UNet2DConditionModel", SDXL_UNET),
        },
        SDXL_SCHEDULER,
    ),
    "sdxl-refiner": (
        {
            "tokenizer_2": ("CLIPTokenizer", {}),
            "text_encoder_2": ("CLIPTextModelWithProjection", CLIP_G),
            "vae": ("AutoencoderTiny", AUTOENCODER | {"latent_channels": 4}),
            "unet": ("UNet2DConditionModel", REFINER_UNET),
        },
        SDXL_SCHEDULER,
    ),
    "sd3": (
        {
            "tokenizer": ("CLIPTokenizer", {}),
            "tokenizer_2": ("CLIPTokenizer", {}),
            "text_encoder": ("CLIPTextModelWithProjection", CLIP),
            "text_encoder_2": ("CLIPTextModelWithProjection", CLIP),
            "vae": ("AutoencoderTiny", AUTOENCODER | {"latent_channels": 16}),
            "transformer": ("SD3Transformer2DModel", TRANSFORMER),
        },
        SD3_SCHEDULER,
    ),
}


def image_spec(*, seed: int, width: int, height: int, init: bool = False, **params: Any) -> ImageSpec:
    """One image; init: whether it starts from another one. `params` are fields of GenerationParams."""
    inputs = (InputImage("a test's own"),) if init else ()
    said = GenerationParams(**{"guidance": 1.0, "seed": seed, "inputs": inputs, **params})
    return ImageSpec(said, seed, width, height)


def toy_weights(family: str, cache: Path) -> Path:
    """The folder of a family's toy weights under `cache`, built now if it isn't there (a few seconds)."""
    components, scheduler = FAMILIES[family]
    return build_once(cache / family, lambda folder: write_random(folder, components, scheduler))


def toy_setting(cache: Path) -> str:
    """TINTYPE_WEIGHTS with the toy weights for every model."""
    return json.dumps({spec.slug: str(toy_weights(spec.family, cache)) for spec in MODELS.values()})


def small_setting(cache: Path) -> str:
    """TINTYPE_WEIGHTS with toy weights that draw at `SMALL` and enlarge: for tests that draw much, whatever it is."""
    small = cache / "small"
    for family in FAMILIES:
        build_once(small / family, lambda folder, family=family: _write_small(folder, toy_weights(family, cache)))
    return json.dumps({spec.slug: str(small / spec.family) for spec in MODELS.values()})


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Let `build` fill a folder that gets its name only when it is complete; several processes may build it."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        build(half)
        half.rename(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return target


def write_random(folder: Path, components: Components, scheduler: Mapping[str, Any], seed: int = SEED) -> None:
    """Write a folder in the diffusers layout with seeded random weights; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, (class_name, config) in components.items():
            component = _make(class_name, config)
            if class_name == "AutoencoderTiny":
                _calibrate(component)
            component.save_pretrained(folder / name)
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    index = {name: [_library(class_name), class_name] for name, (class_name, _) in components.items()}
    index["scheduler"] = ["diffusers", scheduler["_class_name"]]
    pipeline = f"StableDiffusion{_kind(components)}Pipeline"
    _write_json(folder / "model_index.json", {"_class_name": pipeline, **index})


def _kind(components: Components) -> str:
    """How diffusers' pipeline of these components is called."""
    if "transformer" in components:
        return "3"
    if "text_encoder_2" not in components:
        return ""
    return "XL" if "text_encoder" in components else "XLImg2Img"


def _write_small(folder: Path, toys: Path) -> None:
    shutil.copytree(toys, folder, dirs_exist_ok=True)
    _write_json(folder / "tintype.json", {"native_size": SMALL})


def _make(class_name: str, config: Mapping[str, Any]) -> Any:
    module, _, attribute = CLASSES[class_name].rpartition(".")
    component = getattr(import_module(module), attribute)
    if class_name == "CLIPTokenizer":
        return component(vocab=_vocabulary(), merges=[], model_max_length=77)
    if _library(class_name) == "transformers":
        return component(component.config_class(**config))
    return component(**config)


def _calibrate(autoencoder: Any) -> None:
    """Scale the decoder's last layer so that unit latents come out mid-grey with contrast, not black."""
    layers = autoencoder.decoder.layers
    latents = torch.randn(1, autoencoder.config.latent_channels, 32, 32)
    with torch.no_grad():
        layers[-1].weight.mul_(0.25 / layers(latents).std(dim=(0, 2, 3)).view(-1, 1, 1, 1))
        layers[-1].bias.add_(0.5 - layers(latents).mean(dim=(0, 2, 3)))


def _vocabulary() -> dict[str, int]:
    """CLIP's byte-level alphabet without any merges: one token per byte."""
    from tokenizers.pre_tokenizers import ByteLevel  # noqa: PLC0415 - only needed while building

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}


def _library(class_name: str) -> str:
    return CLASSES[class_name].partition(".")[0]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), "utf-8")
