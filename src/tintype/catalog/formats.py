"""The file formats of finished images: one row each, from which follows what is offered, written and served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from tintype.errors import InvalidParameter

#: From this quality on, chroma has full resolution.
FINE = 90


@dataclass(frozen=True, kw_only=True)
class FileFormat:
    """A file format, named as Pillow names it."""

    title: str
    #: Suffixes that a file's name may have.
    suffixes: tuple[str, ...]
    #: Quality of 1–100 → options of Pillow's `save`; None for a lossless format.
    options: Callable[[int], Mapping[str, Any]] | None = None
    #: Whether each model that has formats to choose from offers it, next to those of the vendor's contract.
    everywhere: bool = False
    #: The module of Pillow that writes it, which some builds lack.
    module: str = "PIL._imaging"

    @property
    def name(self) -> str:
        """As parameters, answers and stored files have it."""
        return self.title.lower()

    @property
    def content_type(self) -> str:
        return f"image/{self.name}"

    @cached_property
    def available(self) -> bool:
        """Whether this machine's Pillow reads and writes it; nothing is loaded."""
        return find_spec(self.module) is not None


def _chroma(quality: int) -> str:
    return "4:4:4" if quality >= FINE else "4:2:0"


ROWS = (
    FileFormat(
        title="JPEG",
        suffixes=(".jpg", ".jpeg"),
        options=lambda quality: {"quality": quality, "subsampling": _chroma(quality)},
    ),
    FileFormat(title="PNG", suffixes=(".png",)),
    FileFormat(
        title="WebP",
        suffixes=(".webp",),
        # 1024² takes half the time of the default, method 4, for 2 % more bytes.
        options=lambda quality: {"quality": quality, "method": 1},
        module="PIL._webp",
    ),
    FileFormat(
        title="AVIF",
        suffixes=(".avif",),
        # 1024² takes an eighth of the time of speed 6, the default, for 6 to 9 % more bytes. One thread: others share
        # the cores, and the file doesn't depend on their number.
        options=lambda quality: {"quality": quality, "subsampling": _chroma(quality), "speed": 9, "max_threads": 1},
        everywhere=True,
        module="PIL._avif",
    ),
)
FORMATS: Mapping[str, FileFormat] = {row.name: row for row in ROWS}


def offered() -> list[FileFormat]:
    """Those that this machine's Pillow writes."""
    return [row for row in ROWS if row.available]


def find(name: str) -> FileFormat:
    """The row of an available format; raises InvalidParameter for any other name."""
    row = FORMATS.get(name)
    if row is None or not row.available:
        raise InvalidParameter("format", name, f"one of {', '.join(row.name for row in offered())}")
    return row


def alternatives(titles: Iterable[str]) -> str:
    """As in "JPEG, PNG or WebP"."""
    *others, last = titles
    return f"{', '.join(others)} or {last}" if others else last
