"""How large components are, told by the tables that their files begin with: no tensor is read, torch not needed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tintype.checkpoints.component import Component
from tintype.errors import WeightsUnusable

#: A safetensors file begins with the length of its table, in 8 bytes; longer tables than this are none (the format's
#: own limit, github.com/huggingface/safetensors).
LENGTH, LONGEST = 8, 100_000_000


def memory_bytes(components: Iterable[Component], itemsize: int) -> int:
    """Bytes that components take in memory with `itemsize` bytes per number; a file that several share counts once.

    Raises WeightsUnusable.
    """
    files = {file for component in components for file in component.files}
    numbers: int = sum(math.prod(entry["shape"]) for file in files for entry in table(file))
    return itemsize * numbers


def table(file: Path) -> list[dict[str, Any]]:
    """The entries of a file's tensors: `dtype`, `shape`, `data_offsets`. Raises WeightsUnusable."""
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(LENGTH), "little")
            entries = json.loads(content.read(length)) if length <= LONGEST else None
    except (OSError, ValueError) as error:
        raise WeightsUnusable(f"{file.parent.name}/{file.name} can't be read: {type(error).__name__}") from error
    if not isinstance(entries, dict):
        raise WeightsUnusable(f"{file.parent.name}/{file.name} is not a safetensors file")
    return [entry for name, entry in entries.items() if name != "__metadata__"]
