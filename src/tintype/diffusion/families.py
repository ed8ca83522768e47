"""The families by name, and what a device can do."""

from __future__ import annotations

import torch

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.weights import Weights
from tintype.diffusion.denoising import Family
from tintype.diffusion.kit import Kit
from tintype.diffusion.memory.plan import Memory
from tintype.diffusion.prompts import Prompts
from tintype.diffusion.sd3 import SD3
from tintype.diffusion.sd15 import SD15
from tintype.errors import WeightsUnusable


def load_family(
    name: str,
    weights: Weights,
    device: torch.device,
    dtype: torch.dtype,
    t5_tokens: int,
    memory: Memory | None = None,
    prompts: Prompts | None = None,
) -> Family:
    """A family over a checkpoint: its files are looked at now, its weights come when they are needed.

    Without a memory of others' too, it has one of its own without a budget. Raises WeightsUnusable.
    """
    try:
        kit = Kit(Checkpoint(weights, name), device, dtype, memory or Memory.endless(), prompts or Prompts(0))
        return SD15(kit) if name == "sd15" else SD3(kit, t5_tokens)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
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
