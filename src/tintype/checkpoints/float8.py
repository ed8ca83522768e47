"""Weights of eight bits, widened at load: nothing here computes in them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tintype.errors import WeightsUnusable

#: What a module's scale is called beside its `weight`, in ComfyUI's files of before and since.
SCALES = ("scale_weight", "weight_scale")
#: How those of other quantisations begin: of blocks (`weight_scale_inv`), of scales (`weight_scale_2`), with offsets.
OTHER_SCALES = ("weight_scale", "scale_weight", "weight_zero_point", "weight_block_scale")
KNOWN = "scale_weight and weight_scale of float8: one number, or one per row"
#: What else such files carry: marks, and scales for arithmetic in eight bits.
MARKS = ("scaled_fp8", "comfy_quant", "scale_input", "input_scale")


def widened(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Eight-bit floats as bfloat16, times their scale where they have one; all others as they are.

    bfloat16 holds every float8 exactly; the product is taken in float32. Raises WeightsUnusable for other quantisation.
    """
    wide = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        if last in MARKS:
            continue
        if last in SCALES:
            _check_owner(name, tensors.get(f"{module}.weight"))
        elif last.startswith(OTHER_SCALES):
            raise WeightsUnusable(f"{name}: weights that are scaled like this are not supported; known are {KNOWN}")
        elif tensor.dtype.itemsize > 1:
            wide[name] = tensor
        elif tensor.dtype.is_floating_point:
            scales = [key for scale in SCALES if last == "weight" and (key := f"{module}.{scale}") in tensors]
            wide[name] = _scaled(tensor, scales[0], tensors[scales[0]]) if scales else tensor.to(torch.bfloat16)
        else:
            raise WeightsUnusable(f"{name} holds {tensor.dtype}: of quantised weights, only float8 is supported")
    return wide


def _scaled(weight: torch.Tensor, name: str, scale: torch.Tensor) -> torch.Tensor:
    rows = weight.shape[:1]
    if scale.numel() == 1:
        scale = scale.view(())
    elif weight.ndim and scale.shape[:1] == rows and scale.numel() == rows.numel():
        scale = scale.view(-1, *[1] * (weight.ndim - 1))  # flat, else it would lie along the columns
    try:
        whole = weight.float() * scale.float()
    except RuntimeError:
        whole = None
    if whole is None or whole.shape != weight.shape:
        shapes = f"{list(scale.shape)} on a weight of {list(weight.shape)}"
        raise WeightsUnusable(f"{name} doesn't fit: it is {shapes}; known are {KNOWN}")
    return whole.to(torch.bfloat16)


def _check_owner(name: str, weight: torch.Tensor | None) -> None:
    if weight is None or weight.dtype.itemsize > 1:
        raise WeightsUnusable(f"{name} is a scale, and there is no weight of eight bits beside it; known are {KNOWN}")
