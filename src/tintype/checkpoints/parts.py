"""The networks that files in original layouts hold: under which names, of which class and configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tintype.checkpoints import shapes
from tintype.checkpoints.component import Component
from tintype.checkpoints.files import NONSENSE, Tensors, outline_files, read_header, shown
from tintype.checkpoints.float8 import widened
from tintype.checkpoints.keys import mmdit, text, unet, vae
from tintype.checkpoints.names import modern
from tintype.errors import WeightsUnusable

#: A class, and its tensors by its own names.
Read = tuple[str, Tensors]


@dataclass(frozen=True)
class Part:
    """One network of a family, in a file."""

    #: What its tensors' names may begin with, where a file holds other networks too.
    prefixes: tuple[str, ...]
    #: Tensors without that beginning → the class that they are of, and its names for them.
    read: Callable[[Tensors], Read]
    #: What its tensors' names begin with where nothing stands before them, if a whole checkpoint may be like that.
    bare: tuple[str, ...] = ()


def read_unet(tensors: Tensors) -> Read:
    """Original names, or diffusers'."""
    return "UNet2DConditionModel", tensors if "conv_in.weight" in tensors else unet.convert(tensors)


def read_mmdit(tensors: Tensors) -> Read:
    """Original names, or diffusers'."""
    return "SD3Transformer2DModel", tensors if "pos_embed.proj.weight" in tensors else mmdit.convert(tensors)


def read_vae(tensors: Tensors) -> Read:
    """Original names, or diffusers' for either class; without what its own training leaves behind."""
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(vae.LEFTOVERS)}
    if "decoder.layers.0.weight" in tensors:
        return "AutoencoderTiny", tensors
    original = "decoder.mid.block_1.norm1.weight" in tensors
    return "AutoencoderKL", vae.convert(tensors) if original else modern("AutoencoderKL", tensors)


def read_clip(tensors: Tensors) -> Read:
    """SD 1.5's encoder."""
    return "CLIPTextModel", modern("CLIPTextModel", tensors)


def read_clip_l(tensors: Tensors) -> Read:
    """SD 3's first encoder."""
    return "CLIPTextModelWithProjection", text.unprojected(modern("CLIPTextModelWithProjection", tensors))


def read_clip_g(tensors: Tensors) -> Read:
    """SD 3's second encoder."""
    return "CLIPTextModelWithProjection", modern("CLIPTextModelWithProjection", tensors)


def read_t5(tensors: Tensors) -> Read:
    """SD 3's third encoder."""
    return "T5EncoderModel", modern("T5EncoderModel", tensors)


AUTOENCODER = Part((vae.PREFIX, "vae."), read_vae)
#: Family → component → how files hold it.
PARTS = {
    "sd15": {
        "unet": Part((unet.PREFIX,), read_unet, ("input_blocks.", "down_blocks.")),
        "vae": AUTOENCODER,
        "text_encoder": Part(("cond_stage_model.transformer.",), read_clip),
    },
    "sd3": {
        "transformer": Part((mmdit.PREFIX,), read_mmdit, ("joint_blocks.", "transformer_blocks.")),
        "vae": AUTOENCODER,
        "text_encoder": Part(("text_encoders.clip_l.transformer.",), read_clip_l),
        "text_encoder_2": Part(("text_encoders.clip_g.transformer.",), read_clip_g),
        "text_encoder_3": Part(("text_encoders.t5xxl.transformer.",), read_t5),
    },
}
#: What a model can do without.
OPTIONAL = ("text_encoder_3",)


def find_part(path: Path, family: str, name: str, *, alone: bool) -> Component | None:
    """A component in a file of any layout, or None where the file has none of it; raises WeightsUnusable.

    `alone`: the file was named for this component, so that its tensors' names need not say whose they are.
    """
    part = PARTS[family][name]
    prefix = _prefix(part, read_header(path).tensors, alone)
    if prefix is None:
        return None
    try:
        class_name, outline = part.read(widened(outline_files([path], prefix)))
        config = configuration(name, class_name, outline)
    except KeyError as error:
        raise WeightsUnusable(f"{shown(path)} is no whole {name}: {error} is not in it") from error
    except NONSENSE as error:
        raise WeightsUnusable(f"{shown(path)} is no {name}: its tensors have other shapes than any {name}'s") from error
    return Component(name, class_name, config, [path], rename=partial(_renamed, part.read), prefix=prefix)


def configuration(name: str, class_name: str, tensors: Tensors) -> dict[str, Any]:
    """What `config.json` would say of these tensors; raises KeyError that names one which would have to be there."""
    match class_name:
        case "UNet2DConditionModel":
            return shapes.unet(tensors)
        case "SD3Transformer2DModel":
            return shapes.mmdit(tensors)
        case "AutoencoderTiny":
            return shapes.tiny_autoencoder(tensors)
        case "AutoencoderKL":
            return shapes.autoencoder(tensors)
        case "T5EncoderModel":
            return shapes.t5(tensors)
        case _:
            # SD 3's second CLIP is OpenCLIP's, the others are OpenAI's.
            return shapes.clip(tensors, "gelu" if name == "text_encoder_2" else "quick_gelu")


def _prefix(part: Part, names: Collection[str], alone: bool) -> str | None:
    for prefix in part.prefixes:
        if any(name.startswith(prefix) for name in names):
            return prefix
    return "" if alone or (part.bare and any(name.startswith(part.bare) for name in names)) else None


def _renamed(read: Callable[[Tensors], Read], tensors: Tensors) -> Tensors:
    return read(widened(tensors))[1]
