"""What of a prompt a model doesn't read is said: CLIP's 75 tokens, or T5's where it is there and reads more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.toy_weights import toy_weights
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.weights import WeightsSpec, builtin_weights
from tintype.core import GenerationParams
from tintype.diffusion import text as encoders
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.diffusion.loading import open_tokenizer
from tintype.diffusion.text import T5Encoder
from tintype.families.sd3 import CLIP_L
from tintype.worker.plan import unread_text

#: The toys' tokenizer makes a token of every letter.
FITS, LONG = "a" * 75, "a" * 90
ORDER = GenerationParams(steps=4, guidance=4.0, seed=1, sampler="euler")
WORDS = "the model reads the first 75 of its 90 tokens; what comes after them made no difference"


def orders(**texts: str) -> GenerationParams:
    return replace(ORDER, **texts)


@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_words_that_made_no_difference_are_counted(sd15: Family, sd3: Family, name: str) -> None:
    family = {"sd15": sd15, "sd3": sd3}[name]
    assert unread_text(family, orders(prompt=FITS, negative_prompt="")) == []
    assert unread_text(family, orders(prompt=LONG, negative_prompt=FITS)) == [f"prompt: {WORDS}"]
    assert unread_text(family, orders(prompt="", negative_prompt=LONG)) == [f"negative_prompt: {WORDS}"]
    unguided = replace(ORDER, negative_prompt=LONG, guidance=1.0)
    assert unread_text(family, unguided) == [], "a negative prompt that has no effect isn't read at all"


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
    family = load_family("sd3", WeightsSpec(toy_weights("sd3", weights)), torch.device("cpu"), torch.float32, tokens)
    part = family.clips[0].component  # type: ignore[attr-defined]  # any: it is never run
    monkeypatch.setattr(family, "t5", T5Encoder(Letters(), part, tokens, 64))
    assert family.lengths(LONG) == (*lengths, True)


#: Of every kind of letter that a word is made of, and what stands between words.
PLAIN = [*"abcdexyz019 .,!'\n\u0301é☃犬狐"]
PIECES = st.sampled_from([*PLAIN, "fox", "the ", "photograph", "ing", "ab" * 40, " " * 90, "狐" * 60])


@pytest.fixture(scope="module")
def clip() -> Any:
    """The built-in weights' own: of words and parts of words."""
    checkpoint = Checkpoint(builtin_weights("sd3"), "sd3")
    return open_tokenizer(checkpoint, CLIP_L)


@pytest.fixture(scope="module")
def t5() -> Any:
    """Of T5's kind, which looks for the likeliest way to divide a whole word."""
    likely = "▁ a b c d e x y z f o h t ab abc ▁the ▁fox fo ox photo graph ing ▁photograph tog tograph"
    pieces = [(piece, -9.0 + len(piece)) for piece in likely.split()]
    plain = Tokenizer(Unigram([("<unk>", 0.0), *pieces], 0, False))
    plain.pre_tokenizer = Metaspace()

    class Read:
        def __call__(self, text: str, **_: object) -> Read:
            self.input_ids = plain.encode(text).ids
            return self

    return Read()


@given(st.lists(PIECES, max_size=80).map("".join), st.integers(1, 40))
def test_a_beginning_decides_what_is_read(clip: Any, t5: Any, text: str, most: int) -> None:
    """Wherever it is cut, in the middle of a word too."""
    for tokenizer in (clip, t5):
        everything = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoders, "WINDOW", 7)
            patch.setattr(encoders, "UNSURE", 4)  # an eighth of it is enough
            start = encoders.beginning(tokenizer, text, most)
            read, sent, exact = encoders.lengths(tokenizer, text, most)
        assert text.startswith(start)
        cut = tokenizer(start, add_special_tokens=False, verbose=False).input_ids
        assert cut[:most] == everything[:most]
        assert read == min(most, len(everything))
        assert sent == len(everything) if exact else read < sent <= len(everything)


@pytest.mark.parametrize("text", ["a" * 20_000, "ab" * 10_000, "狐" * 20_000, "a fox " * 3_000])
def test_of_the_longest_prompt_there_is_little_is_tokenized(
    sd15: Family, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    looked_at: list[int] = []
    tokenizer = sd15.clips[0].tokenizer  # type: ignore[attr-defined]

    class Counting:
        model_max_length = tokenizer.model_max_length

        def __call__(self, texts: Any, **how: Any) -> Any:
            looked_at.append(len(texts if isinstance(texts, str) else texts[0]))
            return tokenizer(texts, **how)

    monkeypatch.setattr(sd15.clips[0], "tokenizer", Counting())  # type: ignore[attr-defined]
    ids, _ = encoders.tokenize(sd15.clips[0].tokenizer, text, 77)  # type: ignore[attr-defined]
    said = unread_text(sd15, orders(prompt=text, negative_prompt=""))
    assert sum(looked_at) == 4 * encoders.WINDOW
    monkeypatch.undo()
    plain = tokenizer([text], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(ids, plain)
    assert "prompt: the model reads the first 75 of its more than " in said[0]


def test_blanks_are_no_tokens(sd15: Family) -> None:
    assert sd15.lengths(" " * 20_000) == (0, 0, True)
    assert sd15.lengths("a" * 20_000) == (75, 2016, False)
