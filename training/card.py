"""The model card that ships beside the weights, with the measured figures in it."""

from __future__ import annotations

import re

from rich.console import Console

from training.hyper import SHIPPED
from training.measure import PROMISED, WAYS, Figures, figures
from training.quality import STRENGTHS
from training.sources import work

CARD = SHIPPED / "README.md"
START, END = "<!-- figures -->", "<!-- end of figures -->"


def write() -> None:
    """Measure what is shipped and print the table into the card, between its marks."""
    console = Console()
    rows = []
    for name in WAYS:
        with console.status(f"measuring {name}"):
            rows.append(_row(name, figures(name)))
        console.print(rows[-1])
    table = "\n".join([*_head(), *rows])
    text = CARD.read_text("utf-8")
    CARD.write_text(re.sub(f"{START}.*{END}", f"{START}\n{table}\n{END}", text, flags=re.DOTALL), "utf-8")
    work("card").touch()


def _head() -> list[str]:
    strengths = " / ".join(str(strength) for strength in STRENGTHS)
    return [
        "| model | sampler, steps, guidance | concept recognised | background right |"
        f" distance to the input at strength {strengths} | to the prompt | autoencoder PSNR |",
        "|---|---|---|---|---|---|---|",
    ]


def _row(name: str, reached: Figures) -> str:
    way, promised = WAYS[name], PROMISED[name]
    away = " / ".join(f"{pair[0]:.3f}" for pair in reached.pull)
    left = " / ".join(f"{pair[1]:.3f}" for pair in reached.pull)
    return (
        f"| {name} | {way.sampler}, {way.steps}, {way.guidance:g} (image to image {way.gentle:g}) "
        f"| {reached.recognised:.0%} (promised {promised['recognised']:.0%}) "
        f"| {reached.coloured:.0%} ({promised['coloured']:.0%}) | {away} | {left} "
        f"| {reached.psnr:.1f} dB ({promised['psnr']:g}) |"
    )
