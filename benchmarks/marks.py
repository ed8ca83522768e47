"""What it costs to mark an image, by format: `python -m benchmarks.marks`, and part of `make bench`.

Of each image, in turn: the bare file, with XMP and a signed manifest (`signed`), the same with an input image that has
a manifest (`edited`), and with the watermark (`full`). Milliseconds are of CPU time, medians of what is more than for
the bare file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from tintype.catalog.formats import offered
from tintype.media.images import encode
from tintype.media.provenance.certificates import issue
from tintype.media.provenance.manifests import ManifestSigner
from tintype.media.provenance.mark import put
from tintype.media.provenance.source import Origin

#: The model's sample image of the busy kind, scaled: files of smooth ones grow by a larger share with the watermark.
DRAWN = "web/pages/static/samples/sd1.5-txt2img.webp"
SIDES = (512, 1024)
NUMBER = bytes.fromhex("12347b0c55d1")
ORIGIN = Origin("trainedAlgorithmicMedia", "sd1.5-txt2img")


@dataclass(frozen=True)
class Row:
    """One format at one size."""

    format: str
    side: int
    way: str
    #: Of the file, and how many more they are than the bare file's.
    bytes: int
    more_bytes: int
    #: CPU time in addition to encoding the bare file.
    more_ms: float


def measure(rounds: int) -> list[Row]:
    """Every format and size, each way measured `rounds` times in turn with the others."""
    pair = issue("bench.example", b"\0\0", datetime.now(UTC))
    signer = ManifestSigner(pair.chain, pair.key)
    drawn = Image.open(str(files("tintype") / DRAWN)).convert("RGB")
    return [
        row
        for side in SIDES
        for format in offered()
        for row in _rows(signer, drawn.resize((side, side), Image.Resampling.LANCZOS), format.name, rounds)
    ]


def _rows(signer: ManifestSigner, image: Image.Image, format: str, rounds: int) -> list[Row]:
    xmp = ORIGIN.xmp()
    parent = signer.sign(encode(image, format), ORIGIN)
    edited = Origin("compositeWithTrainedAlgorithmicMedia", "sd1.5-img2img", "parentOf", parent)

    def full() -> bytes:
        marked = Image.fromarray(put(np.asarray(image), NUMBER))
        return signer.sign(encode(marked, format, xmp=xmp), replace(ORIGIN, watermarked=True))

    ways: dict[str, Callable[[], bytes]] = {
        "off": lambda: encode(image, format),
        "signed": lambda: signer.sign(encode(image, format, xmp=xmp), ORIGIN),
        "edited": lambda: signer.sign(encode(image, format, xmp=edited.xmp()), edited),
        "full": full,
    }
    sizes = {way: len(work()) for way, work in ways.items()}
    took: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        # Each way is first in turn: the machine's own pace changes within a round.
        for way in [*ways][number % len(ways) :] + [*ways][: number % len(ways)]:
            began = time.process_time()
            ways[way]()
            took[way].append(time.process_time() - began)
    more = {way: [1000 * (one - bare) for one, bare in zip(took[way], took["off"], strict=True)] for way in ways}
    return [
        Row(format, image.width, way, sizes[way], sizes[way] - sizes["off"], round(median(more[way]), 1))
        for way in ways
        if way != "off"
    ]


def table(rows: list[Row]) -> Table:
    """For people."""
    shown = Table(title="Marking an image, in addition to the bare file")
    for name in ("format", "side", "way", "more bytes", "more CPU ms"):
        shown.add_column(name, justify="left" if name in ("format", "way") else "right")
    for row in rows:
        shown.add_row(row.format, str(row.side), row.way, f"{row.more_bytes:,}", f"{row.more_ms:.1f}")
    return shown


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Milliseconds and bytes of marking, by format.")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each way")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-marks.json"))
    given = parser.parse_args()
    rows = measure(given.rounds)
    Console().print(table(rows))
    given.output.write_text(json.dumps([asdict(one) for one in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
