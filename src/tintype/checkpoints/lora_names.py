"""Names of modules in LoRA files → a model's modules: kohya's, PEFT's, diffusers' old and new, original layouts'."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache

import torch

from tintype.families import FAMILIES
from tintype.families.spec import ComponentSpec, Tensors

#: kohya's `.lora_down.weight`, PEFT's `.lora_A.weight`,
#: diffusers' `.lora.down.weight` and `_lora.down.weight`, and its former name in text encoders.
HALF = re.compile(r"(?:\.lora_linear_layer\.|[._]lora[._])(?P<half>down|up|A|B)(?:\.\w+)?\.weight$")
ALPHA = re.compile(r"\.(?:lora_)?alpha$")
#: The UNet or the transformer, whichever a family has.
DENOISER = "denoiser"
#: Of the denoiser in the original layout.
ORIGINAL = ("model_diffusion_model_", "diffusion_model_")


@cache
def prefixes() -> Mapping[str, str]:
    """A module's prefix, longest first → the component of any family; without any of these it is the denoiser's.

    kohya numbers the text encoders (`lora_te1_`); diffusers and PEFT name all components as in the diffusers layout.
    """
    found = dict.fromkeys(ORIGINAL, DENOISER)
    for family in FAMILIES.values():
        name = family.denoiser.name
        found |= dict.fromkeys((f"lora_{name}_", f"{name}_"), DENOISER)
        for number, encoder in enumerate(family.text_encoders, 1):
            found |= dict.fromkeys((f"lora_te{number}_", f"{encoder.name}_"), encoder.name)
            if number == 1:
                found["lora_te_"] = encoder.name
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


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
    for prefix, component in prefixes().items():
        if flat.startswith(prefix):
            return component, [flat.removeprefix(prefix).removeprefix("text_model_"), flat]
    return DENOISER, [flat]


def target_name(component: str) -> str:
    """A component by `target`'s names."""
    return DENOISER if component in {one.denoiser.name for one in FAMILIES.values()} else component


def flatten(module: str) -> str:
    """A name as kohya writes it, without the attention processors of former versions of diffusers."""
    return module.replace(".", "_").replace("_processor_to_out", "_to_out_0").replace("_processor_", "_")


def flat_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Flat name → module, of all modules with a matrix or a kernel."""
    modules = [
        name.removesuffix(".weight") for name, tensor in tensors.items() if name.endswith(".weight") and tensor.ndim > 1
    ]
    return {flatten(module.removeprefix("text_model.")): module for module in modules}


def original_names(component: ComponentSpec, names: Collection[str]) -> dict[str, str]:
    """Flat name → module in the original layout, of all that a component with these names may have there."""
    modules = (module for network in component.networks for module in network.original_modules(names))
    return {flatten(module): module for module in modules}


def convert(component: ComponentSpec, originals: Mapping[str, torch.Tensor], names: Collection[str]) -> Tensors:
    """Some of a component's tensors from the original layout to diffusers; `names` are all of its names there."""
    return component.networks[0].convert_some({**originals}, names)
