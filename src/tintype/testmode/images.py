"""The files of a test request: gradients that its own words choose, plainly marked as a test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import cos, pi, sin

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tintype.catalog.infotext import asked_infotext
from tintype.catalog.samples import sample_path
from tintype.core import GenerationParams, Output, Size
from tintype.media.images import Encoded, check, encode
from tintype.media.provenance.marker import NO_MARKS, Marker
from tintype.media.provenance.source import Origin
from tintype.media.samples import draw as draw_sample
from tintype.media.scaling import output_size
from tintype.media.storage import Storage, StorageBreaker
from tintype.store.db.records import Request

MARK = "TEST"
#: Rows of Pillow's own gradient between which an image lies; a little off its ends, where it would read outside.
FIRST, LAST = 4, 252
#: The size that an unknown input image is taken to have: one elsewhere is not downloaded.
ELSEWHERE = (1024, 1024)


class FakeOutputs:
    """Draws and stores the images of test requests, in the sizes that a model would make.

    input_size: what is known of the size of a request's input image. max_pixels: of a sample.
    """

    def __init__(
        self,
        input_size: Callable[[str], Size | None],
        storage: Storage,
        max_pixels: int,
        marker: Marker = NO_MARKS,
    ) -> None:
        self._input_size = input_size
        self._marker = marker
        self._storage = storage
        self.breaker = StorageBreaker(storage)
        self._max_pixels = max_pixels

    def store(self, request: Request, params: GenerationParams) -> tuple[tuple[Output, ...], tuple[str, ...]]:
        """Its files, drawn one after the other, and warnings.

        Raises BadPicture, MarkUnavailable and StorageUnavailable.
        """
        self._marker.expect()
        size = output_size(params.width, params.height, self._source_size(request, params.source))
        with self.breaker.guarding():
            stored = [self._store(request.slug, params, seed, size) for seed in params.seeds]
        warnings = dict.fromkeys(warning for _, warning in stored if warning)
        return tuple(output for output, _ in stored), tuple(warnings)

    def _store(self, slug: str, params: GenerationParams, seed: int, size: Size) -> tuple[Output, str]:
        origin = Origin("algorithmicMedia", slug)  # no model drew it
        image = draw(slug, params.prompt, seed, *size)
        # A client that named the model reads these words; there is no recipe, as nothing can be made again.
        words = asked_infotext(slug, replace(params, seed=seed), size) if params.checkpoint else ""
        data = encode(image, params.format, params.quality, parameters=words, xmp=self._marker.xmp(origin))
        marked = self._marker.sign(data, origin)
        return Encoded(marked.data, *size, seed).store(self._storage, params.format), marked.warning

    def _source_size(self, request: Request, source: str) -> Size | None:
        """Width and height of the input image; None for text to image."""
        if sample := sample_path(source):
            return _sample_size(sample, self._max_pixels)
        return (self._input_size(request.id) or ELSEWHERE) if source else None


@cache
def _sample_size(path: str, max_pixels: int) -> Size:
    """Cached, as drawing a sample takes a third of a second."""
    return check(draw_sample(path), max_pixels)


def draw(slug: str, prompt: str, seed: int, width: int, height: int) -> Image.Image:
    """RGB, `width` × `height` pixels: the same for the same model, prompt, seed and size."""
    digest = hashlib.sha256(repr((slug, prompt, seed)).encode()).digest()
    first, last = (digest[0], digest[1], digest[2]), (digest[3], digest[4], digest[5])
    image = ImageOps.colorize(_slope(width, height, digest[6] / 256 * 2 * pi), first, last)
    _write(image, MARK, 0.42, min(width // 4, height // 3))
    _write(image, f"seed {seed}", 0.72, max(width // 16, 6))
    return image


def _slope(width: int, height: int, turn: float) -> Image.Image:
    """Grey from dark to light in the direction of `turn`, in radians."""
    steep = (LAST - FIRST) / (abs(cos(turn)) + abs(sin(turn)))
    across, down = steep * cos(turn), steep * sin(turn)
    middle = (FIRST + LAST - across - down) / 2
    # For each pixel (x, y), where to look: always in the gradient's middle column, and in this row.
    where = (0, 0, 128, across / width, down / height, middle)
    return Image.linear_gradient("L").transform((width, height), Image.Transform.AFFINE, where)


def _write(image: Image.Image, text: str, down: float, size: int) -> None:
    """White on a black edge, legible on any colour; `down` is its middle, as a share of the height."""
    place = (image.width / 2, image.height * down)
    edge = max(1, size // 16)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text(place, text, "white", font, "mm", stroke_width=edge, stroke_fill="black")
