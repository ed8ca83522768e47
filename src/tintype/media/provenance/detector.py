"""Reading marks of strangers' images in child processes, as `media/decoder.py` decodes them.

`python -m tintype.media.provenance.detector` is the child.
"""

from __future__ import annotations

from dataclasses import asdict

from tintype.media.network import Cancellation
from tintype.media.provenance.findings import Findings
from tintype.media.provenance.verify import MAX_PIXELS, Anchors, prepare, read
from tintype.media.sandbox import Json, Limits, Sandbox, serve

#: Max bytes of a child's address space: c2pa, numpy and scipy, and per pixel an image and what a mark is sought in.
BASE_MEMORY, MEMORY_PER_PIXEL = 2**30, 40
#: NumPy's library for matrices starts a thread per core when it is imported, each with memory of its own.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


class Detector:
    """Its first call takes half a second more, as it starts a child; safe to share between threads.

    max_pixels: of an image. seconds: of CPU time per image.
    """

    def __init__(self, max_pixels: int, seconds: float) -> None:
        self._max_pixels = min(max_pixels, MAX_PIXELS)
        limits = Limits(BASE_MEMORY + MEMORY_PER_PIXEL * self._max_pixels, seconds)
        self._children = Sandbox("tintype.media.provenance.detector", limits, environment=ONE_THREAD)

    def close(self) -> None:
        """End the children that have nothing in hand."""
        self._children.close()

    def read(self, data: bytes, anchors: Anchors, tag: bytes = b"") -> Findings:
        """What `verify.read` finds; raises BadPicture, also where the file is too much for a child."""
        job = {"anchors": asdict(anchors), "tag": tag.hex(), "max_pixels": self._max_pixels}
        found, _ = self._children.ask(job, data, Cancellation())
        return Findings.from_json(found)


# The child


def _answer(job: Json, data: bytes) -> tuple[Json, bytes]:
    anchors, tag = Anchors(**job["anchors"]), bytes.fromhex(job["tag"])
    return read(data, anchors, tag, job["max_pixels"]).to_json(), b""


if __name__ == "__main__":
    serve(_answer, prepare)
