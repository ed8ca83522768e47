"""The sample images that the server serves, drawn with code: free of others' rights, and the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tintype.errors import NotFound
from tintype.media.samples import landscape, portrait, subject
from tintype.media.samples.canvas import Canvas

DRAWINGS: dict[str, Callable[[], Canvas]] = {
    "/sd-img2img-input.jpeg": landscape.draw,
    "/sd-inpainting-mask.jpeg": landscape.mask,
    "/sd3-img2img-ip.jpg": portrait.draw,
    "/sd3-turbo-i2i-input.jpg": subject.draw,
}
#: The paths at which they are served.
SAMPLES = tuple(DRAWINGS)


@cache
def draw(path: str) -> bytes:
    """The JPEG file served at a path of SAMPLES, drawn once (under a second); raises NotFound for any other path."""
    if path not in DRAWINGS:
        raise NotFound("no such sample image")
    return DRAWINGS[path]().jpeg()
