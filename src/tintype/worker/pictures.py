"""The input picture of an order: a stored file, a sample, or something to download."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from PIL import Image

from tintype.catalog.order import OWN_FILES, STORED, Order
from tintype.catalog.samples import sample_path
from tintype.errors import BadPicture, NotFound
from tintype.media.fetch import Fetcher
from tintype.media.images import decode
from tintype.media.inline import from_text
from tintype.media.samples import draw
from tintype.media.scaling import fitted_size
from tintype.media.storage import Storage, open_storage
from tintype.settings import Settings


class Pictures:
    """Reads input pictures; nothing else in the worker knows where they come from."""

    def __init__(
        self, inputs: Storage, fetcher: Fetcher, max_bytes: int, max_pixels: int, files: Sequence[Storage] = ()
    ) -> None:
        self.inputs = inputs
        #: Uploads and outputs, which requests may name.
        self.files = files
        self.fetcher = fetcher
        self.max_bytes = max_bytes
        self.max_pixels = max_pixels

    @classmethod
    def from_settings(cls, settings: Settings) -> Pictures:
        """As the operator configured them; what a request was told to read is there until it ends, whatever its age."""
        folders = settings.inputs_folder, settings.outputs_folder, settings.assets_folder
        inputs, *files = (open_storage(settings, folder, math.inf) for folder in folders)
        fetcher = Fetcher(settings.fetch_allow, settings.max_picture_bytes, settings.fetch_timeout)
        return cls(inputs, fetcher, settings.max_picture_bytes, settings.max_picture_pixels, files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.fetcher.close()

    def fetch(self, order: Order, limit: Callable[[], int | None]) -> Image.Image | None:
        """As `read`; raises BadPicture too when pictures of its size are more than `limit` says, in pixels."""
        picture = self.read(order)
        if picture is None or order.width:
            return picture  # their size was known when they were asked for
        pixels, most = order.pixels(*fitted_size(*picture.size)), limit()
        if most is not None and pixels > most:
            raise BadPicture(f"image: at its size these are {pixels} pixels; this API key may ask for {most} at once")
        return picture

    def read(self, order: Order) -> Image.Image | None:
        """The order's picture, decoded to RGB; None when it has none. Raises BadPicture."""
        return decode(self._bytes(order.image), self.max_pixels) if order.image else None

    def _bytes(self, image: str) -> bytes:
        if image.startswith(STORED):
            return _kept(image.removeprefix(STORED), [self.inputs])
        if image.startswith(OWN_FILES):
            return _kept(image.removeprefix(OWN_FILES), self.files)
        if sample := sample_path(image):
            return draw(sample)
        inline = from_text(image, self.max_bytes)
        return self.fetcher.get(image) if inline is None else inline


def _kept(name: str, places: Sequence[Storage]) -> bytes:
    for place in places:
        with suppress(NotFound):
            return place.get(name)
    raise BadPicture("image: this server keeps no such file (any more)")
