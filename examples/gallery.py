"""A contact sheet of all samplers at one seed, drawn with the built-in weights or a folder's.

    .venv/bin/python examples/gallery.py docs/images/gallery.png [FOLDER] [PROMPT]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from tintype.catalog.parameters import SAMPLERS
from tintype.diffusion.builtin import builtin_weights
from tintype.diffusion.denoising import Family
from tintype.diffusion.families import load_family
from tintype.diffusion.job import Job
from tintype.diffusion.loading import quiet_libraries
from tintype.engine import Engine

SIDE, CAPTION, COLUMNS = 160, 22, 7


def draw(family: Family, prompt: str, sampler: str) -> Image.Image:
    """One picture of 20 steps on the schedule that suits nearly all."""
    job = Job(
        prompt=prompt, steps=20, guidance=4.0, seed=7, sampler=sampler, schedule="karras", width=SIDE, height=SIDE
    )
    engine = Engine(max_rows=2)
    with torch.inference_mode():
        picture = family.begin(job)
        engine.add(picture)
        while engine.live:
            engine.step()
        if picture.latents is None:
            raise picture.error or RuntimeError(f"{sampler} made nothing")
        return Image.fromarray(family.finish(picture.latents).numpy())


def main(output: Path, folder: Path | None, prompt: str) -> None:
    """Draw them all and lay them out."""
    quiet_libraries()
    with tempfile.TemporaryDirectory() as cache:
        weights = folder or builtin_weights("sd3", Path(cache))
        family = load_family("sd3", weights, torch.device("cpu"), torch.float32, t5_tokens=256)
        pictures = {name: draw(family, prompt, name) for name in track(SAMPLERS, description="drawing")}
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, rows * (SIDE + CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (name, picture) in enumerate(pictures.items()):
        left, top = index % COLUMNS * SIDE, index // COLUMNS * (SIDE + CAPTION)
        pen.text((left + 4, top + 4), name, fill="black", font=ImageFont.load_default(12))
        sheet.paste(picture, (left, top + CAPTION))
    sheet.save(output)


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    main(Path(arguments.get(1, "gallery.png")), Path(arguments[2]) if 2 in arguments else None, arguments.get(3, "fox"))
