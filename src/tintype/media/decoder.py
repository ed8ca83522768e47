"""Decoding in sandboxed child processes: whatever a file does to a decoder is limited, cancellable, and contained.

`python -m tintype.media.decoder` is the child. It returns the image in the size that a model takes, not in the file's.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self, get_args

from PIL import Image

from tintype.core import Fit, Size
from tintype.media.images import decode, digest
from tintype.media.sandbox import Json, Limits, Sandbox, serve
from tintype.media.scaling import fit, output_size

if TYPE_CHECKING:
    from tintype.media.network import Cancellation  # which children do without: it brings httpcore

#: Max bytes of a child's address space: base, and per pixel of the largest allowed image. An image with transparency
#: is decoded into two canvases (WebP), a copy and the result, of 4 bytes each. Measured at 50 megapixels: at most
#: 905 MB of address space, 815 MB of memory; most formats take half of it.
BASE_MEMORY, MEMORY_PER_PIXEL = 2**28, 16


class DecodeJob(NamedTuple):
    """Sent to a child with the file's bytes."""

    #: Size in pixels to return; 0 × 0 for the size that a model takes for an image of this size.
    width: int
    height: int
    #: Of a mask: the size in pixels of the image that it lies on; else 0 × 0.
    over_width: int = 0
    over_height: int = 0
    #: How it is fitted: its place in FITS.
    fit: int = 0

    @property
    def over(self) -> Size | None:
        return (self.over_width, self.over_height) if self.over_width else None


FITS: tuple[Fit, ...] = get_args(Fit)


class Decoded(NamedTuple):
    """An input image as a model takes it."""

    #: RGB, in the size that the job names.
    image: Image.Image
    #: Pixels of the file's image.
    size: Size
    #: `images.digest` of all its pixels.
    digest: str
    #: The file, where it may carry C2PA manifests, which what is made of it keeps.
    carrier: bytes | None = None


def reduced(
    data: bytes, max_pixels: int, width: int = 0, height: int = 0, over: Size | None = None, how: Fit = "cover"
) -> Decoded:
    """Decode in this process, and fit to a size, 0 × 0 being the size that a model takes; raises BadPicture.

    over: of a mask, the size of the image that it lies on: it is scaled to that first, and black where transparent.
    """
    image = decode(data, max_pixels, "black" if over else "white")
    laid = image.convert("L").resize(over).convert("RGB") if over and over != image.size else image
    return Decoded(fit(laid, *output_size(width, height, laid.size), how), image.size, digest(image))


class Decoder:
    """A pool of as many child processes as there are concurrent calls; safe to share between threads.

    max_pixels: of an image. seconds: CPU time that decoding one may take.
    """

    def __init__(self, max_pixels: int, seconds: float) -> None:
        self.max_pixels = max_pixels
        limits = Limits(BASE_MEMORY + MEMORY_PER_PIXEL * max_pixels, seconds)
        self._children = Sandbox("tintype.media.decoder", limits, str(max_pixels))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the idle children; the others end with their image."""
        self._children.close()

    def warm(self) -> None:
        """Start a child for the next call, which takes a fifth of a second; raises RuntimeError."""
        self._children.warm()

    def reduced(
        self,
        data: bytes,
        width: int,
        height: int,
        cancellation: Cancellation,
        over: Size | None = None,
        how: Fit = "cover",
    ) -> Decoded:
        """The function `reduced`, in a child. Raises BadPicture, also when the child crashes or reaches a limit.

        When cancelled, from another thread, it kills the child and raises CancelledError immediately.
        """
        job = DecodeJob(width, height, *(over or (0, 0)), FITS.index(how))
        about, pixels = self._children.ask(job._asdict(), data, cancellation)
        image = Image.frombytes("RGB", tuple(about["fitted"]), pixels)
        return Decoded(image, tuple(about["size"]), about["digest"])


# The child


def _answer(max_pixels: int, job: Json, data: bytes) -> tuple[Json, bytes]:
    wanted = DecodeJob(**job)
    decoded = reduced(data, max_pixels, wanted.width, wanted.height, wanted.over, FITS[wanted.fit])
    about = {"size": decoded.size, "fitted": decoded.image.size, "digest": decoded.digest}
    return about, decoded.image.tobytes()


if __name__ == "__main__":
    serve(partial(_answer, int(sys.argv[3])), Image.preinit)
