"""The engine: many pictures, one forward pass per step for all that can share it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from tintype.diffusion.conditioning import Text
from tintype.diffusion.denoising import Denoising, Family

#: Evaluations between looks for NaN: each look waits for the device once.
CHECK_EVERY = 16


class Engine:
    """Pictures on their way; each `step` brings every one of them one model evaluation further."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.live: list[Denoising] = []
        #: Counted since the start: forward passes, the rows in them, and the seconds that they and what the samplers
        #: made of them took this thread: nothing waits for the device to tell the time.
        self.forward_passes = 0
        self.rows = 0
        self.seconds = 0.0
        #: Text of the batches that stepped last: put together when the company changes, not at every step.
        self._texts: dict[tuple[Denoising, ...], Text] = {}

    def add(self, picture: Denoising, *, alone: bool = False) -> None:
        """Let a picture join; it shares the next forward pass, unless its bits must not depend on its company."""
        picture.alone = alone
        self.live.append(picture)
        self._texts.clear()

    def drop(self, picture: Denoising) -> None:
        """Let a picture leave before it is finished; its neighbours don't notice."""
        self.live.remove(picture)
        self._texts.clear()

    def step(self) -> list[Denoising]:
        """Answer every live picture's question; returns, and forgets, those that are finished or failed."""
        with torch.inference_mode():
            for batch in self.batches():
                self._attempt(batch)
        ended = [picture for picture in self.live if picture.ended]
        if ended:
            self._texts.clear()
        self.live = [picture for picture in self.live if not picture.ended]
        return ended

    def batches(self) -> Iterator[list[Denoising]]:
        """Live pictures that can share a forward pass: same weights, same latent shape, not too many rows."""
        waiting: dict[tuple[Family, torch.Size, Denoising | None], list[Denoising]] = {}
        for picture in self.live:
            if not picture.ended:
                company = picture if picture.alone else None
                waiting.setdefault((picture.family, picture.ask.x.shape, company), []).append(picture)
        for alike in waiting.values():
            yield from self._portions(alike)

    def _portions(self, alike: list[Denoising]) -> Iterator[list[Denoising]]:
        portion: list[Denoising] = []
        rows = 0
        for picture in alike:
            if portion and rows + picture.rows > self.max_rows:
                yield portion
                portion, rows = [], 0
            portion.append(picture)
            rows += picture.rows
        yield portion

    def _attempt(self, batch: list[Denoising]) -> None:
        try:
            self._answer(batch)
        except Exception as error:  # noqa: BLE001 - whatever the model raises is each picture's own, for its owner to judge
            for picture in batch:
                picture.error = error

    def _answer(self, batch: list[Denoising]) -> None:
        """One forward pass for the whole batch."""
        began, family = time.monotonic(), batch[0].family
        counts = [picture.rows for picture in batch]
        x = torch.cat([picture.ask.x.expand(picture.rows, -1, -1, -1) for picture in batch])
        levels = [picture.ask.level for picture in batch for _ in range(picture.rows)]
        level = torch.tensor(levels, dtype=torch.float32, device=x.device)
        predicted = family.predict(x, level, self._text(batch), exact=batch[0].alone)
        for picture, prediction in zip(batch, predicted.split(counts), strict=True):
            self._reply(picture, prediction)
        self.forward_passes += 1
        self.rows += len(levels)
        self.seconds += time.monotonic() - began

    def _reply(self, picture: Denoising, prediction: torch.Tensor) -> None:
        try:
            picture.answer(prediction)
            if picture.latents is not None or picture.step % CHECK_EVERY == 0:
                picture.check()
        except Exception as error:  # noqa: BLE001 - what a sampler raises is its own picture's alone
            picture.error = error

    def _text(self, batch: list[Denoising]) -> Text:
        company = tuple(batch)
        if company not in self._texts:
            self._texts[company] = Text.stack([picture.text for picture in batch])
        return self._texts[company]
