"""`python -m benchmarks.watermarks`: what the watermark survives, whether it is seen in others, and what it costs.

Of twelve images that the built-in models draw, or of those that are named: photographs, say.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tests.watermarks import BEYOND, SURVIVED, cropped

from tintype.media.provenance.mark import find, put

#: What the built-in models are asked for: model, prompt and further options, with the number of images.
DRAWN: Sequence[tuple[str, str, int, Sequence[str]]] = (
    ("sd1.5-txt2img", "a red house by a lake, pines", 4, ("--samples", "4")),
    ("sd1.5-txt2img", "a fox in snow", 2, ("--samples", "2", "--img-width", "768")),
    ("sd3-med-txt2img", "a green circle on a white wall", 4, ("--samples", "4")),
    ("stable-diffusion-3.5-turbo-txt2img", "a yellow field under a dark sky", 2, ("--batch-size", "2")),
)
SIDES = (512, 1024)
#: Crops of each image that are looked at unmarked, beside the whole.
CROPS = (0.9, 0.8, 0.7, 0.6)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="What the watermark survives, and costs.")
    parser.add_argument("images", nargs="*", type=Path, help="files to mark in place of drawn ones")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-watermarks.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = given.images or [*draw(Path(folder))]
        images = [Image.open(file).convert("RGB") for file in files]
    measured = {"images": len(images), **survived(images), "unmarked": unmarked(images), "cpu_ms": costs(images[0])}
    show(measured)
    given.output.write_text(json.dumps(measured, indent=2) + "\n")
    Console().print(f"written to {given.output}")


def draw(folder: Path) -> Iterator[Path]:
    """Files of images that the built-in models draw."""
    tintype = [sys.executable, "-m", "tintype", "generate"]
    for number, (model, prompt, count, options) in enumerate(track(DRAWN, "drawing")):
        file = folder / f"{number}.png"
        command = [*tintype, model, "--prompt", prompt, "--seed", "7", "-o", str(file), "--data", str(folder), *options]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command
        yield from (file.with_stem(f"{number}-{index + 1}") for index in range(count))


def survived(images: Sequence[Image.Image]) -> dict[str, Any]:
    """In how many images the number is read after each attack, and wrong ones; how faint it is."""
    attacks = {**SURVIVED, **BEYOND}
    found, wrong, noise = dict.fromkeys(attacks, 0), 0, list[float]()
    for index, image in enumerate(track(images, "attacking")):
        number = np.random.default_rng(index).bytes(6)
        pixels = np.asarray(image)
        marked = put(pixels, number)
        noise.append(10 * math.log10(255**2 / float(((marked.astype(float) - pixels) ** 2).mean())))
        for attack, change in attacks.items():
            seen = find(np.asarray(change(Image.fromarray(marked))))
            found[attack] += seen is not None and seen.number == number
            wrong += seen is not None and seen.number not in (number, None)
    return {"found": found, "wrong_numbers": wrong, "psnr_db": [min(noise), statistics.median(noise)]}


def unmarked(images: Sequence[Image.Image]) -> dict[str, int]:
    """How many images without a mark were looked at, and in how many one was found."""
    looked_at = [one for image in images for one in (image, *(cropped(image, share) for share in CROPS))]
    marks = [find(np.asarray(one)) for one in track(looked_at, "unmarked ones")]
    return {"images": len(looked_at), "found": sum(one is not None for one in marks)}


def costs(image: Image.Image) -> dict[str, float]:
    """Milliseconds of one CPU core, by what is done and the side in pixels: the median of nine."""
    measured = {}
    for side in SIDES:
        pixels = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))
        marked = put(pixels, b"number")
        works: dict[str, Callable[[], object]] = {
            "put": lambda pixels=pixels: put(pixels, b"number"),  # type: ignore[misc]
            "find in a marked one": lambda marked=marked: find(marked),  # type: ignore[misc]
            "find in an unmarked one": lambda pixels=pixels: find(pixels),  # type: ignore[misc]
        }
        for name, work in works.items():
            measured[f"{name}, {side}²"] = round(statistics.median(_timed(work) for _ in range(9)), 1)
    return measured


def _timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return 1000 * (time.process_time() - begun)


def show(measured: dict[str, Any]) -> None:
    """As tables."""
    table = Table(
        "after", "found", title=f"{measured['images']} images; PSNR in dB, min and median: {measured['psnr_db']}"
    )
    for attack, count in measured["found"].items():
        table.add_row(attack, str(count))
    table.add_section()
    table.add_row("wrong numbers", str(measured["wrong_numbers"]))
    table.add_row(f"{measured['unmarked']['images']} without a mark", str(measured["unmarked"]["found"]))
    for name, milliseconds in measured["cpu_ms"].items():
        table.add_row(f"CPU ms: {name}", f"{milliseconds}")
    Console().print(table)


if __name__ == "__main__":
    main()
