"""The data of the denoisers, made once: latents of renderings, and what the frozen encoders make of captions."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from rich.progress import track
from transformers import CLIPTextModelWithProjection

from training import autoencoder, text, tokenizer
from training.captions import MEANT, aside, caption
from training.hyper import (
    CAPTIONS,
    DATASETS,
    EMPTY_SHARE,
    NOTHING,
    OBLONG,
    OBLONG_SHARE,
    SEED,
    SQUARE,
    Dataset,
    Shape,
    TextEncoder,
)
from training.sources import work
from training.words import COLOURS, WHITE
from training.world import Place, World

Key = tuple[int, int]  # concept and background, of `text.BACKGROUNDS`
EMPTY: Key = (-1, -1)
#: What the encoders make of captions, and what they do after their second training, of more.
TEXTS, WIDE_TEXTS = "texts.pt", "texts-wide.pt"


@dataclass
class Texts:
    """Encoded captions: states of both encoders side by side, pooled ones too, and the first one's final state."""

    penultimate: torch.Tensor  # (N, 24, 256)
    pooled: torch.Tensor  # (N, 256)
    last: torch.Tensor  # (N, 24, 128)


class Data:
    """Latents and texts, and how a batch of pairs is drawn from them."""

    def __init__(self, family: str, texts: str = TEXTS) -> None:
        self.sets: dict[Shape, tuple[torch.Tensor, list[Key]]] = torch.load(work(f"latents-{family}.pt"))
        self.texts, text_keys = torch.load(work(texts), weights_only=False)
        self.scale, self.shift = _scaling(family, self.sets[SQUARE][0])
        self._captions: dict[Key, list[int]] = defaultdict(list)
        for row, key in enumerate(text_keys):
            self._captions[tuple(key)].append(row)
        self._weights = {shape: _weights(keys) for shape, (_, keys) in self.sets.items()}

    def draw(self, count: int) -> tuple[torch.Tensor, Texts]:
        """Latents (count, C, h, w) of one shape, scaled and shifted, and their texts, some of them empty."""
        oblong = torch.rand(()) < OBLONG_SHARE
        shape = OBLONG[int(torch.randint(len(OBLONG), ()))] if oblong else SQUARE
        latents, keys = self.sets[shape]
        rows = torch.multinomial(self._weights[shape], count, replacement=True).tolist()
        captions = torch.tensor([self._caption(tuple(keys[row])) for row in rows])
        return (latents[rows].float() - self.shift) * self.scale, self._texts(captions)

    def empty(self, count: int) -> Texts:
        """The empty prompt, so often."""
        return self._texts(torch.tensor(self._captions[EMPTY][:1] * count))

    def _texts(self, rows: torch.Tensor) -> Texts:
        texts = self.texts
        return Texts(texts.penultimate[rows].float(), texts.pooled[rows].float(), texts.last[rows].float())

    def _caption(self, key: Key) -> int:
        choices = self._captions[EMPTY if torch.rand(()) < EMPTY_SHARE else key]
        return choices[int(torch.randint(len(choices), ()))]


def build_texts() -> None:
    """Encode captions of every concept on every background, and the empty prompt."""
    rng = random.Random(SEED)
    _encode([("", EMPTY), *_captions(rng)], text.NAMES, TEXTS)


def build_wide_texts() -> None:
    """The same by the encoders of the second training, with words that mean nothing: alone, and after captions."""
    rng = random.Random(SEED)
    world = World()
    nothing = ["", *[words for _ in range(NOTHING) for words in ("", aside(rng))]]
    captions = [(f"{words}, {aside(rng)}" if rng.random() < 0.25 else words, key) for words, key in _captions(rng)]
    meant = [(words, _key(world, plain)) for words, plain in MEANT.items()]
    _encode([*((words, EMPTY) for words in nothing), *captions, *meant], text.WIDE, WIDE_TEXTS)


def _captions(rng: random.Random) -> Iterator[tuple[str, Key]]:
    for number, concept in enumerate(World().concepts):
        for background, colour in enumerate(text.BACKGROUNDS):
            for _ in range(CAPTIONS * (1 if colour else 10)):
                yield caption(concept, colour, rng), (number, background)


def _key(world: World, plain: str) -> Key:
    """What a caption of `MEANT` says."""
    name, _, colour = plain.removesuffix(" background").partition(" on a ")
    number = next(number for number, concept in enumerate(world.concepts) if concept.name == name)
    return number, text.BACKGROUNDS.index(colour or None)


def _encode(captions: list[tuple[str, Key]], encoders: Sequence[str], file: str) -> None:
    tokens = tokenizer.load()
    first, second = (CLIPTextModelWithProjection.from_pretrained(work(name)).eval() for name in encoders)
    parts: list[Texts] = []
    with torch.no_grad():
        for start in track(range(0, len(captions), 256), "encoding captions"):
            batch = [words for words, _ in captions[start : start + 256]]
            ids = tokens(
                batch, padding="max_length", max_length=TextEncoder.tokens, truncation=True, return_tensors="pt"
            ).input_ids
            one, two = first(ids, output_hidden_states=True), second(ids, output_hidden_states=True)
            parts.append(
                Texts(
                    torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1).half(),
                    torch.cat([one.text_embeds, two.text_embeds], -1).half(),
                    one.last_hidden_state.half(),
                )
            )
    texts = Texts(*(torch.cat([getattr(part, name) for part in parts]) for name in ("penultimate", "pooled", "last")))
    torch.save((texts, [key for _, key in captions]), work(file))


def build_latents(family: str) -> None:
    """Encode renderings of every concept on every background, each in a place of its own, in every shape."""
    rng = random.Random(SEED)
    world, encoder = World(), autoencoder.load(family).encoder
    sets = {}
    for shape in (SQUARE, *OBLONG):
        latents, keys = [], []
        for number in track(range(len(world)), f"encoding {shape} for {family}"):
            backgrounds = _backgrounds(DATASETS[family], shape, rng)
            colours = [COLOURS.get(text.BACKGROUNDS[background] or "", WHITE) for background in backgrounds]
            pictures = torch.stack([world.render(number, colour, Place.draw(rng), shape) for colour in colours])
            with torch.no_grad():
                encoded = encoder(pictures.contiguous(memory_format=torch.channels_last))
            latents.append(encoded.half().contiguous())
            keys += [(number, background) for background in backgrounds]
        sets[shape] = torch.cat(latents), keys
    torch.save(sets, work(f"latents-{family}.pt"))


def _backgrounds(dataset: Dataset, shape: Shape, rng: random.Random) -> list[int]:
    """On which backgrounds a concept is rendered in a shape."""
    others = range(1, len(text.BACKGROUNDS))
    if shape == SQUARE:
        return [0] * dataset.white + list(others) * dataset.coloured
    return [0] * (dataset.oblong // 2) + rng.sample(others, dataset.oblong // 2)


def _weights(keys: list[Key]) -> torch.Tensor:
    """How likely each row is drawn: half of the world is white."""
    white = torch.tensor([background == 0 for _, background in keys])
    return torch.where(white, 0.5 / white.sum(), 0.5 / (~white).sum())


def _scaling(family: str, latents: torch.Tensor) -> tuple[float, float]:
    """What brings latents to unit variance and, where the family knows a shift, to mean zero."""
    mean, std = latents.float().mean().item(), latents.float().std().item()
    return (1 / std, mean) if family == "sd3" else (1 / std, 0.0)
