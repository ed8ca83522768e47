"""Safetensors files: headers, memory-mapped tensors, float8 dequantized at load, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tintype.checkpoints.weights import regular_size
from tintype.errors import WeightsUnusable

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]

#: First bytes of other files that are called checkpoints: zip (torch.save since 1.6), a bare pickle, GGUF.
ZIP, PICKLE, GGUF = b"PK\x03\x04", b"\x80", b"GGUF"
#: The format allows 100 MB; a large model's header takes 0.3 MB, and a LoRA's with its training captions a few.
MAX_HEADER_BYTES = 16 * 2**20
#: In one file: SD 1.5 with both its averages has 2,500, SD 3.5 with all its encoders fewer.
MAX_TENSORS = 20_000
#: Characters of a tensor's name, its dimensions, and numbers in it (an empty dimension counted as one).
MAX_NAME, MAX_DIMENSIONS, MAX_NUMBERS = 500, 8, 2**48
#: The format's dtype → torch's, and bytes of one number.
DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
#: What Python raises for a file with malformed content: a wrong type, out of range, missing.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)

#: What a module's scale is called next to its `weight`, in ComfyUI's older and newer files.
SCALES = ("scale_weight", "weight_scale")
#: First words of other quantisations: of blocks (`weight_scale_inv`), of scales (`weight_scale_2`), with offsets.
OTHER_SCALES = ("weight_scale", "scale_weight", "weight_zero_point", "weight_block_scale")
KNOWN_SCALES = "scale_weight and weight_scale of float8: one number, or one per row"
#: Other tensors of float8 files, which are ignored: marks, and scales for arithmetic in eight bits.
IGNORED_SCALES = ("scaled_fp8", "comfy_quant", "scale_input", "input_scale")


@dataclass(frozen=True)
class Header:
    #: Tensors by name: dtype and shape.
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    #: `__metadata__`: free text by key.
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """A file's header; raises WeightsUnusable where it is another kind of file, cut short, or contradicts itself."""
    try:
        size = regular_size(path)
        with path.open("rb") as file:
            begin = file.read(8)
            length = int.from_bytes(begin, "little")
            text = file.read(length) if length <= MAX_HEADER_BYTES else b""
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise WeightsUnusable(f"{display_name(path)} can't be read: {_cause(error)}") from error
    try:
        content = json.loads(text.decode("utf-8"))
        metadata = _metadata(content.pop("__metadata__", None))
        entries = {name: _entry(name, entry) for name, entry in content.items()}
        expected = 8 + length + _extent(entries)
    except _Contradiction as error:
        raise WeightsUnusable(f"{display_name(path)} can't be read: {error}; fetch it again") from error
    except MALFORMED as error:
        raise WeightsUnusable(_refusal(display_name(path), begin, length, size)) from error
    if size < expected:
        found = f"it has {size:,} of {expected:,} bytes"
        raise WeightsUnusable(f"{display_name(path)} is cut short: {found}; fetch it again")
    if size > expected:
        found = f"it has {size:,} bytes instead of {expected:,}"
        raise WeightsUnusable(f"{display_name(path)} is damaged: {found}; fetch it again")
    return Header({name: (dtype, shape) for name, (dtype, shape, _) in entries.items()}, metadata)


class _Contradiction(Exception):
    """A header that can't be true."""


#: Dtype, shape, and the byte range of its numbers, counted from the end of the header.
_Entry = tuple[str, tuple[int, ...], tuple[int, int]]


def _entry(name: str, entry: Mapping[str, Any]) -> _Entry:
    if len(name) > MAX_NAME or not name.isprintable():
        raise _Contradiction("a tensor has a name that can't be shown")
    dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if type(dtype) is not str or not dtype.isprintable() or len(dtype) > MAX_NAME:
        raise _Contradiction(f"{name} has a dtype without a name")
    if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
        raise _Contradiction(f"{name} has a shape or offsets that are not whole numbers from 0 on")
    if len(shape) > MAX_DIMENSIONS or prod(max(side, 1) for side in shape) > MAX_NUMBERS:
        raise _Contradiction(f"{name} has a shape that no network has")
    if dtype in DTYPES and end - begin != prod(shape) * DTYPES[dtype][1]:
        raise _Contradiction(f"{name} needs {prod(shape) * DTYPES[dtype][1]:,} bytes and has {end - begin:,}")
    return dtype, shape, (begin, end)


def _extent(entries: Mapping[str, _Entry]) -> int:
    """Bytes of all tensors, which follow each other without gaps."""
    if len(entries) > MAX_TENSORS:
        raise _Contradiction(f"it has {len(entries):,} tensors, and no model here has more than {MAX_TENSORS:,}")
    reached = 0
    for name, (_, _, (begin, end)) in sorted(entries.items(), key=lambda item: item[1][2]):
        if begin != reached or end < begin:
            raise _Contradiction(f"{name} is at bytes {begin:,} to {end:,}, and the one before ends at {reached:,}")
        reached = end
    return reached


def _metadata(content: Any) -> Mapping[str, str]:
    found: dict[str, Any] = {} if content is None else dict(content.items())
    if not all(type(value) is str for value in found.values()):
        raise _Contradiction("its __metadata__ has values that are not strings")
    return found


def map_tensors(files: Sequence[Path], prefix: str = "") -> Tensors:
    """Memory-mapped tensors of safetensors files: those with this prefix, by the rest of their names.

    Others are not mapped, since the system would read them ahead. Raises WeightsUnusable that names the file.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - imports torch

    tensors: Tensors = {}
    with ExitStack() as opened:
        for file in files:
            read_header(file)  # its errors are more precise
            try:
                content = opened.enter_context(safe_open(file, framework="pt"))
                own = [name for name in content.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
                tensors |= {name.removeprefix(prefix): content.get_tensor(name) for name in own}
            except (OSError, SafetensorError) as error:
                raise WeightsUnusable(f"{display_name(file)} can't be read: it is damaged; fetch it again") from error
    return tensors


def meta_tensors(files: Sequence[Path], prefix: str = "") -> Tensors:
    """The same on the meta device, from the headers alone: names, shapes and dtypes; raises WeightsUnusable."""
    import torch  # noqa: PLC0415

    tensors: Tensors = {}
    for file in files:
        own = {name: entry for name, entry in read_header(file).tensors.items() if name.startswith(prefix)}
        for name, (dtype, shape) in own.items():
            if dtype not in DTYPES:
                raise WeightsUnusable(f"{display_name(file)}: {name} holds {dtype}; known are {', '.join(DTYPES)}")
            found = torch.empty(shape, dtype=getattr(torch, DTYPES[dtype][0]), device="meta")
            tensors[name.removeprefix(prefix)] = found
    return tensors


def display_name(path: Path) -> str:
    """A file's name, with its folder's where every component's file has the same name."""
    generic = path.name.startswith(("model", "diffusion_pytorch_model"))
    return f"{path.parent.name}/{path.name}" if generic else path.name


def _refusal(name: str, begin: bytes, length: int, size: int) -> str:
    if begin.startswith((ZIP, PICKLE)):
        return (
            f"{name} is a pickle, and loading one runs whatever code is in it: on a machine that holds nothing of "
            "value, convert it to safetensors, and name that file instead"
        )
    if begin.startswith(GGUF):
        return f"{name} is a GGUF file, which is not supported: name a safetensors file"
    if MAX_HEADER_BYTES < length <= size:
        return f"{name} can't be read: its header has {length:,} bytes, and at most {MAX_HEADER_BYTES:,} are allowed"
    return f"{name} can't be read: it is not a whole safetensors file"


def _cause(error: Exception) -> str:
    """What is wrong with a file, without the folders above it."""
    return "there is no such file" if isinstance(error, FileNotFoundError) else type(error).__name__


def dequantize(tensors: Mapping[str, Tensor]) -> Tensors:
    """float8 as bfloat16, times its scale where it has one; all others unchanged.

    bfloat16 holds every float8 exactly; the product is computed in float32. Raises WeightsUnusable for other
    quantisations.
    """
    dequantized = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        if last in IGNORED_SCALES:
            continue
        if last in SCALES:
            _check_scale(name, tensors.get(f"{module}.weight"))
        elif last.startswith(OTHER_SCALES):
            raise WeightsUnusable(f"{name}: weights with scales like this are not supported; known are {KNOWN_SCALES}")
        elif tensor.dtype.itemsize > 1:
            dequantized[name] = tensor
        elif tensor.dtype.is_floating_point:
            scales = [key for scale in SCALES if last == "weight" and (key := f"{module}.{scale}") in tensors]
            dequantized[name] = _scaled(tensor, scales[0], tensors[scales[0]]) if scales else tensor.bfloat16()
        else:
            raise WeightsUnusable(f"{name} holds {tensor.dtype}: of quantised weights, only float8 is supported")
    return dequantized


def _scaled(weight: Tensor, name: str, scale: Tensor) -> Tensor:
    rows = weight.shape[:1]
    if scale.numel() == 1:
        scale = scale.view(())
    elif weight.ndim and scale.shape[:1] == rows and scale.numel() == rows.numel():
        scale = scale.view(-1, *[1] * (weight.ndim - 1))  # a flat one would broadcast along the columns
    try:
        product = weight.float() * scale.float()
    except RuntimeError:
        product = None
    if product is None or product.shape != weight.shape:
        shapes = f"{list(scale.shape)} on a weight of {list(weight.shape)}"
        raise WeightsUnusable(f"{name} doesn't fit: it is {shapes}; known are {KNOWN_SCALES}")
    return product.bfloat16()


def _check_scale(name: str, weight: Tensor | None) -> None:
    if weight is None or weight.dtype.itemsize > 1:
        raise WeightsUnusable(f"{name} is a scale, and has no weight of eight bits; known are {KNOWN_SCALES}")
