"""Which weights: a folder in the diffusers layout, perhaps a LoRA on top, and what the folder says of itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tintype.errors import WeightsUnusable

#: Bytes of each end of a file that its fingerprint covers.
SAMPLED = 2**20
#: The file in a folder that holds its traits, if it has any.
TRAITS = "tintype.json"
#: Multiples of 16, as every side is; and no folder takes more T5 text than the settings allow.
LARGEST_NATIVE, MOST_T5_TOKENS = 1024, 512


@dataclass(frozen=True)
class Traits:
    """What weights ask for, where they differ from the published models."""

    #: Pixels of a square's side at which they draw best; other sizes are drawn at that area and then enlarged.
    #: None: they draw at the size that was asked for.
    native_size: int | None = None
    #: Rows of T5 text that they were trained with; None leaves it to the settings.
    t5_tokens: int | None = None


@dataclass(frozen=True)
class Weights:
    """Where a model's weights are."""

    folder: Path
    #: A LoRA for the transformer, merged into it at load.
    lora: Path | None = None
    #: Whether they are the ones that tintype brings along.
    builtin: bool = False

    @property
    def traits(self) -> Traits:
        """What the folder's `tintype.json` says; nothing where there is none. Raises WeightsUnusable."""
        path = self.folder / TRAITS
        if not path.exists():
            return Traits()
        said = read_json(path)
        traits = Traits(said.get("native_size"), said.get("t5_tokens"))
        if not _whole(traits.native_size, LARGEST_NATIVE, 64) or not _whole(traits.t5_tokens, MOST_T5_TOKENS, 1):
            allowed = f"native_size from 64 to {LARGEST_NATIVE} and t5_tokens from 1 to {MOST_T5_TOKENS}"
            raise WeightsUnusable(f"{TRAITS}: {said} is not understood; allowed are whole numbers, {allowed}")
        return traits

    @property
    def fingerprint(self) -> str:
        """A short name for the weights: others have another, wherever they lie.

        It covers each file's name, size, beginning and end (a safetensors file begins with the table of its tensors):
        reading tens of gigabytes in full would take as long as loading them.
        """
        hashed = hashlib.blake2b(digest_size=12)
        found = [(file, file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file()]
        for file, name in sorted(found) + ([(self.lora, Path(self.lora.name))] if self.lora else []):
            size = file.stat().st_size
            hashed.update(f"{name} {size}\n".encode())
            with file.open("rb") as content:
                hashed.update(content.read(SAMPLED))
                content.seek(max(0, size - SAMPLED))
                hashed.update(content.read(SAMPLED))
        return hashed.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises WeightsUnusable that names the file, not the folder it lies in."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsUnusable(f"{path.name} can't be read: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise WeightsUnusable(f"{path.name} is not a JSON object")
    return content


def _whole(number: object, most: int, least: int) -> bool:
    """Whether it is absent, or a whole number within limits."""
    return number is None or (type(number) is int and least <= number <= most)
