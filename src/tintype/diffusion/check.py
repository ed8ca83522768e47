"""Checks of a checkpoint without loading it: all tensors are there, in their shapes, and components fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors
from tintype.checkpoints.lora import LoraFile
from tintype.checkpoints.single_file import COMPONENTS, OPTIONAL
from tintype.checkpoints.weights import Lora, WeightsSpec, is_number
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.loading import build, class_of, open_tokenizer, whole_config
from tintype.errors import WeightsUnusable

#: Files of which a tokenizer's folder has at least one.
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


Config = Mapping[str, Any]
#: A component, and why it doesn't fit the others.
Misfit = tuple[str, str]

#: The classes that a component can have; outputs of the libraries' others have other shapes.
COMPONENT_CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "transformer": ("SD3Transformer2DModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    ("sd15", "text_encoder"): ("CLIPTextModel",),
    "text_encoder": ("CLIPTextModelWithProjection",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "text_encoder_3": ("T5EncoderModel",),
}
#: Input channels → the kinds of SD 1.5 whose input is more than noisy latents.
EXTRA_CHANNELS = {
    8: ", as instruct-pix2pix checkpoints do, which are not supported",
    9: ", as inpainting checkpoints do, which are not supported",
    12: ", as relighting checkpoints do, which are not supported",
}
#: Inputs of a UNet in addition to latents, time and text: configuration → the values without any.
NO_EXTRA_INPUTS: Mapping[str, tuple[str | None, ...]] = {
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None, "text"),
    "encoder_hid_dim_type": (None, "text_proj"),
}
#: Sides of images are multiples of this, in pixels.
SIDE = 16


@dataclass(frozen=True)
class Finding:
    """One problem; `str` is a line for people."""

    #: As in the diffusers layout, such as `unet`; `checkpoint` for the whole.
    component: str
    kind: Literal["missing", "unexpected", "misshapen", "unusable", "ignored"]
    #: By its name in the library's class; empty where it concerns the whole component.
    tensor: str
    detail: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.component, self.tensor, self.detail)))

    @property
    def harmless(self) -> bool:
        """Whether the weights load all the same, without the tensors concerned."""
        return self.kind == "ignored"


def check(weights: WeightsSpec, family: str) -> list[Finding]:
    """Everything that would keep these weights from loading as a model of that family; reads files' headers only.

    Empty where every tensor is there, in its shape, and none is unexpected, all components fit together, and every
    LoRA, including those that callers may choose, applies to some. What has no effect is `harmless`.
    """
    quiet_libraries()
    try:
        checkpoint = Checkpoint(weights, family)
        unexpected, ignored = checkpoint.layout.unexpected_keys, checkpoint.ignored
        _ = weights.metadata  # raises for an invalid tintype.json
    except WeightsUnusable as error:
        return [Finding("checkpoint", "unusable", "", error.message)]
    notes = [Finding("checkpoint", "ignored", name, "belongs to no network of the model") for name in unexpected]
    notes += [Finding("checkpoint", "ignored", "", words) for words in ignored]
    findings = _scheduler(checkpoint)
    opened = cache(LoraFile)
    findings += [finding for name in COMPONENTS[family] for finding in _component(checkpoint, name, opened)]
    findings += [finding for name in checkpoint.tokenizers for finding in _tokenizer(checkpoint, name)]
    if not findings:  # otherwise they can't be compared
        findings += [
            *_misfits(checkpoint),
            *(one for offer in weights.available_loras for one in _offered(checkpoint, *offer, opened)),
        ]
    return notes + findings


def _scheduler(checkpoint: Checkpoint) -> list[Finding]:
    try:
        _ = checkpoint.scheduler
    except WeightsUnusable as error:
        return [Finding("scheduler", "unusable", "", error.message)]
    return []


def _component(checkpoint: Checkpoint, name: str, opened: Callable[[Path], LoraFile]) -> list[Finding]:
    try:
        component = checkpoint.component(name)
        if component is None:
            return [] if name in OPTIONAL else [Finding(name, "missing", "", checkpoint.missing_message(name))]
        found = component.meta_tensors()
        if differences := list(_differences(name, _expected(component), found)):
            return differences
        for lora in component.loras:
            opened(lora.path).updates(name, found)
    except WeightsUnusable as error:
        return [Finding(name, "unusable", "", error.message)]
    return []


def _offered(checkpoint: Checkpoint, name: str, lora: Lora, opened: Callable[[Path], LoraFile]) -> Iterator[Finding]:
    """Problems of a LoRA that callers may choose."""
    chosen = Checkpoint(replace(checkpoint.weights, loras=(replace(lora, scale=1.0),)), checkpoint.family)
    try:
        for words in chosen.ignored:
            yield Finding("available_loras", "ignored", name, words)
        for component in filter(None, map(chosen.component, COMPONENTS[chosen.family])):
            for one in component.loras:
                opened(one.path).updates(component.name, component.meta_tensors())
    except WeightsUnusable as error:
        yield Finding("available_loras", "unusable", name, error.message)


def _misfits(checkpoint: Checkpoint) -> Iterator[Finding]:
    try:
        for component, problem in misfits(checkpoint):
            yield Finding(component, "unusable", "", problem)
    except WeightsUnusable as error:
        yield Finding("checkpoint", "unusable", "", error.message)


def _expected(component: Component) -> Tensors:
    model = build(component)
    tied = getattr(model, "_tied_weights_keys", None) or ()  # tied to other names
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _differences(component: str, expected: Tensors, found: Tensors) -> Iterator[Finding]:
    for name, tensor in expected.items():
        if name not in found:
            yield Finding(component, "missing", name, f"is missing, {_size(tensor.shape)}")
        elif found[name].shape != tensor.shape:
            detail = f"is {_size(found[name].shape)} and should be {_size(tensor.shape)}"
            yield Finding(component, "misshapen", name, detail)
    for name in found.keys() - expected.keys():
        yield Finding(component, "unexpected", name, f"has no place in it, {_size(found[name].shape)}")


def _tokenizer(checkpoint: Checkpoint, name: str) -> list[Finding]:
    try:
        folder = checkpoint.tokenizer(name)
    except WeightsUnusable as error:
        return [Finding(name, "missing", "", error.message)]
    if folder is None:
        return []
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        return [Finding(name, "missing", "", f"none of {', '.join(TOKENIZER_FILES)} is in its folder")]
    try:
        open_tokenizer(checkpoint, name)
    except WeightsUnusable as error:
        return [Finding(name, "unusable", "", error.message)]
    return []


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"


def require_fit(checkpoint: Checkpoint) -> None:
    """Raises WeightsUnusable that names the first component that doesn't fit the others."""
    for component, problem in misfits(checkpoint):
        raise WeightsUnusable(f"component {component}: {problem}")


def misfits(checkpoint: Checkpoint) -> Iterator[Misfit]:
    """The components that don't fit the others; raises WeightsUnusable where one is missing or invalid."""
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
    allowed = COMPONENT_CLASSES.get((checkpoint.family, name)) or COMPONENT_CLASSES[name]
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
    # The class accepts anything, and fails at the first pass.
    if type(padding := unet["downsample_padding"]) is not int:
        yield "unet", f"its downsample_padding is {_shown(padding)}, and should be a whole number"
    for key, allowed in NO_EXTRA_INPUTS.items():
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
    """Whether its input and its output are latents."""
    latents = f"the latents of vae have {vae['latent_channels']}"
    taken = _count(name, config, "in_channels")
    if taken != vae["latent_channels"]:
        yield name, f"it takes {taken} channels{EXTRA_CHANNELS.get(taken, '')}; {latents}"
        return
    given = taken if config["out_channels"] is None else _count(name, config, "out_channels")
    if given != vae["latent_channels"]:
        yield name, f"it gives {given} channels; {latents}"


def _divides(vae: Config, patch: int) -> Iterator[Misfit]:
    """Whether every image's side is a whole number of latents, and of patches of them."""
    kinds = ("block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels")
    levels = {len(vae[kind]) for kind in kinds if isinstance(vae.get(kind), list | tuple) and vae[kind]}
    if len(levels) != 1:
        yield "vae", "its configuration doesn't say how many levels it has"
        return
    step = 2 ** min(levels.pop() - 1, SIDE) * patch
    if SIDE % step:
        yield "vae", f"its latents stand for {step} pixels{'' if patch == 1 else ' a patch'}, and sides are in {SIDE}s"


def _count(component: str, config: Config, key: str) -> int:
    """A positive integer of the configuration; raises WeightsUnusable for anything else."""
    found = config.get(key)
    if type(found) is not int or found < 1:
        raise WeightsUnusable(f"component {component}: its {key} is {_shown(found)}, and should be a number from 1 on")
    return found


def _sum(numbers: list[int]) -> str:
    return f"{' + '.join(map(str, numbers))} = {sum(numbers)}"


def _shown(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 60 else text[:60] + "…"
