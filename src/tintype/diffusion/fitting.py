"""Whether a model's components can work together: what one of them gives is what the next one takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.single_file import COMPONENTS, OPTIONAL
from tintype.checkpoints.weights import is_number
from tintype.diffusion.loading import class_of, whole_config
from tintype.errors import WeightsUnusable

Config = Mapping[str, Any]
#: A component, and in what it doesn't suit the others.
Misfit = tuple[str, str]

#: The classes that do a component's work; what others of the libraries give has another shape.
CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "transformer": ("SD3Transformer2DModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    ("sd15", "text_encoder"): ("CLIPTextModel",),
    "text_encoder": ("CLIPTextModelWithProjection",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "text_encoder_3": ("T5EncoderModel",),
}
#: Channels that a denoiser takes → the kinds of SD 1.5 that are given more than noisy latents.
EXTRA_CHANNELS = {
    8: ", as instruct-pix2pix checkpoints do, which are not supported",
    9: ", as inpainting checkpoints do, which are not supported",
    12: ", as relighting checkpoints do, which are not supported",
}
#: What a UNet may want beside latents, time and text: configuration → what it may be.
NOTHING_ELSE: Mapping[str, tuple[str | None, ...]] = {
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None, "text"),
    "encoder_hid_dim_type": (None, "text_proj"),
}
#: Pixels of which every side is a multiple.
SIDE = 16


def require_fit(checkpoint: Checkpoint) -> None:
    """Raise WeightsUnusable that names the first component that doesn't suit the others."""
    for component, problem in misfits(checkpoint):
        raise WeightsUnusable(f"component {component}: {problem}")


def misfits(checkpoint: Checkpoint) -> Iterator[Misfit]:
    """The components that don't suit the others; raises WeightsUnusable where one is missing or not understood."""
    own = {name: config for name in COMPONENTS[checkpoint.family] if (config := _config(checkpoint, name)) is not None}
    yield from _autoencoder(own["vae"])
    yield from (_sd15 if checkpoint.family == "sd15" else _sd3)(own)


def _config(checkpoint: Checkpoint, name: str) -> Config | None:
    component = checkpoint.component(name)
    if component is None and name in OPTIONAL:
        return None
    if component is None:
        raise WeightsUnusable(checkpoint.missing_message(name))
    class_of(component)
    allowed = CLASSES.get((checkpoint.family, name)) or CLASSES[name]
    if component.class_name not in allowed:
        words = f"{component.class_name} can't do its work in a model of the family {checkpoint.family}"
        raise WeightsUnusable(f"component {name}: {words}; known are {', '.join(allowed)}")
    return whole_config(component)


def _autoencoder(vae: Config) -> Iterator[Misfit]:
    for key, words in (("in_channels", "takes"), ("out_channels", "gives")):
        if vae[key] != 3:
            yield "vae", f"it {words} pictures of {_shown(vae[key])} channels, and they have 3"
    _count("vae", vae, "latent_channels")
    if not is_number(vae["scaling_factor"]) or vae["scaling_factor"] == 0:
        yield "vae", f"its scaling_factor is {_shown(vae['scaling_factor'])}, and should be a number other than 0"
    shift = vae.get("shift_factor")
    if shift is not None and not is_number(shift):
        yield "vae", f"its shift_factor is {_shown(shift)}, and should be a number"


def _sd15(own: Mapping[str, Config]) -> Iterator[Misfit]:
    unet = own["unet"]
    yield from _denoiser("unet", unet, own["vae"])
    yield from _divides(own["vae"], 1)
    width = _count("text_encoder", own["text_encoder"], "hidden_size")
    key = "encoder_hid_dim" if unet["encoder_hid_dim_type"] == "text_proj" else "cross_attention_dim"
    taken = unet[key] if isinstance(unet[key], list | tuple) else [unet[key]]
    if any(one != width for one in taken):
        wants = _shown(unet[key])
        yield "unet", f"its text ({key}) is {wants} wide, and what text_encoder gives (hidden_size) is {width}"
    if type(padding := unet["downsample_padding"]) is not int:  # the class takes anything, and fails when it draws
        yield "unet", f"its downsample_padding is {_shown(padding)}, and should be a whole number"
    for key, allowed in NOTHING_ELSE.items():
        if unet[key] not in allowed:
            yield "unet", f"it wants more than latents, time and text: {key} is {_shown(unet[key])}"


def _sd3(own: Mapping[str, Config]) -> Iterator[Misfit]:
    transformer = own["transformer"]
    yield from _denoiser("transformer", transformer, own["vae"])
    count = partial(_count, "transformer", transformer)
    yield from _divides(own["vae"], count("patch_size"))
    inner = count("num_attention_heads") * count("attention_head_dim")
    if count("caption_projection_dim") != inner:
        yield "transformer", f"caption_projection_dim is {count('caption_projection_dim')}, its blocks are {inner} wide"
    clips = {name: own[name] for name in ("text_encoder", "text_encoder_2")}
    pooled = [_count(name, clip, "projection_dim") for name, clip in clips.items()]
    if sum(pooled) != count("pooled_projection_dim"):
        takes = f"its pooled text (pooled_projection_dim) is {count('pooled_projection_dim')} wide"
        yield "transformer", f"{takes}, and what {' and '.join(clips)} give (projection_dim) is {_sum(pooled)}"
    widths = [_count(name, clip, "hidden_size") for name, clip in clips.items()]
    joint = f"its text (joint_attention_dim) is {count('joint_attention_dim')} wide"
    if sum(widths) > count("joint_attention_dim"):
        yield "transformer", f"{joint}, and what {' and '.join(clips)} give (hidden_size) is {_sum(widths)}"
    lengths = [_count(name, clip, "max_position_embeddings") for name, clip in clips.items()]
    if len(set(lengths)) > 1:
        yield "text_encoder_2", f"it takes {lengths[1]} tokens (max_position_embeddings), and text_encoder {lengths[0]}"
    if (t5 := own.get("text_encoder_3")) and _count("text_encoder_3", t5, "d_model") != count("joint_attention_dim"):
        yield "transformer", f"{joint}, and what text_encoder_3 gives (d_model) is {t5['d_model']}"


def _denoiser(name: str, config: Config, vae: Config) -> Iterator[Misfit]:
    """Whether it takes latents, and gives them."""
    latents = f"the latents of vae have {vae['latent_channels']}"
    taken = _count(name, config, "in_channels")
    if taken != vae["latent_channels"]:
        yield name, f"it takes {taken} channels{EXTRA_CHANNELS.get(taken, '')}; {latents}"
        return
    given = taken if config["out_channels"] is None else _count(name, config, "out_channels")
    if given != vae["latent_channels"]:
        yield name, f"it gives {given} channels; {latents}"


def _divides(vae: Config, patch: int) -> Iterator[Misfit]:
    """Whether every picture's side is a whole number of latents, and of patches of them."""
    kinds = ("block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels")
    levels = {len(vae[kind]) for kind in kinds if isinstance(vae.get(kind), list | tuple) and vae[kind]}
    if len(levels) != 1:
        yield "vae", "its configuration doesn't say how many levels it has"
        return
    step = 2 ** min(levels.pop() - 1, SIDE) * patch
    if SIDE % step:
        yield "vae", f"its latents stand for {step} pixels{'' if patch == 1 else ' a patch'}, and sides are in {SIDE}s"


def _count(component: str, config: Config, key: str) -> int:
    """A number of the configuration that something has so many of; raises WeightsUnusable for anything else."""
    found = config.get(key)
    if type(found) is not int or found < 1:
        raise WeightsUnusable(f"component {component}: its {key} is {_shown(found)}, and should be a number from 1 on")
    return found


def _sum(numbers: list[int]) -> str:
    return f"{' + '.join(map(str, numbers))} = {sum(numbers)}"


def _shown(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 60 else text[:60] + "…"
