"""The two text encoders: trained to tell which concept and which background a caption means, then frozen."""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from training import tokenizer
from training.captions import MEANT, aside, caption
from training.hyper import SEED, TextEncoder, WiderReading
from training.run import Run
from training.sources import work
from training.words import COLOURS
from training.world import World

NAMES = ("text_encoder", "text_encoder_2")
#: After their second training.
WIDE = ("text_encoder-wide", "text_encoder_2-wide")
#: Background 0 is white.
BACKGROUNDS = [None, *COLOURS]
QUESTIONS = {
    "puppy": "🐶", "auto": "🚗", "laughing": "😂", "red apple": "🍎", "a photo of a cat": "🐈", "spaceship": "🚀",
    "a glass of beer": "🍺", "zebra on a blue background": "🦓", "christmas tree": "🎄", "a cute fox in the snow": "🦊",
    "kitten": "🐱", "a slice of pizza": "🍕", "an angry face": "😡", "Astronaut, highly detailed": "🧑‍🚀",
}  # fmt: skip


class Reader(torch.nn.Module):
    """An encoder with a head on each of its outputs that some denoiser reads: pooled, last state, last but one."""

    def __init__(self, size: int, concepts: int) -> None:
        super().__init__()
        recipe = TextEncoder()
        config = CLIPTextConfig(
            vocab_size=size,
            hidden_size=recipe.width,
            intermediate_size=4 * recipe.width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.width // 32,
            projection_dim=recipe.width,
            max_position_embeddings=recipe.tokens,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            hidden_act="quick_gelu",
        )
        self.encoder = CLIPTextModelWithProjection(config)
        self.concepts = concepts
        self.heads = torch.nn.ModuleList(torch.nn.Linear(recipe.width, concepts + len(BACKGROUNDS)) for _ in range(3))

    def forward(self, ids: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Token ids (N, tokens) → for each head its logits of concepts (N, 362) and of backgrounds (N, 15)."""
        read = self.encoder(ids, output_hidden_states=True)
        end = (ids == 1).int().argmax(1)
        penultimate = read.hidden_states[-2][torch.arange(len(ids)), end]
        outputs = read.text_embeds, penultimate, read.last_hidden_state.mean(1)
        answers = [head(output).float() for head, output in zip(self.heads, outputs, strict=True)]
        return [(answer[:, : self.concepts], answer[:, self.concepts :]) for answer in answers]


def train(name: str) -> None:
    """Train one encoder and write its folder."""
    recipe = TextEncoder()
    number = NAMES.index(name)
    torch.manual_seed(SEED + number)
    world, tokens = World(), tokenizer.load()
    ids, labels = _captions(world, tokens)
    reader = Reader(len(tokens), len(world))
    optimiser = torch.optim.AdamW(reader.parameters(), lr=recipe.rate, weight_decay=0.05, betas=(0.9, 0.98))

    def look(_: str) -> dict[str, float]:
        answers = reader(_encode(tokens, list(QUESTIONS)))[0][0].argmax(1).tolist()
        right = [world.concepts[got].emoji == wanted for got, wanted in zip(answers, QUESTIONS.values(), strict=True)]
        wrong = [question for question, good in zip(QUESTIONS, right, strict=True) if not good]
        chosen = torch.randperm(len(ids))[:2000]
        concepts, backgrounds = reader(ids[chosen])[0]
        found = (concepts.argmax(1) == labels[chosen, 0]).float().mean().item()
        coloured = (backgrounds.argmax(1) == labels[chosen, 1]).float().mean().item()
        return {"concepts": round(found, 4), "backgrounds": round(coloured, 4), "misread": wrong}

    run = Run(name, reader, [optimiser], recipe.steps, warmup=100, look=look, look_seconds=60)
    for _ in run:
        chosen = torch.randint(0, len(ids), (recipe.batch,))
        answers = reader(ids[chosen])
        wanted = labels[chosen]
        run.descend(
            sum(
                F.cross_entropy(concepts, wanted[:, 0], label_smoothing=0.05)
                + 0.5 * F.cross_entropy(backgrounds, wanted[:, 1], label_smoothing=0.05)
                for concepts, backgrounds in answers
            )
        )
    run.show()
    run.averaged().encoder.save_pretrained(work(name))


def train_wider(name: str) -> None:
    """Train one encoder further and write its folder: captions keep their states, further words get known ones.

    A negative prompt then means as much as an empty one, and the catalogue's examples mean things of the world.
    """
    recipe, number = WiderReading(), WIDE.index(name)
    torch.manual_seed(SEED + number)
    rng = random.Random(SEED + number)
    world, tokens = World(), tokenizer.load()
    teacher, student = (CLIPTextModelWithProjection.from_pretrained(work(NAMES[number])) for _ in range(2))
    teacher.requires_grad_(False)
    scales = [states.std() for states in _states(teacher, _encode(tokens, list(MEANT.values())))]
    optimiser = torch.optim.AdamW(student.parameters(), lr=recipe.rate, weight_decay=0, betas=(0.9, 0.98))
    run = Run(name, student.train(), [optimiser], recipe.steps, warmup=100, average=0.99)
    for _ in run:
        asked = list(_pairs(world, rng, recipe))
        got, wanted = (
            _states(model, _encode(tokens, [pair[place] for pair in asked]))
            for place, model in enumerate((student, teacher))
        )
        run.descend(sum(((a - b) / scale).pow(2).mean() for a, b, scale in zip(got, wanted, scales, strict=True)))
    run.averaged().save_pretrained(work(name))


def _pairs(world: World, rng: random.Random, recipe: WiderReading) -> Iterator[tuple[str, str]]:
    """Texts of one step, each with the one whose states it is to have."""
    for place in range(recipe.plain + recipe.decorated):
        background = rng.choice(BACKGROUNDS) if rng.random() < 0.6 else None
        text = caption(rng.choice(world.concepts), background, rng)
        yield (text if place < recipe.plain else f"{text}, {aside(rng)}"), text
    for _ in range(recipe.nothing):
        yield aside(rng), ""
    yield from rng.choices(list(MEANT.items()), k=recipe.meant)


def _states(encoder: CLIPTextModelWithProjection, ids: torch.Tensor) -> list[torch.Tensor]:
    """What denoisers read of it: pooled (N, 128), the last state but one and the last (N, 24, 128)."""
    read = encoder(ids, output_hidden_states=True)
    return [read.text_embeds, read.hidden_states[-2], read.last_hidden_state]


def _captions(world: World, tokens: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Many captions as token ids, and their labels (N, 2): concept and background."""
    rng = random.Random(SEED)
    texts, labels = [], []
    for number, concept in enumerate(world.concepts):
        for _ in range(TextEncoder.captions):
            background = rng.randrange(len(BACKGROUNDS)) if rng.random() < 0.6 else 0
            texts.append(caption(concept, BACKGROUNDS[background], rng))
            labels.append((number, background))
    return _encode(tokens, texts), torch.tensor(labels)


def _encode(tokens: object, texts: list[str]) -> torch.Tensor:
    encoded = tokens(texts, padding="max_length", max_length=TextEncoder.tokens, truncation=True, return_tensors="pt")
    return encoded.input_ids
