"""What of a prompt a model doesn't read is said: CLIP's 75 tokens, or T5's where it is there and reads more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.toy import toy_weights

from tintype.catalog.order import Order
from tintype.checkpoints.weights import Weights
from tintype.diffusion.conditioning import T5Encoder
from tintype.diffusion.denoising import Family
from tintype.diffusion.families import load_family
from tintype.worker.jobs import unread

#: The toys' tokenizer makes a token of every letter.
FITS, LONG = "a" * 75, "a" * 90
ORDER = Order(steps=4, guidance=4.0, seed=1, sampler="euler")
WORDS = "the model reads the first 75 of its 90 tokens; what comes after them made no difference"


def orders(**texts: str) -> Order:
    return Order(**{**ORDER.__dict__, **texts})


@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_words_that_made_no_difference_are_counted(sd15: Family, sd3: Family, name: str) -> None:
    family = {"sd15": sd15, "sd3": sd3}[name]
    assert unread(family, orders(prompt=FITS, negative_prompt="")) == []
    assert unread(family, orders(prompt=LONG, negative_prompt=FITS)) == [f"prompt: {WORDS}"]
    assert unread(family, orders(prompt="", negative_prompt=LONG)) == [f"negative_prompt: {WORDS}"]
    unguided = Order(**{**ORDER.__dict__, "negative_prompt": LONG, "guidance": 1.0})
    assert unread(family, unguided) == [], "a negative prompt that has no effect isn't read at all"


class Letters:
    """A tokenizer that makes a token of every letter."""

    def __call__(self, text: str, **_: object) -> Letters:
        self.input_ids = list(text)
        return self


@pytest.mark.parametrize(
    ("tokens", "lengths"), [(32, (75, 90)), (81, (80, 90)), (91, (90, 90)), (256, (90, 90))], ids=str
)
def test_what_t5_reads_counts(
    weights: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[..., Family], tokens: int, lengths: tuple[int, int]
) -> None:
    family = load_family("sd3", Weights(toy_weights("sd3", weights)), torch.device("cpu"), torch.float32, tokens)
    part = family.clips[0].part  # type: ignore[attr-defined]  # any: it is never run
    monkeypatch.setattr(family, "t5", T5Encoder(Letters(), part, tokens, 64))
    assert family.lengths(LONG) == lengths


def test_the_longest_prompt_there_is_costs_one_pass_over_it(sd15: Family) -> None:
    assert sd15.lengths("a" * 20_000) == (75, 20_000)
    assert sd15.lengths(" " * 20_000) == (0, 0)
