"""A component's tensors in the wanted number format, its LoRAs merged; large conversions are kept on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import structlog
import torch
from safetensors.torch import save_file

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors, map_tensors
from tintype.checkpoints.lora import merge_loras
from tintype.checkpoints.weights import CACHE

log = structlog.get_logger()

#: Bytes from which a converted copy is kept on disk: smaller ones are converted in no time.
WORTH_KEEPING = 256 * 2**20


def in_format(component: Component, dtype: torch.dtype) -> Tensors:
    """The component's tensors with its LoRAs merged, all in one number format; raises WeightsUnusable.

    LoRAs of one request are added to what is there without them, and that isn't kept: there may be any number of them.
    """
    per_request = tuple(lora for lora in component.loras if lora.per_request)
    permanent = tuple(lora for lora in component.loras if not lora.per_request)
    tensors = _prepared(component.with_loras(permanent), dtype)
    return merge_loras(component.name, tensors, per_request, dtype) if per_request else tensors


def _prepared(component: Component, dtype: torch.dtype) -> Tensors:
    """A large conversion is done once and kept beside the file: it takes twenty times as long as the load itself."""
    outline = component.meta_tensors()
    if not component.loras and not component.is_float8 and all(one.dtype == dtype for one in outline.values()):
        return component.tensors()
    kept = component.files[0].parent / CACHE / f"{component.name}-{component.identity}-{_word(dtype)}.safetensors"
    if kept.exists():
        return map_tensors([kept])
    converted = merge_loras(component.name, component.tensors(), component.loras, dtype)
    if sum(tensor.numel() for tensor in outline.values()) * dtype.itemsize < WORTH_KEEPING:
        return converted
    _keep(converted, kept)
    return map_tensors([kept]) if kept.exists() else converted


def _keep(tensors: Tensors, path: Path) -> None:
    """Write a file that appears under its name only when it is whole; a folder that can't be written is no error."""
    half = None
    try:
        path.parent.mkdir(exist_ok=True)
        handle, half = tempfile.mkstemp(dir=path.parent, suffix=".half")
        os.close(handle)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, half, metadata={"format": "pt"})
        Path(half).replace(path)
    except (OSError, RuntimeError) as error:
        log.warning("converted weights can't be kept; they are converted at every load", cause=type(error).__name__)
        if half:
            Path(half).unlink(missing_ok=True)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
