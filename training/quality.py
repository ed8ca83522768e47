"""How good the shipped weights are, measured: the same figures for the model card and for the test that guards them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from rich.progress import track

from tintype.core import GenerationParams, ImageSpec, InputImage, Role
from tintype.diffusion.image_state import Family
from tintype.engine import Engine
from training.hyper import SIZE
from training.sheets import save_sheet
from training.words import COLOURS, WHITE

REFERENCE = Path("training/reference")
SMALL = 16
#: Seeds of the measured pictures; training never drew noise from seeds.
FIRST_SEED = 10_000
#: Rows of one forward pass.
ROWS = 32
STRENGTHS = (0.3, 0.6, 0.9)
#: Pixels of the edge, whose corners tell the background.
EDGE = SIZE // 16

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Way:
    """How a family's pictures are drawn when it is measured."""

    sampler: str
    schedule: str
    steps: int
    guidance: float


@dataclass(frozen=True)
class Asked:
    """One thing to be drawn: a concept's number in the vocabulary, and a colour's name or None for white."""

    number: int
    name: str
    colour: str | None
    seed: int

    @property
    def prompt(self) -> str:
        """As a caller would put it."""
        return f"{self.name} on a {self.colour} background" if self.colour else self.name

    @property
    def background(self) -> Colour:
        """Red, green and blue."""
        return COLOURS[self.colour] if self.colour else WHITE


@cache
def vocabulary() -> list[dict[str, str]]:
    """The shipped list of concepts."""
    entries: list[dict[str, str]] = json.loads((files("tintype") / "weights" / "vocabulary.json").read_text("utf-8"))
    return entries


def questions(count: int = 100) -> list[Asked]:
    """So many concepts, half of them on a colour."""
    rng = random.Random(FIRST_SEED)
    chosen = rng.sample(range(len(vocabulary())), count)
    colours = [None if place % 2 else rng.choice(list(COLOURS)) for place in range(count)]
    return [
        Asked(number, vocabulary()[number]["name"], colour, FIRST_SEED + place)
        for place, (number, colour) in enumerate(zip(chosen, colours, strict=True))
    ]


def redraw(family: Family, asked: Asked, way: Way, source: Image.Image, strength: float) -> Image.Image:
    """Draw one image to image."""
    picture = torch.from_numpy(np.array(source)).permute(2, 0, 1)[None] / 127.5 - 1
    return run(family, [(_spec(asked, way, strength), {"init": picture})])[0]


def run(family: Family, jobs: Iterable[tuple[ImageSpec, Mapping[Role, torch.Tensor]]]) -> list[Image.Image]:
    """Draw each with its input images, by the product's own engine, in the size that the weights draw."""
    engine = Engine(ROWS)
    with torch.inference_mode():
        pictures = [family.begin(spec, inputs.get("init"), inputs.get("mask")) for spec, inputs in jobs]
        for one in pictures:
            engine.add(one)
        while engine.live:
            engine.step()
        return [
            Image.fromarray(family.autoencoder.decode(one.latents).numpy())
            for one in pictures
            if one.latents is not None
        ]


def recognised(pictures: Sequence[Image.Image], asked: Sequence[Asked]) -> float:
    """Share of the pictures that look most like what was asked, among all concepts on the asked background."""
    right = [int(distances(picture, one.background).argmin()) == one.number for picture, one in _pairs(pictures, asked)]
    return sum(right) / len(right)


def coloured(pictures: Sequence[Image.Image], asked: Sequence[Asked]) -> float:
    """Share of the pictures whose corners are nearest to the asked background's colour, of all fifteen."""
    right = [_background(picture) == (one.colour or "white") for picture, one in _pairs(pictures, asked)]
    return sum(right) / len(right)


def clipped(picture: Image.Image) -> float:
    """Share of its pixels with a channel at one of its ends: white is, and so is what burned out."""
    pixels = np.asarray(picture.convert("RGB"))
    return float(((pixels == 0) | (pixels == 255)).any(-1).mean())


def distances(picture: Image.Image, background: Colour) -> np.ndarray:
    """RMS distance of a picture to every concept on a background, seen small, blurred and without its mean."""
    rgba = _reference()
    wanted = rgba[..., :3] + np.array(background) / 255 * (1 - rgba[..., 3:])
    return np.sqrt(((_centred(wanted) - _centred(small(picture))) ** 2).mean((1, 2, 3)))


def pull(family: Family, way: Way, count: int) -> list[tuple[float, float]]:
    """Of image to image at each strength: mean distance to the input, and to the prompt's concept."""
    rng = random.Random(FIRST_SEED)
    sources = rng.sample(held_out(), count)
    asked = rng.sample([one for one in questions() if one.colour is None], count)
    reached = []
    for strength in STRENGTHS:
        results = [redraw(family, one, way, source, strength) for one, source in zip(asked, sources, strict=True)]
        away = [_rms(small(result) - small(source)) for result, source in zip(results, sources, strict=True)]
        left = [distances(result, WHITE)[one.number] for result, one in _pairs(results, asked)]
        reached.append((float(np.mean(away)), float(np.mean(left))))
    return reached


def psnr(family: Family) -> float:
    """Of the autoencoder on held-out renderings, in dB, the mean over pictures."""
    values = []
    for source in held_out():
        picture = torch.from_numpy(np.array(source)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.inference_mode():
            decoded = family.autoencoder.decode(family.autoencoder.encode(picture, None))  # type: ignore[attr-defined]
        values.append(-20 * np.log10(_rms((decoded.numpy().astype(float) - np.array(source)) / 255)))
    return float(np.mean(values))


def small(picture: Image.Image) -> np.ndarray:
    """A picture blurred and scaled down to (16, 16, 3), in [0, 1]."""
    blurred = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(4))
    return np.asarray(blurred.resize((SMALL, SMALL), Image.Resampling.BOX), float) / 255


def held_out() -> list[Image.Image]:
    """Renderings that the autoencoders never saw."""
    sheet = Image.open(REFERENCE / "held_out.png")
    columns, rows = sheet.width // SIZE, sheet.height // SIZE
    corners = [(column * SIZE, row * SIZE) for row in range(rows) for column in range(columns)]
    return [sheet.crop((left, top, left + SIZE, top + SIZE)) for left, top in corners]


def reference_pictures() -> list[Image.Image]:
    """Every concept as the reference has it, on white, enlarged from 16 × 16."""
    rgba = _reference()
    tiles = ((rgba[..., :3] + 1 - rgba[..., 3:]) * 255).round().clip(0, 255).astype(np.uint8)
    return [Image.fromarray(tile).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for tile in tiles]


def build_reference() -> None:
    """Write what the measurements compare with, so that they need no download."""
    from training import autoencoder  # noqa: PLC0415 - the measurements themselves need neither data nor diffusers
    from training.world import World  # noqa: PLC0415

    world = World()
    REFERENCE.mkdir(exist_ok=True)
    tiles = []
    for number in track(range(len(world)), "reference"):
        on = [(world.render(number, (level,) * 3) + 1) / 2 for level in (0, 255)]
        black, white = (small(Image.fromarray((one * 255).byte().permute(1, 2, 0).numpy())) for one in on)
        alpha = 1 - (white - black).mean(-1, keepdims=True)
        tiles.append(np.concatenate([black, alpha], -1))
    sheet = (np.concatenate(tiles, 0) * 255).round().clip(0, 255).astype(np.uint8)
    Image.fromarray(sheet, "RGBA").save(REFERENCE / "concepts.png")
    save_sheet(autoencoder.held_out(world), REFERENCE / "held_out.png", columns=12)


def _spec(asked: Asked, way: Way, strength: float) -> ImageSpec:
    """Image to image."""
    params = GenerationParams(
        prompt=asked.prompt,
        inputs=(InputImage("a rendering"),),
        steps=way.steps,
        guidance=way.guidance,
        strength=strength,
        seed=asked.seed,
        sampler=way.sampler,
        schedule=way.schedule,
    )
    return ImageSpec(params, asked.seed, SIZE, SIZE)


def _background(picture: Image.Image) -> str:
    pixels = np.asarray(picture.convert("RGB").resize((SIZE, SIZE)), float)
    ends = slice(EDGE), slice(-EDGE, None)
    corners = [pixels[rows, columns] for rows in ends for columns in ends]
    found = np.median(np.concatenate([corner.reshape(-1, 3) for corner in corners]), 0)
    named = {"white": WHITE, **COLOURS}
    return min(named, key=lambda name: float(np.abs(found - np.array(named[name])).sum()))


@cache
def _reference() -> np.ndarray:
    sheet = np.asarray(Image.open(REFERENCE / "concepts.png"), float) / 255
    return sheet.reshape(-1, SMALL, SMALL, 4)


def _centred(pictures: np.ndarray) -> np.ndarray:
    return pictures - pictures.mean((-3, -2), keepdims=True)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def _pairs(pictures: Sequence[Image.Image], asked: Sequence[Asked]) -> list[tuple[Image.Image, Asked]]:
    return list(zip(pictures, asked, strict=True))
