"""Encoded prompts, kept: people try the same words with other seeds, and all leave the negative prompt as it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from tintype.diffusion.conditioning import Text


class Prompts:
    """The encoded prompts that were used last, up to `most` bytes of them; a kept text is the encoder's, bit by bit."""

    def __init__(self, most: int) -> None:
        self._most = most
        #: In the order in which they were last used.
        self._texts: dict[Hashable, Text] = {}
        self.size = 0
        self.hits = 0
        self.misses = 0

    def get(self, encoders: Hashable, prompt: str, encode: Callable[[], Text]) -> Text:
        """The prompt as `encode` encodes it. `encoders` names everything but the prompt that its numbers depend on."""
        key = encoders, prompt
        if key in self._texts:
            self.hits += 1
            self._texts[key] = self._texts.pop(key)
            return self._texts[key]
        self.misses += 1
        text = encode()
        if text.size <= self._most:
            self._keep(key, text)
        return text

    def _keep(self, key: Hashable, text: Text) -> None:
        self._texts[key] = text
        self.size += text.size
        while self.size > self._most:
            self.size -= self._texts.pop(next(iter(self._texts))).size
