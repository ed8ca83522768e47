"""A byte-pair tokenizer in CLIP's format, made from the world's captions."""

from __future__ import annotations

import json
import random

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training.captions import caption
from training.hyper import SEED, TextEncoder
from training.sources import work
from training.words import COLOURS
from training.world import World

START, END = "<|startoftext|>", "<|endoftext|>"


def build() -> None:
    """Write the tokenizer's folder."""
    rng = random.Random(SEED)
    colours = [None, None, *COLOURS]
    captions = [caption(concept, rng.choice(colours), rng) for concept in World().concepts for _ in range(60)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    clip = CLIPTokenizer().backend_tokenizer
    model.normalizer, model.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=TextEncoder.vocabulary,
        special_tokens=[START, END],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    model.train_from_iterator(captions, trainer)
    trained = json.loads(model.to_str())["model"]
    vocabulary = trained["vocab"]
    for letter in alphabet:  # so that any word, in any script, can be spelt
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in trained["merges"]]
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TextEncoder.tokens)
    tokenizer.save_pretrained(work("tokenizer"))


def load() -> CLIPTokenizer:
    """The tokenizer that `build` wrote."""
    return CLIPTokenizer.from_pretrained(work("tokenizer"))
