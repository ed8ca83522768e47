"""A contact sheet: what went into each model and what came out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import httpx2
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tintype.catalog.models import find_model
from tintype.catalog.samples import sample_path

TILE, MARGIN, CAPTION = 320, 16, 44
INK, PAPER = "#222222", "#f6f2ea"


def contact_sheet(address: str, pictures: Mapping[str, Path], path: Path) -> None:
    """Write a sheet of one column per model: its input picture, if it has one, above its output."""
    width = MARGIN + len(pictures) * (TILE + MARGIN)
    sheet = Image.new("RGB", (width, 2 * (TILE + CAPTION) + MARGIN), PAPER)
    for column, (slug, output) in enumerate(pictures.items()):
        left = MARGIN + column * (TILE + MARGIN)
        sample = sample_path(str(find_model(slug).example.get("image", "")))
        if sample:
            given = httpx2.get(address + sample).raise_for_status().content
            _paste(sheet, io.BytesIO(given), (left, 0), sample)
        else:
            _paste(sheet, None, (left, 0), "from text alone")
        _paste(sheet, output, (left, TILE + CAPTION), slug)
    sheet.save(path, quality=92)


def _paste(sheet: Image.Image, source: io.BytesIO | Path | None, corner: tuple[int, int], caption: str) -> None:
    left, top = corner
    pen = ImageDraw.Draw(sheet)
    pen.text((left, top + CAPTION // 3), caption, fill=INK, font=ImageFont.load_default(16))
    box = (left, top + CAPTION)
    if source is None:
        pen.rectangle((*box, left + TILE, top + CAPTION + TILE), outline=INK)
        return
    with Image.open(source) as picture:
        sheet.paste(ImageOps.pad(picture.convert("RGB"), (TILE, TILE), color=PAPER), box)
