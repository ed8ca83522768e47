"""The engine: many pictures, one forward pass per step for all that can share it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from tintype.diffusion.conditioning import Text
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.memory.component import out_of_memory
from tintype.errors import NoRoom

#: Evaluations between looks for NaN: each look waits for the device once.
CHECK_EVERY = 16


class Engine:
    """Pictures on their way; each `step` brings every one of them one model evaluation further."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.live: list[ImageState] = []
        #: Counted since the start: forward passes, the rows in them, and the seconds that they and what the samplers
        #: made of them took this thread: nothing waits for the device to tell the time.
        self.forward_passes = 0
        self.rows = 0
        self.seconds = 0.0
        #: Text of the batches that stepped last: put together when the company changes, not at every step.
        self._texts: dict[tuple[ImageState, ...], Text] = {}
        #: The most rows for which there was room, where more had been tried; forgotten once nothing is under way.
        self._room: dict[tuple[Family, torch.Size], int] = {}

    def add(self, picture: ImageState, *, alone: bool = False) -> None:
        """Let a picture join; it shares the next forward pass, unless its bits must not depend on its company.

        Its model stays on the device until it has left; raises NoRoom where there is none for it.
        """
        picture.family.denoiser.memory.acquire(picture.family.denoiser)
        picture.alone = alone
        self.live.append(picture)
        self._texts.clear()

    def drop(self, picture: ImageState) -> None:
        """Let a picture leave before it is finished; its neighbours don't notice."""
        self.live.remove(picture)
        self._part_with(picture)

    def step(self) -> list[ImageState]:
        """Answer every live picture's question; returns, and forgets, those that are finished or failed."""
        with torch.inference_mode():
            for batch in self.batches():
                self._attempt(batch)
        ended = [picture for picture in self.live if picture.ended]
        self.live = [picture for picture in self.live if not picture.ended]
        for picture in ended:
            self._part_with(picture)
        return ended

    def batches(self) -> Iterator[list[ImageState]]:
        """Live pictures that can share a forward pass: same weights, same latent shape, not too many rows."""
        waiting: dict[tuple[Family, torch.Size, ImageState | None], list[ImageState]] = {}
        for picture in self.live:
            if not picture.ended:
                company = picture if picture.alone else None
                waiting.setdefault((picture.family, picture.ask.x.shape, company), []).append(picture)
        for (family, shape, _), alike in waiting.items():
            yield from self._portions(alike, self._room.get((family, shape), self.max_rows))

    def _portions(self, alike: list[ImageState], most: int) -> Iterator[list[ImageState]]:
        portion: list[ImageState] = []
        rows = 0
        for picture in alike:
            if portion and rows + picture.rows > most:
                yield portion
                portion, rows = [], 0
            portion.append(picture)
            rows += picture.rows
        yield portion

    def _attempt(self, batch: list[ImageState]) -> None:
        parts: list[list[ImageState]] = []
        try:
            self._answer(batch)
        except Exception as error:  # noqa: BLE001 - whatever the model raises is each picture's own, for its owner to judge
            parts = self._divided(batch) if isinstance(error, NoRoom) or out_of_memory(error) else []
            for picture in [] if parts else batch:
                picture.error = error
        # Only now: as long as the error is at hand, so is all that the failed pass had computed.
        for part in parts:
            self._attempt(part)

    def _divided(self, batch: list[ImageState]) -> list[list[ImageState]]:
        """Smaller batches where there is no room for this one, now and from now on; none where it is a single row."""
        alike = batch[0].family, batch[0].ask.x.shape
        if batch[0].alone or (len(batch) == 1 and (batch[0].rows == 1 or self._room.get(alike) == 1)):
            return []  # the bits of a picture that wants no company depend on the number of its rows, too
        half = len(batch) // 2
        parts = [batch[:half], batch[half:]] if half else [batch]
        rows = max(sum(picture.rows for picture in part) for part in parts) if half else 1
        self._room[alike] = min(rows, self._room.get(alike, rows))
        return parts

    def _answer(self, batch: list[ImageState]) -> None:
        """One forward pass for the whole batch."""
        began = time.monotonic()
        counts = [picture.rows for picture in batch]
        x = torch.cat([picture.ask.x.expand(picture.rows, -1, -1, -1) for picture in batch])
        levels = [picture.ask.level for picture in batch for _ in range(picture.rows)]
        level = torch.tensor(levels, dtype=torch.float32, device=x.device)
        # The two rows of a guided picture one by one, if there is no room for both.
        single = not batch[0].alone and self._room.get((batch[0].family, batch[0].ask.x.shape)) == 1
        step = 1 if single else len(levels)
        predicted = [
            self._predict(batch[0], x[begin : begin + step], level[begin : begin + step], text)
            for begin, text in self._text(batch).portions(step)
        ]
        for picture, prediction in zip(batch, torch.cat(predicted).split(counts), strict=True):
            self._reply(picture, prediction)
        self.seconds += time.monotonic() - began

    def _predict(self, first: ImageState, x: torch.Tensor, level: torch.Tensor, text: Text) -> torch.Tensor:
        predicted = first.family.predict(x, level, text, exact=first.alone)
        self.forward_passes += 1
        self.rows += len(x)
        return predicted

    def _reply(self, picture: ImageState, prediction: torch.Tensor) -> None:
        try:
            picture.answer(prediction)
            if picture.latents is not None or picture.step % CHECK_EVERY == 0:
                picture.check()
        except Exception as error:  # noqa: BLE001 - what a sampler raises is its own picture's alone
            picture.error = error

    def _text(self, batch: list[ImageState]) -> Text:
        company = tuple(batch)
        if company not in self._texts:
            self._texts[company] = Text.stack([picture.text for picture in batch])
        return self._texts[company]

    def _part_with(self, picture: ImageState) -> None:
        """What is kept for the sake of a picture that has left."""
        picture.family.denoiser.memory.release(picture.family.denoiser)
        self._texts.clear()
        if not self.live:
            self._room.clear()
