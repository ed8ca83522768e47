"""Delivery: the files of a test request, and the result that names them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tintype.catalog.samples import sample_path
from tintype.media.breaker import StorageBreaker
from tintype.media.images import Encoded, check, encode
from tintype.media.samples import draw as draw_sample
from tintype.media.scaling import output_size
from tintype.media.storage import Storage
from tintype.testmode.act import Act
from tintype.testmode.picture import draw

#: The size that an input picture is taken to have where it is not known: one elsewhere is not downloaded.
ELSEWHERE = (1024, 1024)


class Delivery:
    """Draws what an act's order wants, at the size that a model would have drawn.

    input_size: what is known of the size of a request's input picture. max_pixels: most pixels of one.
    """

    def __init__(self, input_size: Callable[[str], tuple[int, int] | None], outputs: Storage, max_pixels: int) -> None:
        self._input_size = input_size
        self._outputs = outputs
        self.breaker = StorageBreaker(outputs)
        self._max_pixels = max_pixels

    def result(self, act: Act) -> dict[str, Any]:
        """What the request is completed with, its files being there; raises BadPicture and StorageUnavailable."""
        wanted, slug = act.order, act.request.slug
        size = output_size(wanted.width, wanted.height, self._source_size(act))
        drawn = ((draw(slug, wanted.prompt, seed, *size), seed) for seed in wanted.seeds)
        files = (Encoded(encode(one, wanted.format, wanted.quality), *size, seed) for one, seed in drawn)
        with self.breaker.guarding():
            pictures = [file.store(self._outputs, wanted.format).to_json() for file in files]
        # There is nothing to make again by a recipe.
        made = {"pictures": pictures, "format": wanted.format, "seed": wanted.seed, "recipe": None}
        # The scripted time: what is measured would differ from run to run.
        return made | {"inference_time": act.script.processing}

    def _source_size(self, act: Act) -> tuple[int, int] | None:
        """Width and height of the input picture; None when the order has none."""
        image = act.order.source
        if sample := sample_path(image):
            return _sample_size(sample, self._max_pixels)
        return (self._input_size(act.request.id) or ELSEWHERE) if image else None


@cache
def _sample_size(path: str, max_pixels: int) -> tuple[int, int]:
    """Of a sample; kept, as drawing one takes a third of a second."""
    return check(draw_sample(path), max_pixels)
