"""A contact sheet of all 27 samplers with 4, 8 and 20 steps at one seed, drawn with the built-in weights.

    .venv/bin/python examples/gallery.py docs/images/samplers.jpg

Each is drawn on the schedule that docs/samplers.md recommends for it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from tintype.checkpoints.weights import builtin_weights
from tintype.core import GenerationParams, ImageSpec
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.diffusion.libraries import quiet_libraries
from tintype.engine import Engine
from tintype.samplers import OFFERED

STEPS = (4, 8, 20)
COLUMNS = 3
SIDE, CAPTION, GAP = 128, 20, 12
#: Samplers that end above sigma 0, or are far better, on this schedule than on the default one.
KARRAS = {"dpm_fast", "dpm_adaptive", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "uni_pc", "uni_pc_bh2"}
#: These guide by themselves, twice as strongly.
SELF_GUIDED = {"euler_cfg_pp", "euler_ancestral_cfg_pp"}


@dataclass(frozen=True)
class Cell:
    """One picture of the sheet."""

    sampler: str
    steps: int

    @property
    def schedule(self) -> str:
        """The one it is drawn on."""
        return "karras" if self.sampler in KARRAS else "sgm_uniform"

    def draw(self, family: Family, prompt: str, seed: int) -> Image.Image:
        """Alone in the engine."""
        params = GenerationParams(
            prompt=prompt,
            steps=self.steps,
            guidance=1.5 if self.sampler in SELF_GUIDED else 3.0,
            seed=seed,
            sampler=self.sampler,
            schedule=self.schedule,
        )
        engine = Engine(2)
        with torch.inference_mode():
            picture = family.begin(ImageSpec(params, seed, SIDE, SIDE))
            engine.add(picture)
            while engine.live:
                engine.step()
            if picture.latents is None:
                raise picture.error or RuntimeError("no picture")
            return Image.fromarray(family.autoencoder.decode(picture.latents).numpy())


def sheet(family: Family, prompt: str, seed: int) -> Image.Image:
    """Blocks of one row per sampler and one picture per step count."""
    quarters = -(-len(OFFERED) // COLUMNS)
    block = len(STEPS) * SIDE + GAP
    image = Image.new("RGB", (COLUMNS * block - GAP, quarters * (SIDE + CAPTION)), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for place, sampler in enumerate(track(OFFERED, description="drawing")):
        left, top = place // quarters * block, place % quarters * (SIDE + CAPTION)
        cells = [Cell(sampler, steps) for steps in STEPS]
        pen.text((left + 3, top + 3), f"{sampler}, {cells[0].schedule}: {STEPS} steps", fill="black", font=font)
        for column, cell in enumerate(cells):
            image.paste(cell.draw(family, prompt, seed), (left + column * SIDE, top + CAPTION))
    return image


def main() -> None:
    """Draw them all and lay them out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=Path("samplers.jpg"))
    parser.add_argument("--prompt", default="a fox on a sky blue background")
    parser.add_argument("--seed", type=int, default=4)
    asked = parser.parse_args()
    quiet_libraries()
    family = load_family("sd3", builtin_weights("sd3"), torch.device("cpu"), torch.float32, 1)
    sheet(family, asked.prompt, asked.seed).save(asked.output, quality=88)


if __name__ == "__main__":
    main()
