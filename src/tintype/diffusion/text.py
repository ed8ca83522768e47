"""Prompts → embeddings, padded to their encoder's fixed length, so that images of a batch can't affect each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from tintype.diffusion.memory.component import ForwardPass, LoadedComponent

#: Bytes of activation memory per token and unit of width, until measured: all hidden states are held until the end.
ACTIVATION = 128
#: Characters of a prompt that are tokenized first: of 20,000 without a blank, all would take up to 60 ms each time.
WINDOW = 2048
#: Tokens before a cut that might differ if the text went on. A token depends on what is near it: in words of random
#: letters, cut anywhere, the last one or two differ.
UNSURE = 32


class Lengths(NamedTuple):
    """A prompt's length in tokens, without start and end marks: how many are read, and how many there are."""

    read: int
    sent: int
    #: False: there are more.
    exact: bool = True

    def __str__(self) -> str:
        return str(self.sent) if self.exact else f"more than {self.sent}"


@dataclass(frozen=True)
class Text:
    """Prompt embeddings: embeds (N, tokens, width), and for SD 3 pooled (N, width)."""

    embeds: torch.Tensor
    pooled: torch.Tensor | None = None

    @staticmethod
    def stack(texts: Sequence[Text]) -> Text:
        """The rows of all of them."""
        pooled = [text.pooled for text in texts if text.pooled is not None]
        return Text(torch.cat([text.embeds for text in texts]), torch.cat(pooled) if pooled else None)

    def split(self, rows: int) -> Iterator[tuple[int, Text]]:
        """At most `rows` rows at a time, each with the index of its first."""
        if rows >= len(self.embeds):
            yield 0, self
            return
        pooled = [None] * len(self.embeds) if self.pooled is None else self.pooled.split(rows)
        for index, (embeds, own) in enumerate(zip(self.embeds.split(rows), pooled, strict=False)):
            yield index * rows, Text(embeds, own)

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.embeds.nbytes) + (0 if self.pooled is None else int(self.pooled.nbytes))


class PromptCache:
    """LRU cache of prompt embeddings, up to `max_bytes`: callers vary the seed and keep the prompt."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        #: Least recently used first.
        self._texts: dict[Hashable, Text] = {}
        self.size = 0
        self.hits = 0
        self.misses = 0

    def get(self, encoders: Hashable, prompt: str, encode: Callable[[], Text]) -> Text:
        """The embeddings, from `encode` if not cached. `encoders` identifies all that they depend on but the prompt."""
        key = encoders, prompt
        if key in self._texts:
            self.hits += 1
            self._texts[key] = self._texts.pop(key)
            return self._texts[key]
        self.misses += 1
        text = encode()
        if text.size <= self._max_bytes:
            self._texts[key] = text
            self.size += text.size
            while self.size > self._max_bytes:
                self.size -= self._texts.pop(next(iter(self._texts))).size
        return text


class ClipEncoder:
    """A CLIP tokenizer and text model."""

    def __init__(self, tokenizer: Any, component: LoadedComponent, width: int) -> None:
        self.tokenizer = tokenizer
        self.component = component
        tokens = tokenizer.model_max_length
        #: Tokens of a prompt that are read, without the two marks around them.
        self.limit = tokens - 2
        #: Encodes one prompt.
        self.forward = ForwardPass(component.key, "text", 1, tokens, 1, ACTIVATION * width * tokens)

    def last(self, prompt: str) -> torch.Tensor:
        """The final hidden state, (1, 77, width): SD 1.5's."""

        def encode(model: Any) -> torch.Tensor:
            ids, mask = tokenize(self.tokenizer, prompt, self.tokenizer.model_max_length, model.device)
            use_mask = getattr(model.config, "use_attention_mask", False)
            last: torch.Tensor = model(ids, attention_mask=mask if use_mask else None)[0]
            return last

        return self.component.run(self.forward, encode)

    def penultimate(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden state before the final one (1, 77, width) and the projected pooled one (1, width): SD 3's."""

        def encode(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
            ids, _ = tokenize(self.tokenizer, prompt, self.tokenizer.model_max_length, model.device)
            output = model(ids, output_hidden_states=True)
            return output.hidden_states[-2], output[0]

        return self.component.run(self.forward, encode)


class T5Encoder:
    """SD 3's third encoder, or zeros in its place: training left it out at random."""

    def __init__(self, tokenizer: Any, component: LoadedComponent | None, tokens: int, width: int) -> None:
        self.tokenizer = tokenizer
        self.component = component
        self.tokens = tokens
        #: Tokens of a prompt that are read, without the end mark.
        self.limit = tokens - 1
        self.width = width
        #: All that its embeddings depend on.
        self.key = component.key if component else "", tokens
        #: Encodes one prompt.
        self.forward = ForwardPass(self.key[0], "text", 1, tokens, 1, ACTIVATION * width * tokens)

    def encode(self, prompt: str, like: torch.Tensor) -> torch.Tensor:
        """(1, tokens, width) on the device and in the dtype of `like`."""
        if self.component is None:
            return torch.zeros(1, self.tokens, self.width, device=like.device, dtype=like.dtype)

        def encode(model: Any) -> torch.Tensor:
            ids, _ = tokenize(self.tokenizer, prompt, self.tokens, model.device)
            encoded: torch.Tensor = model(ids)[0]
            return encoded

        return self.component.run(self.forward, encode).to(like)


def tokenize(tokenizer: Any, prompt: str, length: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, each (1, length): truncated or padded."""
    text = beginning(tokenizer, prompt, length)
    tokens = tokenizer([text], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens.input_ids.to(device), tokens.attention_mask.to(device)


def lengths(tokenizer: Any, prompt: str, limit: int) -> Lengths:
    """A prompt's length in tokens, of which `limit` are read."""
    text = beginning(tokenizer, prompt, limit)
    sent = count(tokenizer, text)
    if len(text) < len(prompt):
        return Lengths(limit, sent - UNSURE, exact=False)
    return Lengths(min(sent, limit), sent)


def beginning(tokenizer: Any, prompt: str, limit: int) -> str:
    """A prefix of the prompt that determines its first `limit` tokens."""
    size = WINDOW
    while size < len(prompt):
        if count(tokenizer, prompt[:size]) > limit + UNSURE:
            return prompt[:size]
        size *= 2
    return prompt


def count(tokenizer: Any, prompt: str) -> int:
    """Tokens of a prompt, without start and end marks."""
    return len(tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids)


def join_sd3(clips: Sequence[ClipEncoder], t5: T5Encoder, prompt: str) -> Text:
    """SD 3's embeddings: both CLIP states side by side, padded to T5's width, then T5's (Esser et al. 2024, § 4)."""
    states, pooled = zip(*(clip.penultimate(prompt) for clip in clips), strict=True)
    clip_states = torch.cat(states, dim=-1)
    clip_states = F.pad(clip_states, (0, t5.width - clip_states.shape[-1]))
    return Text(torch.cat([clip_states, t5.encode(prompt, clip_states)], dim=1), torch.cat(pooled, dim=-1))
