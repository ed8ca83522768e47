"""The families by name, and what a device can do."""

from __future__ import annotations

import torch

from tintype.checkpoints.folder import Folder
from tintype.checkpoints.weights import Weights
from tintype.diffusion.denoising import Family
from tintype.diffusion.loading import Loader
from tintype.diffusion.sd3 import SD3
from tintype.diffusion.sd15 import SD15
from tintype.errors import WeightsUnusable


def load_family(name: str, weights: Weights, device: torch.device, dtype: torch.dtype, t5_tokens: int) -> Family:
    """Load a family; raises WeightsUnusable."""
    loader = Loader(Folder(weights), device, dtype)
    try:
        return SD15(loader) if name == "sd15" else SD3(loader, t5_tokens)
    except torch.OutOfMemoryError:
        raise  # not the weights' fault: there may be room another time
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        # The libraries' messages name folders of this machine: they go to the log through the cause.
        raise WeightsUnusable(f"the weights can't be loaded: {type(error).__name__}") from error


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the device computes in it, else float32."""
    if name == "auto":
        name = "bfloat16" if _has_bfloat16(device) else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # oneDNN falls back to emulation, slower than float32, where the CPU has no bfloat16 instructions.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
