"""LoRAs: low-rank changes to a network's weights, added into them at load, so that they cost nothing when drawing."""

from __future__ import annotations

from tintype.checkpoints.component import Tensors, map_files
from tintype.checkpoints.weights import Lora
from tintype.errors import WeightsUnusable

DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def merge(tensors: Tensors, lora: Lora) -> Tensors:
    """W + scale B A for every weight that the LoRA names (Hu et al. 2021, § 4.1), the sum in float32.

    Raises WeightsUnusable where it names weights that aren't there.
    """
    changes = map_files([lora.path])
    merged = dict(tensors)
    for name in changes:
        target = name.removesuffix(DOWN)
        if target == name:
            continue
        weight = f"{target.removeprefix('transformer.').removeprefix('unet.')}.weight"
        if weight not in tensors:
            raise WeightsUnusable(f"{lora.path.name}: the network has no {weight}")
        change = changes[target + UP].float() @ changes[name].float()
        merged[weight] = tensors[weight].float() + lora.scale * change
    return merged
