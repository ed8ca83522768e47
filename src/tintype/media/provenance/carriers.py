"""Input images whose manifests are kept: read in a child process first, with limits, since signing itself has none.

`python -m tintype.media.provenance.carriers` is the child. It signs with the file as an ingredient, as is done with the
finished image later: a file of a few megabytes can hold a thousand manifests, which take minutes, or what crashes c2pa.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import structlog
from PIL import Image

from tintype.errors import BadPicture
from tintype.media.images import encode
from tintype.media.network import Cancellation
from tintype.media.provenance.certificates import issue
from tintype.media.provenance.manifests import ManifestSigner
from tintype.media.provenance.source import Origin, carrier
from tintype.media.sandbox import Json, Limits, Sandbox, serve

log = structlog.get_logger()

#: Bytes of a child's address space: c2pa, a file of 25 MB a few times, and manifests that are compressed in it.
MEMORY = 2**30
#: Seconds of CPU time for the manifests of one file. A hundred of them take half of one.
SECONDS = 2.0


class Carriers:
    """Its first call takes half a second more, as it starts a child; safe to share between threads.

    seconds: of CPU time per file.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._children = Sandbox("tintype.media.provenance.carriers", Limits(MEMORY, seconds))

    def close(self) -> None:
        """End the children that have nothing in hand."""
        self._children.close()

    def of(self, data: bytes, cancellation: Cancellation) -> bytes | None:
        """The file itself if it may carry manifests and they can be kept, else None; never raises BadPicture."""
        if carrier(data) is None:
            return None
        try:
            answer, _ = self._children.ask({}, data, cancellation)
        except BadPicture:
            answer = {"kept": False}
        if not answer["kept"]:
            log.warning("the manifests of an input image can't be kept")
            return None
        return data


# The child


def _answer(signer: ManifestSigner, blank: bytes, _: Json, data: bytes) -> tuple[Json, bytes]:
    return {"kept": signer.keeps(blank, Origin("algorithmicMedia", "", "inputTo", data))}, b""


def _serve() -> None:
    # A pair of its own, made for this: the server's key doesn't come near a stranger's bytes.
    pair = issue("trial", b"", datetime.now(UTC))
    signer = ManifestSigner(pair.chain, pair.key)
    blank = encode(Image.new("RGB", (8, 8)), "png")
    serve(partial(_answer, signer, blank), lambda: None)


if __name__ == "__main__":
    _serve()
