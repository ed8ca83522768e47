"""Safetensors files: what their headers say, their tensors mapped into memory, and what is refused instead of read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tintype.errors import WeightsUnusable

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]

#: How other files begin that people call checkpoints: zip (torch.save since 1.6), a bare pickle, GGUF.
ZIP, PICKLE, GGUF = b"PK\x03\x04", b"\x80", b"GGUF"
#: Bytes; the format's own limit.
LONGEST_HEADER = 100_000_000
#: The format's names of numbers → torch's.
FORMATS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Header:
    """What stands at the beginning of a file."""

    #: Tensors by name: format and shape.
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    #: What else whoever wrote it had to say.
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """A file's header; raises WeightsUnusable where it is another kind of file, or cut short."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin = file.read(8)
            length = int.from_bytes(begin, "little")
            said = json.loads(file.read(min(length, LONGEST_HEADER)))
        metadata = said.pop("__metadata__", {})
        whole = 8 + length + max((entry["data_offsets"][1] for entry in said.values()), default=0)
        tensors = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in said.items()}
    except OSError as error:
        raise WeightsUnusable(f"{shown(path)} can't be read: {_why(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsUnusable(_refusal(shown(path), begin)) from error
    if size < whole:
        raise WeightsUnusable(f"{shown(path)} is cut short: it has {size:,} of {whole:,} bytes; fetch it again")
    return Header(tensors, metadata)


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
            tensors[name.removeprefix(prefix)] = torch.empty(shape, dtype=getattr(torch, FORMATS[form]), device="meta")
    return tensors


def shown(path: Path) -> str:
    """A file's name, with its folder's where every component's file is called the same."""
    generic = path.name.startswith(("model", "diffusion_pytorch_model"))
    return f"{path.parent.name}/{path.name}" if generic else path.name


def _refusal(name: str, begin: bytes) -> str:
    if begin.startswith((ZIP, PICKLE)):
        return (
            f"{name} is a pickle, and loading one runs whatever code somebody put into it: on a machine that holds "
            "nothing of value, convert it to safetensors, and name that file instead"
        )
    if begin.startswith(GGUF):
        return f"{name} is a GGUF file, which is not supported: name a safetensors file"
    return f"{name} can't be read: it is not a whole safetensors file"


def _why(error: OSError) -> str:
    """What is wrong with a file, without the folders that lead to it."""
    return "there is no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
