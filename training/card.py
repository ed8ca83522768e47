"""The model card that ships beside the weights, with the measured figures in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console

from training.hyper import SHIPPED
from training.measure import BUILTIN, PROMISED_PSNR, WAYS, at_defaults, figures
from training.quality import STRENGTHS
from training.sources import work

CARD = SHIPPED / "README.md"
START, END = "<!-- figures -->", "<!-- end of figures -->"


def write() -> None:
    """Measure what is shipped and print the tables into the card, between its marks."""
    console = Console()
    with console.status("measuring"):
        table = "\n".join([*_defaults(), "", *_modes()])
    console.print(table)
    text = CARD.read_text("utf-8")
    CARD.write_text(re.sub(f"{START}.*{END}", f"{START}\n{table}\n{END}", text, flags=re.DOTALL), "utf-8")
    work("card").touch()


def _defaults() -> Iterator[str]:
    """Every model at its default parameters."""
    yield "| model, at its default parameters | thing recognised | background right | distance | clipped |"
    yield "|---|---:|---:|---:|---:|"
    for slug in BUILTIN:
        got = at_defaults(slug)
        yield f"| `{slug}` | {got.recognised:.0%} | {got.coloured:.0%} | {got.distance:.3f} | {got.clipped:.1%} |"


def _modes() -> Iterator[str]:
    """Every mode's image to image and autoencoder."""
    strengths = " / ".join(str(strength) for strength in STRENGTHS)
    yield f"| mode | sampler, steps, guidance | distance to the input at strength {strengths} | to the prompt | PSNR |"
    yield "|---|---|---|---|---|"
    for name, way in WAYS.items():
        got = figures(name)
        away, left = (" / ".join(f"{pair[place]:.3f}" for pair in got.pull) for place in (0, 1))
        how = f"{way.sampler}, {way.steps}, {way.guidance:g}"
        yield f"| {name} | {how} | {away} | {left} | {got.psnr:.1f} dB (promised {PROMISED_PSNR[name]:g}) |"
