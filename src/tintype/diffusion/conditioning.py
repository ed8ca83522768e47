"""Prompts → tensors, padded to the text encoders' fixed length so that neighbours in a batch can't matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F


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


class ClipEncoder:
    """A CLIP tokenizer and text model."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer = tokenizer
        self.model = model

    def last(self, prompt: str) -> torch.Tensor:
        """The final hidden state, (1, 77, width): what SD 1.5 was trained on."""
        ids, mask = self._tokens(prompt)
        use_mask = getattr(self.model.config, "use_attention_mask", False)
        return self.model(ids, attention_mask=mask if use_mask else None)[0]

    def penultimate(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The last hidden state but one (1, 77, width) and the projected pooled one (1, width): SD 3's choice."""
        ids, _ = self._tokens(prompt)
        answer = self.model(ids, output_hidden_states=True)
        return answer.hidden_states[-2], answer[0]

    def _tokens(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        return tokenize(self.tokenizer, prompt, self.tokenizer.model_max_length, self.model.device)


class T5Encoder:
    """SD 3's third encoder, or zeros in its place: the model was trained with it left out at times."""

    def __init__(self, tokenizer: Any, model: Any, tokens: int) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.tokens = tokens

    def encode(self, prompt: str, like: torch.Tensor, width: int) -> torch.Tensor:
        """(1, tokens, width) on the device and in the dtype of `like`."""
        if self.model is None:
            return torch.zeros(1, self.tokens, width, device=like.device, dtype=like.dtype)
        ids, _ = tokenize(self.tokenizer, prompt, self.tokens, self.model.device)
        return self.model(ids)[0].to(like)


def tokenize(tokenizer: Any, prompt: str, length: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, each (1, length): cut or padded to exactly that length."""
    tokens = tokenizer([prompt], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens.input_ids.to(device), tokens.attention_mask.to(device)


def join_sd3(clips: Sequence[ClipEncoder], t5: T5Encoder, prompt: str, width: int) -> Text:
    """SD 3's text: both CLIP states side by side, padded to T5's width, then T5's tokens (Esser et al. 2024, § 4)."""
    states, pooled = zip(*(clip.penultimate(prompt) for clip in clips), strict=True)
    clip_states = torch.cat(states, dim=-1)
    clip_states = F.pad(clip_states, (0, width - clip_states.shape[-1]))
    return Text(torch.cat([clip_states, t5.encode(prompt, clip_states, width)], dim=1), torch.cat(pooled, dim=-1))
