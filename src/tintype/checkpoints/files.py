"""Safetensors files: headers, tensors mapped into memory, float8 widened at load, and what is refused."""

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

#: How other files begin that people call checkpoints: zip (torch.save since 1.6), a bare pickle, GGUF.
ZIP, PICKLE, GGUF = b"PK\x03\x04", b"\x80", b"GGUF"
#: Bytes. The format allows 100 MB; a large model's takes 0.3 MB, and a LoRA's with its training's captions a few.
LONGEST_HEADER = 16 * 2**20
#: Tensors in one file: SD 1.5 with both its averages has 2,500, SD 3.5 with all its encoders fewer.
MOST_TENSORS = 20_000
#: Characters of a tensor's name, its dimensions, and numbers in it (an empty side counted as one).
LONGEST_NAME, MOST_SIDES, MOST_NUMBERS = 500, 8, 2**48
#: The format's names of numbers → torch's, and bytes of one.
FORMATS = {
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
#: What Python raises where somebody else's file says what makes no sense: of another type, out of range, not there.
NONSENSE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)


@dataclass(frozen=True)
class Header:
    """What stands at the beginning of a file."""

    #: Tensors by name: format and shape.
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    #: What else whoever wrote it had to say.
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """A file's header; raises WeightsUnusable where it is another kind of file, cut short, or contradicts itself."""
    try:
        size = regular_size(path)
        with path.open("rb") as file:
            begin = file.read(8)
            length = int.from_bytes(begin, "little")
            text = file.read(length) if length <= LONGEST_HEADER else b""
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise WeightsUnusable(f"{shown(path)} can't be read: {_why(error)}") from error
    try:
        said = json.loads(text.decode("utf-8"))
        metadata = _metadata(said.pop("__metadata__", None))
        entries = {name: _entry(name, entry) for name, entry in said.items()}
        whole = 8 + length + _extent(entries)
    except _Contradiction as error:
        raise WeightsUnusable(f"{shown(path)} can't be read: {error}; fetch it again") from error
    except NONSENSE as error:
        raise WeightsUnusable(_refusal(shown(path), begin, length, size)) from error
    if size < whole:
        raise WeightsUnusable(f"{shown(path)} is cut short: it has {size:,} of {whole:,} bytes; fetch it again")
    if size > whole:
        raise WeightsUnusable(f"{shown(path)} is damaged: it has {size:,} bytes instead of {whole:,}; fetch it again")
    return Header({name: (form, shape) for name, (form, shape, _) in entries.items()}, metadata)


class _Contradiction(Exception):
    """What a header says that can't be so."""


#: Format, shape, and where its numbers are: from which byte behind the header, and to which.
_Entry = tuple[str, tuple[int, ...], tuple[int, int]]


def _entry(name: str, entry: Mapping[str, Any]) -> _Entry:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise _Contradiction("a tensor has a name that can't be shown")
    form, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if type(form) is not str or not form.isprintable() or len(form) > LONGEST_NAME:
        raise _Contradiction(f"{name} has a format without a name")
    if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
        raise _Contradiction(f"{name} has a shape or a place that is not made of whole numbers from 0 on")
    if len(shape) > MOST_SIDES or prod(max(side, 1) for side in shape) > MOST_NUMBERS:
        raise _Contradiction(f"{name} has a shape that no network has")
    if form in FORMATS and end - begin != prod(shape) * FORMATS[form][1]:
        raise _Contradiction(f"{name} takes {prod(shape) * FORMATS[form][1]:,} bytes and is given {end - begin:,}")
    return form, shape, (begin, end)


def _extent(entries: Mapping[str, _Entry]) -> int:
    """Bytes of all tensors, which lie one behind the other."""
    if len(entries) > MOST_TENSORS:
        raise _Contradiction(f"it has {len(entries):,} tensors, and no model here has more than {MOST_TENSORS:,}")
    reached = 0
    for name, (_, _, (begin, end)) in sorted(entries.items(), key=lambda item: item[1][2]):
        if begin != reached or end < begin:
            raise _Contradiction(f"{name} lies at bytes {begin:,} to {end:,}, where its neighbour ends at {reached:,}")
        reached = end
    return reached


def _metadata(said: Any) -> Mapping[str, str]:
    found: dict[str, Any] = {} if said is None else dict(said.items())
    if not all(type(value) is str for value in found.values()):
        raise _Contradiction("its __metadata__ is not made of texts")
    return found


def map_files(files: Sequence[Path], prefix: str = "") -> Tensors:
    """Tensors of safetensors files, mapped into memory: those whose names begin so, by the rest of their names.

    Others are left alone, since mapping one has the system read it ahead. Raises WeightsUnusable that names the file.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - imports torch

    tensors: Tensors = {}
    with ExitStack() as opened:
        for file in files:
            read_header(file)  # which says better what is wrong
            try:
                content = opened.enter_context(safe_open(file, framework="pt"))
                own = [name for name in content.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
                tensors |= {name.removeprefix(prefix): content.get_tensor(name) for name in own}
            except (OSError, SafetensorError) as error:
                raise WeightsUnusable(f"{shown(file)} can't be read: it is damaged; fetch it again") from error
    return tensors


def outline_files(files: Sequence[Path], prefix: str = "") -> Tensors:
    """The same on the meta device: names, shapes and formats out of the headers alone; raises WeightsUnusable."""
    import torch  # noqa: PLC0415

    tensors: Tensors = {}
    for file in files:
        own = {name: entry for name, entry in read_header(file).tensors.items() if name.startswith(prefix)}
        for name, (form, shape) in own.items():
            if form not in FORMATS:
                raise WeightsUnusable(f"{shown(file)}: {name} holds {form}; known are {', '.join(FORMATS)}")
            dtype = getattr(torch, FORMATS[form][0])
            tensors[name.removeprefix(prefix)] = torch.empty(shape, dtype=dtype, device="meta")
    return tensors


def shown(path: Path) -> str:
    """A file's name, with its folder's where every component's file is called the same."""
    generic = path.name.startswith(("model", "diffusion_pytorch_model"))
    return f"{path.parent.name}/{path.name}" if generic else path.name


def _refusal(name: str, begin: bytes, length: int, size: int) -> str:
    if begin.startswith((ZIP, PICKLE)):
        return (
            f"{name} is a pickle, and loading one runs whatever code somebody put into it: on a machine that holds "
            "nothing of value, convert it to safetensors, and name that file instead"
        )
    if begin.startswith(GGUF):
        return f"{name} is a GGUF file, which is not supported: name a safetensors file"
    if LONGEST_HEADER < length <= size:
        return f"{name} can't be read: its header has {length:,} bytes, and at most {LONGEST_HEADER:,} are read"
    return f"{name} can't be read: it is not a whole safetensors file"


def _why(error: Exception) -> str:
    """What is wrong with a file, without the folders that lead to it."""
    return "there is no such file" if isinstance(error, FileNotFoundError) else type(error).__name__


#: What a module's scale is called beside its `weight`, in ComfyUI's files of before and since.
SCALES = ("scale_weight", "weight_scale")
#: How those of other quantisations begin: of blocks (`weight_scale_inv`), of scales (`weight_scale_2`), with offsets.
OTHER_SCALES = ("weight_scale", "scale_weight", "weight_zero_point", "weight_block_scale")
KNOWN = "scale_weight and weight_scale of float8: one number, or one per row"
#: What else such files carry: marks, and scales for arithmetic in eight bits.
MARKS = ("scaled_fp8", "comfy_quant", "scale_input", "input_scale")


def widened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
            wide[name] = _scaled(tensor, scales[0], tensors[scales[0]]) if scales else tensor.bfloat16()
        else:
            raise WeightsUnusable(f"{name} holds {tensor.dtype}: of quantised weights, only float8 is supported")
    return wide


def _scaled(weight: Tensor, name: str, scale: Tensor) -> Tensor:
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
    return whole.bfloat16()


def _check_owner(name: str, weight: Tensor | None) -> None:
    if weight is None or weight.dtype.itemsize > 1:
        raise WeightsUnusable(f"{name} is a scale, and there is no weight of eight bits beside it; known are {KNOWN}")
