"""A picture that was made: its size, its file, and what a request's result says of it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from tintype.core import GenerationParams, Output
from tintype.media.images import encode
from tintype.media.scaling import fitted_size
from tintype.media.storage import Storage


@dataclass(frozen=True)
class Encoded:
    """A finished picture as a file's bytes."""

    data: bytes
    width: int
    height: int
    seed: int

    def store(self, outputs: Storage, suffix: str) -> Output:
        """Put it where it is fetched from; raises StorageUnavailable."""
        return Output(outputs.put(self.data, suffix), len(self.data), self.width, self.height, self.seed)


def encoded(order: GenerationParams, picture: Image.Image, seed: int, note: str = "", parameters: str = "") -> Encoded:
    """The file that the order wants of a picture with this seed; the two texts are as `encode` has them."""
    data = encode(picture, order.format, order.quality, note, parameters)
    return Encoded(data, picture.width, picture.height, seed)


def output_size(order: GenerationParams, source: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height in pixels of the pictures that the order will get; `source` is the input picture's size."""
    if source is not None and not order.width:
        return fitted_size(*source)
    return order.width, order.height
