"""Which weights: a folder or a file, what is added to them, what the folder says of itself, and the built-in ones."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from tintype.errors import InvalidParameter, WeightsUnusable

#: Bytes of each end of a file that its fingerprint covers, and how many places between and bytes at each: what was
#: trained anew may be anywhere, and as little as every attention's matrices.
SAMPLED, PLACES, AT_EACH = 2**20, 64, 2**14
#: The file in a folder that holds its traits, if it has any.
TRAITS = "tintype.json"
#: Bytes of a configuration or an index of shards: the largest published ones have a few hundred thousand.
LONGEST_JSON = 16 * 2**20
#: The folder beside the weights in which converted copies are kept; no part of the weights themselves.
CACHE = ".tintype"
#: Files of one model's folder: a published repository with all its variants has some fifty.
MOST_FILES = 10_000
#: Multiples of 16, as every side is; and no folder takes more T5 text than the settings allow.
LARGEST_NATIVE, MOST_T5_TOKENS = 1024, 512
#: Where SD 3's third text encoder runs, or that it is left out.
T5Place = Literal["device", "cpu", "none"]


@dataclass(frozen=True)
class Traits:
    """What weights ask for, where they differ from the published models."""

    #: Pixels of a square's side at which they draw best; other sizes are drawn at that area and then enlarged.
    #: None: they draw at the size that was asked for.
    native_size: int | None = None
    #: Rows of T5 text that they were trained with; None leaves it to the settings.
    t5_tokens: int | None = None


@dataclass(frozen=True)
class Lora:
    """A LoRA's file, added into the weights at load."""

    path: Path
    #: How much of it is added: 1 is as it was trained, 0 nothing, below 0 its opposite.
    scale: float = 1.0
    #: Whether one request asked for it: then nothing that it was merged into is kept on disk.
    passing: bool = False


@dataclass(frozen=True)
class Weights:
    """Where a model's weights are, and what is done with them at load."""

    #: A folder in the diffusers layout, or one file in the original layout.
    path: Path
    loras: tuple[Lora, ...] = ()
    #: Components that come from files or folders of their own, by the name in `model_index.json`.
    parts: tuple[tuple[str, Path], ...] = ()
    #: What the network predicts, where the file can't say it: `epsilon` or `v_prediction`.
    prediction: str | None = None
    #: Where SD 3's third text encoder runs, or that it is left out.
    t5: T5Place = "device"
    #: Whether they are the ones that tintype brings along.
    builtin: bool = False
    #: LoRAs that a request may ask for by name, on top of `loras`.
    available: tuple[tuple[str, Lora], ...] = ()

    @property
    def traits(self) -> Traits:
        """What the folder's `tintype.json` says; nothing where there is none. Raises WeightsUnusable."""
        path = self.path / TRAITS
        if not path.is_file():
            return Traits()
        said = read_json(path)
        traits = Traits(said.get("native_size"), said.get("t5_tokens"))
        if not _whole(traits.native_size, LARGEST_NATIVE, 64) or not _whole(traits.t5_tokens, MOST_T5_TOKENS, 1):
            allowed = f"native_size from 64 to {LARGEST_NATIVE} and t5_tokens from 1 to {MOST_T5_TOKENS}"
            raise WeightsUnusable(f"{TRAITS}: {said} is not understood; allowed are whole numbers, {allowed}")
        return traits

    def styled(self, chosen: Iterable[tuple[str, float]]) -> Weights:
        """With available LoRAs on top, each times its strength; raises InvalidParameter for any other."""
        there = dict(self.available)
        added = []
        for name, strength in chosen:
            if name not in there:
                raise InvalidParameter("loras", name, ", ".join(there) or "none: this model offers no LoRAs")
            added.append(replace(there[name], scale=there[name].scale * strength, passing=True))
        return replace(self, loras=(*self.loras, *added))

    @property
    def fingerprint(self) -> str:
        """A short name for the weights: others have another, wherever they lie. Raises WeightsUnusable."""
        hashed = hashlib.blake2b(digest_size=12)
        for root in (self.path, *(path for _, path in self.parts)):
            for file in files_in(root):
                hashed.update(f"{file.name if file == root else file.relative_to(root)} ".encode())
                hash_file(hashed, file)
        for lora in self.loras:
            hashed.update(f"{lora.scale} ".encode())
            hash_file(hashed, lora.path)
        hashed.update(f"{self.prediction} {self.t5 == 'none'}".encode())
        return hashed.hexdigest()


def files_in(path: Path) -> list[Path]:
    """The file itself, or those of a folder in order, what we have put there ourselves left out.

    Symbolic links are followed, to folders too, but never round in a circle. Raises WeightsUnusable for a folder that
    is no model's: one with too many files.
    """
    if path.is_file():
        return [path]
    found: list[Path] = []
    for visited, (top, folders, names) in enumerate(os.walk(path, followlinks=True)):
        here = Path(top)
        folders[:] = [name for name in folders if name != CACHE and not _leads_back(here / name)]
        found += [here / name for name in names if (here / name).is_file()]
        if max(visited, len(found)) > MOST_FILES:
            raise WeightsUnusable(f"{path.name} has more than {MOST_FILES:,} files in it: name the folder of one model")
    return sorted(found)


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to one of the folders that it lies in."""
    return folder.is_symlink() and any(folder.samefile(above) for above in folder.absolute().parents)


def hash_file(hashed: hashlib.blake2b, file: Path) -> None:
    """Take in a file's size, ends, and samples between (a safetensors file begins with the table of its tensors).

    Reading tens of gigabytes in full would take as long as loading them. Raises WeightsUnusable.
    """
    try:
        size = file.stat().st_size
        hashed.update(f"{size}\n".encode())
        with file.open("rb") as content:
            hashed.update(content.read(SAMPLED))
            content.seek(max(0, size - SAMPLED))
            hashed.update(content.read(SAMPLED))
            for place in range(PLACES if size > 2 * SAMPLED else 0):
                content.seek(SAMPLED + (size - 2 * SAMPLED) * place // PLACES)
                hashed.update(content.read(AT_EACH))
    except OSError as error:
        raise WeightsUnusable(f"{file.name} can't be read: {type(error).__name__}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises WeightsUnusable that names the file, not the folder it lies in."""
    try:
        if regular_size(path) > LONGEST_JSON:
            raise WeightsUnusable(f"{path.name} is larger than any configuration")
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise WeightsUnusable(f"{path.name} is not there") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsUnusable(f"{path.name} can't be read: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise WeightsUnusable(f"{path.name} is not a JSON object")
    return content


def regular_size(path: Path) -> int:
    """Bytes of a file; raises OSError, also for a pipe or a device, which might never end."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(found.st_mode):
        raise OSError
    return found.st_size


def is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold, and no boolean."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _whole(number: object, most: int, least: int) -> bool:
    """Whether it is absent, or a whole number within limits."""
    return number is None or (type(number) is int and least <= number <= most)


LORA = "pytorch_lora_weights.safetensors"
SHIPPED = Path(str(files("tintype") / "weights"))


def has_builtin(family: str) -> bool:
    """Whether a family has built-in weights."""
    return (SHIPPED / family / TRAITS).is_file()


def builtin_weights(family: str, *, few_steps: bool = False) -> Weights:
    """A family's built-in weights; `few_steps` adds the LoRA that draws in four steps without guidance.

    Raises WeightsUnusable for a family that has none.
    """
    if not has_builtin(family):
        raise WeightsUnusable(f"no weights are configured, and the family {family} has no built-in ones")
    loras = (Lora(SHIPPED / "turbo" / LORA),) if few_steps else ()
    return Weights(SHIPPED / family, loras, builtin=True)
