"""Which weights: a folder or file, LoRAs on top, their metadata; and the built-in ones, which `training/` makes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from tintype.errors import InvalidParameter, WeightsUnusable
from tintype.families import FAMILIES
from tintype.families.training import is_number

#: Of a file's fingerprint: bytes at each end, and how many samples in between, of how many bytes. A fine-tune may
#: change as little as every attention's matrices, anywhere in the file.
END_BYTES, SAMPLES, SAMPLE_BYTES = 2**20, 64, 2**14
#: The file in a folder of weights that holds their metadata, if any.
METADATA_FILE = "tintype.json"
#: Of a configuration or an index of shards: the largest published ones have a few hundred thousand bytes.
MAX_JSON_BYTES = 16 * 2**20
#: The folder next to the weights with their converted copies; not part of the weights themselves.
CACHE = ".tintype"
#: Files in one model's folder: a published repository with all its variants has some fifty.
MAX_FILES = 10_000
#: Native sizes are multiples of 16; no folder takes more T5 text than the settings allow.
MAX_NATIVE_SIZE, MAX_T5_TOKENS = 1024, 512
#: Where SD 3's third text encoder runs; `none` leaves it out.
T5Place = Literal["device", "cpu", "none"]
#: The built-in weights, one folder per family in the diffusers layout, shipped inside the package.
BUILTIN_FOLDER = Path(str(files("tintype") / "weights"))


@dataclass(frozen=True)
class WeightsMetadata:
    """How the weights differ from the published models."""

    #: Pixels of a square's side at which they draw best; other sizes are drawn at that area and then enlarged.
    #: None: they draw at the requested size.
    native_size: int | None = None
    #: Rows of T5 text that they were trained with; None leaves it to the settings.
    t5_tokens: int | None = None
    #: How much of the guidance above 1 that is asked for they take: small models burn out where large ones are at their
    #: best. With 0.25, a guidance of 7.5 is one of 2.6.
    guidance_share: float = 1.0

    def guidance(self, asked: float) -> float:
        """The guidance that they draw with; exactly what was asked for, to the bit, where they take all of it."""
        return asked - (1 - self.guidance_share) * (asked - 1)


@dataclass(frozen=True)
class Lora:
    """A LoRA's file, merged into the weights at load."""

    path: Path
    #: How much of it is added: 1 is as it was trained, 0 nothing, below 0 its opposite.
    scale: float = 1.0
    #: Whether one request asked for it: merged weights are not cached on disk then.
    per_request: bool = False


@dataclass(frozen=True)
class WeightsSpec:
    """Where a model's weights are, and what is done with them at load."""

    #: A folder in the diffusers layout, or one file in the original layout.
    path: Path
    loras: tuple[Lora, ...] = ()
    #: Components from files or folders of their own, by the name in `model_index.json`.
    components: tuple[tuple[str, Path], ...] = ()
    #: What the network predicts, where the file can't say it: `epsilon` or `v_prediction`.
    prediction: str | None = None
    #: Where SD 3's third text encoder runs; `none` leaves it out.
    t5: T5Place = "device"
    builtin: bool = False
    #: LoRAs that a request may choose by name, on top of `loras`.
    available_loras: tuple[tuple[str, Lora], ...] = ()
    #: Those of the refiner, which a request may ask for.
    refiner: WeightsSpec | None = None

    @property
    def metadata(self) -> WeightsMetadata:
        """The folder's `tintype.json`; the defaults where there is none. Raises WeightsUnusable."""
        path = self.path / METADATA_FILE
        if not path.is_file():
            return WeightsMetadata()
        content = read_json(path)
        size, tokens, share = content.get("native_size"), content.get("t5_tokens"), content.get("guidance_share", 1.0)
        known = _is_whole(size, 64, MAX_NATIVE_SIZE) and _is_whole(tokens, 1, MAX_T5_TOKENS)
        if not (known and is_number(share) and 0 < share <= 1):
            allowed = (
                f"whole numbers, native_size from 64 to {MAX_NATIVE_SIZE} and t5_tokens from 1 to {MAX_T5_TOKENS}, "
                "and guidance_share above 0, up to 1"
            )
            raise WeightsUnusable(f"{METADATA_FILE}: {content} was found; allowed are {allowed}")
        return WeightsMetadata(size, tokens, share)

    def with_loras(self, chosen: Iterable[tuple[str, float]]) -> WeightsSpec:
        """With available LoRAs on top, each times its strength; raises InvalidParameter for any other."""
        available = dict(self.available_loras)
        added = []
        for name, strength in chosen:
            if name not in available:
                raise InvalidParameter("loras", name, ", ".join(available) or "none: this model offers no LoRAs")
            added.append(replace(available[name], scale=available[name].scale * strength, per_request=True))
        return replace(self, loras=(*self.loras, *added))

    @property
    def fingerprint(self) -> str:
        """A short name for the weights, which other weights don't have, wherever they are. Raises WeightsUnusable."""
        digest = hashlib.blake2b(digest_size=12)
        for root in (self.path, *(path for _, path in self.components)):
            for file in list_files(root):
                digest.update(f"{file.name if file == root else file.relative_to(root)} ".encode())
                hash_file(digest, file)
        for lora in self.loras:
            digest.update(f"{lora.scale} ".encode())
            hash_file(digest, lora.path)
        digest.update(f"{self.prediction} {self.t5 == 'none'}".encode())
        return digest.hexdigest()


def has_builtin(family: str, *, few_steps: bool = False) -> bool:
    """Whether a family has built-in weights, and a LoRA for few steps where that is asked for."""
    builtin = FAMILIES[family].builtin
    return builtin is not None and (bool(builtin.few_steps) or not few_steps)


@cache
def builtin_weights(family: str, *, few_steps: bool = False) -> WeightsSpec:
    """A family's built-in weights; `few_steps` adds its LoRA that draws in four steps without guidance.

    Raises WeightsUnusable for a family without such weights.
    """
    builtin = FAMILIES[family].builtin
    if builtin is None or (few_steps and not builtin.few_steps):
        kind = "few-step" if builtin else "built-in"
        raise WeightsUnusable(f"no weights are configured, and the family {family} has no {kind} ones")
    loras = (Lora(BUILTIN_FOLDER / builtin.few_steps),) if few_steps else ()
    return WeightsSpec(BUILTIN_FOLDER / builtin.folder, loras, builtin=True)


def list_files(path: Path) -> list[Path]:
    """The file itself, or the sorted files of a folder except for our own cache.

    Follows symbolic links, to folders too, but not in cycles. Raises WeightsUnusable for a folder with too many files
    for a model's.
    """
    if path.is_file():
        return [path]
    found: list[Path] = []
    for visited, (top, folders, names) in enumerate(os.walk(path, followlinks=True)):
        here = Path(top)
        folders[:] = [name for name in folders if name != CACHE and not _is_cycle(here / name)]
        found += [here / name for name in names if (here / name).is_file()]
        if max(visited, len(found)) > MAX_FILES:
            raise WeightsUnusable(f"{path.name} has more than {MAX_FILES:,} files: name the folder of one model")
    return sorted(found)


def _is_cycle(folder: Path) -> bool:
    """Whether it is a link to one of the folders above it."""
    return folder.is_symlink() and any(folder.samefile(above) for above in folder.absolute().parents)


def hash_file(digest: hashlib.blake2b, file: Path) -> None:
    """Add a file's size, its ends, and samples in between (a safetensors file begins with the table of its tensors).

    Reading tens of gigabytes in full would take as long as loading them. Raises WeightsUnusable.
    """
    try:
        size = file.stat().st_size
        digest.update(f"{size}\n".encode())
        with file.open("rb") as content:
            digest.update(content.read(END_BYTES))
            content.seek(max(0, size - END_BYTES))
            digest.update(content.read(END_BYTES))
            for index in range(SAMPLES if size > 2 * END_BYTES else 0):
                content.seek(END_BYTES + (size - 2 * END_BYTES) * index // SAMPLES)
                digest.update(content.read(SAMPLE_BYTES))
    except OSError as error:
        raise WeightsUnusable(f"{file.name} can't be read: {type(error).__name__}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises WeightsUnusable that names the file, not its folder."""
    try:
        if regular_size(path) > MAX_JSON_BYTES:
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


def _is_whole(number: object, min_: int, max_: int) -> bool:
    """Whether it is absent, or a whole number within limits."""
    return number is None or (type(number) is int and min_ <= number <= max_)
