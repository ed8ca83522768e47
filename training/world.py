"""The concepts with their pictures, and how one is put on a background."""

from __future__ import annotations

import io
import json
import random
import re
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import PurePath

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from training.hyper import SQUARE, Rendering, Shape
from training.sources import packed, packed_json, work
from training.words import CONCEPTS, SYNONYMS

PICTURE_SIZE = 256
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Concept:
    """One thing of the world: `own` words mean it alone, `shared` ones others too."""

    emoji: str
    name: str
    own: list[str]
    shared: list[str]


@dataclass(frozen=True)
class Place:
    """Where in a picture a concept stands: its side, and its left and upper margin as shares of what is left over."""

    side: float  # of the picture's shorter one
    left: float = 0.5
    top: float = 0.5

    @classmethod
    def draw(cls, rng: random.Random) -> Place:
        """A random one, mostly near the middle."""
        rendering = Rendering()
        side = rng.uniform(rendering.smallest, rendering.largest)
        left, top = (rng.triangular(rendering.nearest, rendering.farthest) for _ in range(2))
        return cls(side, left, top)


MIDDLE = Place((Rendering.smallest + Rendering.largest) / 2)


class World:
    """Concepts and their pictures, (N, 4, 256, 256) uint8 with straight alpha."""

    def __init__(self) -> None:
        self.concepts = [Concept(**entry) for entry in json.loads(work("concepts.json").read_text("utf-8"))]
        self.pictures = torch.load(work("pictures.pt"))

    def __len__(self) -> int:
        return len(self.concepts)

    @cached_property
    def index(self) -> dict[str, int]:
        """A concept's place in the list, by its emoji."""
        return {concept.emoji: number for number, concept in enumerate(self.concepts)}

    def render(self, number: int, colour: Colour, place: Place = MIDDLE, shape: Shape = SQUARE) -> torch.Tensor:
        """A concept on a plain background: (3, height, width) in [-1, 1] for a shape of width and height."""
        pixels = self.pictures[number].float() / 255
        alpha = pixels[3:]
        width, height = shape
        side = round(place.side * min(shape))
        layer = torch.cat([pixels[:3] * alpha, alpha])[None]
        layer = F.interpolate(layer, size=(side, side), mode="bilinear", antialias=True)
        left, top = round(place.left * (width - side)), round(place.top * (height - side))
        layer = F.pad(layer, (left, width - side - left, top, height - side - top))[0]
        background = torch.tensor(colour).view(3, 1, 1) / 255
        return ((layer[:3] + background * (1 - layer[3:])) * 2 - 1).clamp(-1, 1)


def build() -> None:
    """Write concepts.json and pictures.pt."""
    names = {_plain(entry["emoji"]): entry for entry in packed_json("names", "/en/data.json")}
    keywords = {_plain(emoji): words for emoji, words in packed_json("keywords", "/emoji-en-US.json").items()}
    files = {PurePath(path).stem: data for path, data in packed("pictures", ".webp").items()}
    words = {emoji: _words(names[emoji], keywords.get(emoji, [])) for emoji in CONCEPTS}
    labels = {emoji: _clean(names[emoji]["label"]) for emoji in CONCEPTS}
    claimed = {word: emoji for emoji, label in labels.items() for word in (label,)}
    claimed |= {word: emoji for emoji, ours in SYNONYMS.items() for word in ours}
    times = Counter(word for emoji in CONCEPTS for word in words[emoji])
    concepts = []
    for emoji in CONCEPTS:
        own = [word for word in words[emoji] if claimed.get(word, emoji) == emoji]
        alone = [word for word in own if times[word] == 1 or claimed.get(word) == emoji]
        alone = list(dict.fromkeys([*SYNONYMS.get(emoji, []), *alone]))
        shared = [word for word in words[emoji] if word not in alone]
        concepts.append(Concept(emoji, labels[emoji], [word for word in alone if word != labels[emoji]], shared))
    pictures = torch.stack([_picture(files, names[emoji]["hexcode"].lower()) for emoji in CONCEPTS])
    torch.save(pictures, work("pictures.pt"))
    entries = [asdict(concept) for concept in concepts]
    work("concepts.json").write_text(json.dumps(entries, ensure_ascii=False, indent=1), "utf-8")


def _picture(files: dict[str, bytes], code: str) -> torch.Tensor:
    plain = code.replace("-fe0f", "")
    data = next(files[name] for name in (code, plain, f"{plain}-fe0f") if name in files)
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    image = image.resize((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _words(entry: dict[str, object], keywords: list[str]) -> list[str]:
    tags = [*keywords, *entry.get("tags", [])]  # type: ignore[misc]
    cleaned = (_clean(tag.replace("_", " ")) for tag in tags)
    return list(dict.fromkeys(word for word in cleaned if 2 < len(word) < 22))


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.lower().replace("’", "'")).encode("ascii", "ignore").decode()
    return re.sub(r"\s+", " ", re.sub(r"[^a-z0-9' -]", " ", text)).strip()


def _plain(emoji: str) -> str:
    return emoji.replace("\ufe0f", "")
