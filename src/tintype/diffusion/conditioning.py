"""Prompts → tensors, padded to the text encoders' fixed length so that neighbours in a batch can't matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from tintype.diffusion.memory.activation import ForwardPass
from tintype.diffusion.memory.component import LoadedComponent
from tintype.diffusion.memory.estimate import PassEstimate

#: Bytes per token and unit of width that an encoder needs beside its weights: all hidden states are kept until the end.
WORKING = 128
#: Characters of a prompt that are tokenized at first: of 20,000 without a blank, all would take up to 60 ms each time.
WINDOW = 2048
#: Tokens before a cut that might be others if the text went on. A token is decided by what stands near it: in words of
#: random letters, cut anywhere, the last one or two differ.
UNSURE = 32


class Lengths(NamedTuple):
    """Of a prompt's tokens, without the marks around them: how many count, and how many there are."""

    read: int
    sent: int
    #: False: there are more.
    exact: bool = True

    def __str__(self) -> str:
        return str(self.sent) if self.exact else f"more than {self.sent}"


@dataclass(frozen=True)
class Text:
    """Encoded prompts: embeds (N, tokens, width), and for SD 3 pooled (N, width)."""

    embeds: torch.Tensor
    pooled: torch.Tensor | None = None

    @staticmethod
    def stack(texts: Sequence[Text]) -> Text:
        """Put the rows of several under each other."""
        pooled = [text.pooled for text in texts if text.pooled is not None]
        return Text(torch.cat([text.embeds for text in texts]), torch.cat(pooled) if pooled else None)

    def portions(self, rows: int) -> Iterator[tuple[int, Text]]:
        """At most so many rows at a time, and at which row each begins."""
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


class ClipEncoder:
    """A CLIP tokenizer and text model."""

    def __init__(self, tokenizer: Any, component: LoadedComponent, width: int) -> None:
        self.tokenizer = tokenizer
        self.component = component
        tokens = tokenizer.model_max_length
        self._pass = ForwardPass(component.key, "text", 1, tokens, 1, WORKING * width * tokens)

    @property
    def estimate(self) -> PassEstimate:
        """What encoding a prompt needs of the memory."""
        return PassEstimate(self.component, self.component.activation(self._pass))

    def lengths(self, prompt: str) -> Lengths:
        """How many of a prompt's tokens count, without the two marks around them."""
        return lengths(self.tokenizer, prompt, self.tokenizer.model_max_length - 2)

    def last(self, prompt: str) -> torch.Tensor:
        """The final hidden state, (1, 77, width): what SD 1.5 was trained on."""
        return self.component.run(self._pass, lambda model: self._last(model, prompt))

    def penultimate(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The last hidden state but one (1, 77, width) and the projected pooled one (1, width): SD 3's choice."""
        return self.component.run(self._pass, lambda model: self._penultimate(model, prompt))

    def _last(self, model: Any, prompt: str) -> torch.Tensor:
        ids, mask = self._tokens(prompt, model.device)
        use_mask = getattr(model.config, "use_attention_mask", False)
        last: torch.Tensor = model(ids, attention_mask=mask if use_mask else None)[0]
        return last

    def _penultimate(self, model: Any, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        ids, _ = self._tokens(prompt, model.device)
        answer = model(ids, output_hidden_states=True)
        return answer.hidden_states[-2], answer[0]

    def _tokens(self, prompt: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        return tokenize(self.tokenizer, prompt, self.tokenizer.model_max_length, device)


class T5Encoder:
    """SD 3's third encoder, or zeros in its place: the model was trained with it left out at times."""

    def __init__(self, tokenizer: Any, component: LoadedComponent | None, tokens: int, width: int) -> None:
        self.tokenizer = tokenizer
        self.component = component
        self.tokens = tokens
        self.width = width
        key = "" if component is None else component.key
        self._pass = ForwardPass(key, "text", 1, tokens, 1, WORKING * width * tokens)

    @property
    def estimates(self) -> tuple[PassEstimate, ...]:
        """What encoding a prompt needs of the memory."""
        return () if self.component is None else (PassEstimate(self.component, self.component.activation(self._pass)),)

    def lengths(self, prompt: str) -> Lengths:
        """How many of a prompt's tokens count, without the mark of its end; none without T5."""
        return Lengths(0, 0) if self.component is None else lengths(self.tokenizer, prompt, self.tokens - 1)

    def encode(self, prompt: str, like: torch.Tensor) -> torch.Tensor:
        """(1, tokens, width) on the device and in the dtype of `like`."""
        if self.component is None:
            return torch.zeros(1, self.tokens, self.width, device=like.device, dtype=like.dtype)
        return self.component.run(self._pass, lambda model: self._encode(model, prompt)).to(like)

    def _encode(self, model: Any, prompt: str) -> torch.Tensor:
        ids, _ = tokenize(self.tokenizer, prompt, self.tokens, model.device)
        encoded: torch.Tensor = model(ids)[0]
        return encoded


def tokenize(tokenizer: Any, prompt: str, length: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, each (1, length): cut or padded to exactly that length."""
    text = beginning(tokenizer, prompt, length)
    tokens = tokenizer([text], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens.input_ids.to(device), tokens.attention_mask.to(device)


def lengths(tokenizer: Any, prompt: str, most: int) -> Lengths:
    """How many tokens a prompt has, of which `most` are read."""
    text = beginning(tokenizer, prompt, most)
    sent = count(tokenizer, text)
    if len(text) < len(prompt):
        return Lengths(most, sent - UNSURE, exact=False)
    return Lengths(min(sent, most), sent)


def beginning(tokenizer: Any, prompt: str, most: int) -> str:
    """As much of a prompt as decides its first `most` tokens."""
    size = WINDOW
    while size < len(prompt):
        if count(tokenizer, prompt[:size]) > most + UNSURE:
            return prompt[:size]
        size *= 2
    return prompt


def count(tokenizer: Any, prompt: str) -> int:
    """How many tokens a prompt has, without the marks of its beginning and end."""
    return len(tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids)


def join_sd3(clips: Sequence[ClipEncoder], t5: T5Encoder, prompt: str) -> Text:
    """SD 3's text: both CLIP states side by side, padded to T5's width, then T5's tokens (Esser et al. 2024, § 4)."""
    states, pooled = zip(*(clip.penultimate(prompt) for clip in clips), strict=True)
    clip_states = torch.cat(states, dim=-1)
    clip_states = F.pad(clip_states, (0, t5.width - clip_states.shape[-1]))
    return Text(torch.cat([clip_states, t5.encode(prompt, clip_states)], dim=1), torch.cat(pooled, dim=-1))
