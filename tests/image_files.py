"""Picture files, made in memory."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

#: What begins a scan of a JPEG.
SCAN = b"\xff\xda"


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def scanned(data: bytes, scans: int) -> bytes:
    """A JPEG with its last scan repeated until it has that many."""
    last = data.rindex(SCAN)
    return data[:last] + data[last:-2] * (scans - data.count(SCAN) + 1) + b"\xff\xd9"
