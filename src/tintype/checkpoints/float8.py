"""Weights of eight bits, widened at load: nothing here computes in them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tintype.errors import WeightsUnusable

#: What a module's scale is called beside its `weight`, in ComfyUI's files of before and since.
SCALES = ("scale_weight", "weight_scale")
#: What else such files carry: marks, and scales for arithmetic in eight bits.
MARKS = ("scaled_fp8", "comfy_quant", "scale_input", "input_scale")


def widened(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Eight-bit floats as bfloat16, times their scale where they have one; all others as they are.

    bfloat16 holds every float8 exactly; the product is taken in float32. Raises WeightsUnusable for other quantisation.
    """
    wide = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        if last in (*SCALES, *MARKS):
            continue
        if tensor.dtype.itemsize > 1:
            wide[name] = tensor
        elif tensor.dtype.is_floating_point:
            scales = [tensors[key] for scale in SCALES if (key := f"{module}.{scale}") in tensors]
            wide[name] = (tensor.float() * scales[0].float() if scales else tensor).to(torch.bfloat16)
        else:
            raise WeightsUnusable(f"{name} holds {tensor.dtype}: of quantised weights, only float8 is supported")
    return wide
