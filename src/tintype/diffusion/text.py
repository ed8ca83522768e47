"""Prompts → embeddings, padded to their encoder's fixed length, so that images of a batch can't affect each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from tintype.diffusion.devices import send
from tintype.diffusion.memory.component import ForwardPass, LoadedComponent

#: Activation memory, until measured: elements per token and unit of width, counted on a GPU that is not there
#: (tests/fakedevice.py). CLIP's hidden states are held until the end, one of each layer.
CLIP_ACTIVATION, T5_ACTIVATION = 10, 17
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
class Conditioning:
    """All that a forward pass is given next to x and its level; each tensor has the N rows of the pass, or is None."""

    #: Prompt embeddings, (N, tokens, width).
    embeds: torch.Tensor
    #: The whole prompt's, (N, width).
    pooled: torch.Tensor | None = None
    #: SDXL's sizes and crops, in pixels, and what else its weights take as numbers, (N, 5 or 6).
    time_ids: torch.Tensor | None = None
    #: Further channels of x, (N, C, h, w).
    channels: torch.Tensor | None = None

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """By name, those that it has."""
        every = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: tensor for name, tensor in every if tensor is not None}

    @staticmethod
    def stack(every: Sequence[Conditioning]) -> Conditioning:
        """The rows of all of them; KeyError where one lacks what another has, as weights take the same of every row."""
        rows = [one.tensors for one in every]
        names = {name for tensors in rows for name in tensors}
        return Conditioning(**{name: torch.cat([tensors[name] for tensors in rows]) for name in names})

    def split(self, rows: int) -> Iterator[tuple[int, Conditioning]]:
        """At most `rows` rows at a time, each with the index of its first."""
        for begin in range(0, len(self.embeds), rows):
            part = slice(begin, begin + rows)
            yield begin, Conditioning(**{name: tensor[part] for name, tensor in self.tensors.items()})

    def zeros(self) -> Conditioning:
        """Of the same shapes, all zeros."""
        return Conditioning(**{name: torch.zeros_like(tensor) for name, tensor in self.tensors.items()})

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(int(tensor.nbytes) for tensor in self.tensors.values())


class PromptCache:
    """LRU cache of prompt embeddings, up to `max_bytes`: callers vary the seed and keep the prompt."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        #: Least recently used first.
        self._texts: dict[Hashable, Conditioning] = {}
        self.size = 0
        self.hits = 0
        self.misses = 0

    def get(self, encoders: Hashable, prompt: str, encode: Callable[[], Conditioning]) -> Conditioning:
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

    def __init__(self, tokenizer: Any, component: LoadedComponent, width: int, layers: int) -> None:
        self.tokenizer = tokenizer
        self.component = component
        #: Tokens of a prompt that are read, without the two marks around them.
        self.limit = tokenizer.model_max_length - 2
        #: Of activation memory, per token.
        self._elements = width * (layers + CLIP_ACTIVATION)

    @property
    def forward(self) -> ForwardPass:
        """The pass that encodes one prompt."""
        tokens = self.tokenizer.model_max_length
        return self.component.forward_pass("text", 1, tokens, 1, self.component.guess(self._elements * tokens))

    def last(self, prompt: str) -> torch.Tensor:
        """The final hidden state, (1, 77, width): SD 1.5's."""

        def encode(model: Any) -> torch.Tensor:
            ids, mask = tokenize(self.tokenizer, prompt, self.tokenizer.model_max_length)
            use_mask = getattr(model.config, "use_attention_mask", False)
            masked = send(mask, model.device) if use_mask else None
            last: torch.Tensor = model(send(ids, model.device), attention_mask=masked)[0]
            return last

        return self.forward.run(encode)

    def penultimate(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden state before the final one (1, 77, width) and the projected pooled one (1, width): SD 3's and
        SDXL's. Of a model without a projection the latter is something else."""

        def encode(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
            ids, _ = tokenize(self.tokenizer, prompt, self.tokenizer.model_max_length)
            output = model(send(ids, model.device), output_hidden_states=True)
            return output.hidden_states[-2], output[0]

        return self.forward.run(encode)


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

    @property
    def forward(self) -> ForwardPass | None:
        """The pass that encodes one prompt; None where the encoder is left out."""
        if self.component is None:
            return None
        guess = self.component.guess(T5_ACTIVATION * self.width * self.tokens)
        return self.component.forward_pass("text", 1, self.tokens, 1, guess)

    def encode(self, prompt: str, like: torch.Tensor) -> torch.Tensor:
        """(1, tokens, width) on the device and in the dtype of `like`."""
        forward = self.forward
        if forward is None:
            return torch.zeros(1, self.tokens, self.width, device=like.device, dtype=like.dtype)

        def encode(model: Any) -> torch.Tensor:
            ids, _ = tokenize(self.tokenizer, prompt, self.tokens)
            encoded: torch.Tensor = model(send(ids, model.device))[0]
            return encoded

        return send(forward.run(encode), like.device, like.dtype)


def tokenize(tokenizer: Any, prompt: str, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, each (1, length) on the CPU: truncated or padded."""
    text = beginning(tokenizer, prompt, length)
    tokens = tokenizer([text], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens.input_ids, tokens.attention_mask


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


def join_sd3(clips: Sequence[ClipEncoder], t5: T5Encoder, prompt: str) -> Conditioning:
    """SD 3's embeddings: both CLIP states side by side, padded to T5's width, then T5's (Esser et al. 2024, § 4)."""
    states, pooled = zip(*(clip.penultimate(prompt) for clip in clips), strict=True)
    clip_states = torch.cat(states, dim=-1)
    clip_states = F.pad(clip_states, (0, t5.width - clip_states.shape[-1]))
    return Conditioning(torch.cat([clip_states, t5.encode(prompt, clip_states)], dim=1), torch.cat(pooled, dim=-1))
