"""A contact sheet of all 27 samplers at one seed: what each makes of the same noise in a few steps.

    .venv/bin/python examples/gallery.py docs/images/samplers.jpg

The model is one whose answer is known in closed form: it was "trained" on three pictures, the samples of this server,
so that what a sampler leaves undone, or adds, can be seen without any weights.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from tintype.catalog.parameters import SAMPLERS
from tintype.diffusion.denoising import Answer
from tintype.diffusion.noise import noise_stream
from tintype.diffusion.samplers import find_sampler
from tintype.diffusion.samplers.space import Flow
from tintype.diffusion.schedules import plan
from tintype.media.samples import SAMPLES, draw

SPACE = Flow(shift=3.0)
SIDE, CAPTION, COLUMNS = 144, 20, 9
STEPS = 8
#: How far the data strays from the three pictures.
SPREAD = 0.08


def pictures() -> torch.Tensor:
    """The three samples, (3, 3, SIDE, SIDE) in [-1, 1]."""
    drawn = [Image.open(io.BytesIO(draw(name))).convert("RGB").resize((SIDE, SIDE)) for name in SAMPLES]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 127.5 - 1


def denoise(x: torch.Tensor, sigma: float, means: torch.Tensor) -> torch.Tensor:
    """E[data | x] for data around the pictures and x = (1 - sigma) data + sigma noise."""
    clean = 1 - sigma
    variance = (clean * SPREAD) ** 2 + sigma**2
    away = x - clean * means
    likely = (-(away**2).sum(dim=(1, 2, 3)) / (2 * variance)).softmax(0)
    return ((means + clean * SPREAD**2 / variance * away) * likely.view(-1, 1, 1, 1)).sum(0, keepdim=True)


def run(name: str, schedule: str, means: torch.Tensor) -> Image.Image:
    """One sampler's picture."""
    method = find_sampler(name)
    levels = plan(method, schedule, STEPS, 1.0, SPACE)
    noise = noise_stream(4, (1, 3, SIDE, SIDE), torch.device("cpu"))
    sampler = method.start(noise(), levels, SPACE, noise)
    try:
        ask = next(sampler)
        while True:
            d = denoise(ask.x, ask.level, means)
            ask = sampler.send(Answer(d, d))
    except StopIteration as finished:
        pixels = finished.value[0].permute(1, 2, 0).clamp(-1, 1)
        return Image.fromarray(((pixels + 1) * 127.5).round().to(torch.uint8).numpy())


def main(output: Path) -> None:
    """Draw them all on two schedules and lay them out."""
    means = pictures()
    font = ImageFont.load_default(12)
    rows = -(-len(SAMPLERS) // COLUMNS)
    height = rows * (SIDE + CAPTION) + CAPTION
    sheet = Image.new("RGB", (COLUMNS * SIDE, 2 * height), "white")
    pen = ImageDraw.Draw(sheet)
    for part, schedule in enumerate(("sgm_uniform", "karras")):
        pen.text((4, part * height + 3), f"{schedule}, {STEPS} steps", fill="firebrick", font=font)
        for index, name in enumerate(track(SAMPLERS, description=schedule)):
            left = index % COLUMNS * SIDE
            top = part * height + CAPTION + index // COLUMNS * (SIDE + CAPTION)
            pen.text((left + 3, top + 3), name, fill="black", font=font)
            sheet.paste(run(name, schedule, means), (left, top + CAPTION))
    sheet.save(output, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "samplers.jpg"))
