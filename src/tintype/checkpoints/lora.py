"""LoRAs merged into weights at load, so that they cost nothing when drawing: W + scale · alpha/rank · up · down."""

from __future__ import annotations

from collections.abc import Collection

import torch

from tintype.checkpoints.files import Tensors, read_header
from tintype.checkpoints.lora_file import LoraFile
from tintype.checkpoints.lora_names import DENOISER, owner, role, split
from tintype.checkpoints.weights import Lora

#: LoRAs, each with the components that it is for.
Meant = tuple[tuple[Lora, set[str]], ...]


def meant(loras: Collection[Lora]) -> Meant:
    """Those that are added at all, and what each is for, told by its header; raises WeightsUnusable."""
    return tuple((lora, _means(lora)) for lora in loras if lora.scale)


def concerning(loras: Meant, component: str) -> tuple[Lora, ...]:
    """Those of the LoRAs that change a component."""
    return tuple(lora for lora, named in loras if role(component) in named)


def _means(lora: Lora) -> set[str]:
    """Where a name isn't understood, whoever reads the whole of it says so: the denoiser, which there always is."""
    named = [split(name) for name in read_header(lora.path).tensors]
    return {owner(found[0])[0] if found else DENOISER for found in named} or {DENOISER}


def merge(component: str, tensors: Tensors, loras: Collection[Lora], dtype: torch.dtype) -> Tensors:
    """All of a component's tensors in one number format, LoRAs added in float32 before they are rounded to it.

    Raises WeightsUnusable where a LoRA isn't understood or doesn't fit.
    """
    changes = [(lora.scale, LoraFile(lora.path).updates(component, tensors)) for lora in loras]
    merged = {}
    for name, tensor in tensors.items():
        wanted = [(scale, updates[name]) for scale, updates in changes if name in updates]
        weight = tensor.float() if wanted else tensor
        for scale, update in wanted:
            weight = weight + scale * update.delta(weight.shape)
        merged[name] = weight.to(dtype)
    return merged
