"""A contact sheet: what went into each model and what came out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tintype.catalog.samples import sample_path

TILE, MARGIN, CAPTION, TITLE = 300, 16, 30, 40
INK, PAPER = "#222222", "#f6f2ea"
#: Slug, request and file of a picture.
Entry = tuple[str, Mapping[str, Any], Path]


def contact_sheet(address: str, pictures: Iterable[Entry], path: Path) -> None:
    """Write a sheet of one row per model: its input picture, if it has one, then what came of each prompt."""
    rows = [(slug, list(entries)) for slug, entries in groupby(pictures, key=lambda entry: entry[0])]
    columns = 1 + max(len(entries) for _, entries in rows)
    height = TITLE + TILE + CAPTION
    sheet = Image.new("RGB", (MARGIN + columns * (TILE + MARGIN), len(rows) * height + MARGIN), PAPER)
    for row, (slug, entries) in enumerate(rows):
        top = row * height
        _write(sheet, (MARGIN, top + MARGIN), slug, 18)
        sample = sample_path(str(entries[0][1].get("image", "")))
        given = io.BytesIO(httpx2.get(address + sample).raise_for_status().content) if sample else None
        _paste(sheet, given, (MARGIN, top + TITLE), sample or "from text alone")
        for column, (_, request, file) in enumerate(entries, start=1):
            _paste(sheet, file, (MARGIN + column * (TILE + MARGIN), top + TITLE), str(request["prompt"]))
    sheet.save(path, quality=92)


def _paste(sheet: Image.Image, source: io.BytesIO | Path | None, corner: tuple[int, int], caption: str) -> None:
    """A picture, or an empty frame, with its caption below."""
    left, top = corner
    _write(sheet, (left, top + TILE + CAPTION // 4), caption, 14)
    if source is None:
        ImageDraw.Draw(sheet).rectangle((left, top, left + TILE, top + TILE), outline=INK)
        return
    with Image.open(source) as picture:
        sheet.paste(ImageOps.pad(picture.convert("RGB"), (TILE, TILE), color=PAPER), corner)


def _write(sheet: Image.Image, corner: tuple[int, int], words: str, size: int) -> None:
    """A line of text, cut to a tile's width."""
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    while pen.textlength(words, font) > TILE:
        words = words.rstrip("…")[:-1] + "…"
    pen.text(corner, words, fill=INK, font=font)
