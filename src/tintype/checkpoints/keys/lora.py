"""Names of modules in LoRA files → a model's modules: kohya's, PEFT's, diffusers' old and new, original layouts'."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch

from tintype.checkpoints.keys import mmdit, unet

#: kohya's `.lora_down.weight`, PEFT's `.lora_A.weight`,
#: diffusers' `.lora.down.weight` and `_lora.down.weight`, and its former name in text encoders.
HALF = re.compile(r"(?:\.lora_linear_layer\.|[._]lora[._])(?P<half>down|up|A|B)(?:\.\w+)?\.weight$")
ALPHA = re.compile(r"\.(?:lora_)?alpha$")
#: The UNet or the transformer, whichever a family has.
DENOISER = "denoiser"
#: A module's prefix, longest first → its component; without any of these it is the denoiser's.
PREFIXES = {
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "lora_te_": "text_encoder",
    "text_encoder_2_": "text_encoder_2",
    "text_encoder_3_": "text_encoder_3",
    "text_encoder_": "text_encoder",
    "unet_": DENOISER,
    "transformer_": DENOISER,
    "model_diffusion_model_": DENOISER,
    "diffusion_model_": DENOISER,
}
DENOISERS = ("unet", "transformer")


def split_key(key: str) -> tuple[str, str] | None:
    """A tensor's module and its kind (`up`, `down` or `alpha`); None where the name isn't a LoRA's."""
    if found := HALF.search(key):
        return key[: found.start()], {"A": "down", "B": "up"}.get(found["half"], found["half"])
    if found := ALPHA.search(key):
        return key[: found.start()], "alpha"
    return None


def target(module: str) -> tuple[str, list[str]]:
    """The component that a module belongs to (`denoiser` is the UNet or transformer), and its possible flat names.

    Without a prefix it is the denoiser's; `transformer_blocks` only looks like one.
    """
    flat = flatten(module.removeprefix("base_model.model."))
    for prefix, component in PREFIXES.items():
        if flat.startswith(prefix):
            return component, [flat.removeprefix(prefix).removeprefix("text_model_"), flat]
    return DENOISER, [flat]


def target_name(component: str) -> str:
    """A component by `target`'s names."""
    return DENOISER if component in DENOISERS else component


def flatten(module: str) -> str:
    """A name as kohya writes it, without the attention processors of former versions of diffusers."""
    return module.replace(".", "_").replace("_processor_to_out", "_to_out_0").replace("_processor_", "_")


def flat_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Flat name → module, of all modules with a matrix or a kernel."""
    modules = [
        name.removesuffix(".weight") for name, tensor in tensors.items() if name.endswith(".weight") and tensor.ndim > 1
    ]
    return {flatten(module.removeprefix("text_model.")): module for module in modules}


def original_names(component: str, names: Collection[str]) -> dict[str, str]:
    """Flat name → module in the original layout, of all that a denoiser of its depth may have there."""
    if component == "unet":
        modules = unet.module_names(*unet_depth(names))
    elif component == "transformer":
        modules = mmdit.module_names(mmdit_depth(names))
    else:
        modules = []
    return {flatten(module): module for module in modules}


def convert(component: str, originals: Mapping[str, torch.Tensor], names: Collection[str]) -> dict[str, torch.Tensor]:
    """Some of a denoiser's tensors from the original layout to diffusers; `names` are all of its names there."""
    if component == "unet":
        return unet.convert(originals, unet_depth(names)[1])
    return mmdit.convert(originals, mmdit_depth(names))


def unet_depth(names: Collection[str]) -> tuple[int, int]:
    """Levels, and residual blocks in each on the way down."""
    return len(unet.numbers_after("down_blocks", names)), len(unet.numbers_after("down_blocks.0.resnets", names))


def mmdit_depth(names: Collection[str]) -> int:
    """Joint blocks."""
    return len(unet.numbers_after("transformer_blocks", names))
