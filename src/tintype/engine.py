"""The engine: many images, one forward pass per step for all that can share it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from tintype.diffusion.devices import device_type, send
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.memory.component import out_of_memory
from tintype.diffusion.text import Conditioning
from tintype.errors import NoRoom

#: Steps that the host may be ahead of the device: with one, the device always has the next.
AHEAD = 1


class Engine:
    """Images in the denoising loop; each `step` is one model evaluation for every one of them."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.live: list[ImageState] = []
        #: Counters since the start: forward passes, their rows, and seconds of this thread on them and on the samplers;
        #: time isn't measured by synchronising with the device.
        self.forward_passes = 0
        self.rows = 0
        self.seconds = 0.0
        #: Conditioning of the last step's batches, rebuilt when batch membership changes.
        self._texts: dict[tuple[ImageState, ...], Conditioning] = {}
        #: Max rows that fitted in memory, where more did not; reset when no image is live.
        self._fitting_rows: dict[tuple[Family, torch.Size], int] = {}
        #: Of the last steps, what the device was asked to do, oldest first.
        self._marks: deque[Any] = deque()

    def add(self, image: ImageState, *, exact: bool = False) -> None:
        """Add an image; it shares forward passes from the next step on, unless it is to be exact.

        Holds its denoiser on the device until it leaves; raises NoRoom.
        """
        image.family.denoiser.memory.acquire(image.family.denoiser)
        image.exact = exact
        self.live.append(image)
        self._texts.clear()

    def drop(self, image: ImageState) -> None:
        """Remove an image, finished or not, without effect on others, and release its denoiser."""
        self.live.remove(image)
        image.family.denoiser.memory.release(image.family.denoiser)
        self._texts.clear()
        if not self.live:
            self._fitting_rows.clear()

    def step(self) -> list[ImageState]:
        """Advance every live image by one evaluation; removes and returns those that are finished or have failed."""
        with torch.inference_mode():
            for batch in self.batches():
                self._attempt(batch)
        self._keep_pace()
        ended = [image for image in self.live if image.ended]
        for image in ended:
            self.drop(image)
        return ended

    def _keep_pace(self) -> None:
        """Wait until the device has done all steps but the last; else it would be asked for many ahead.

        Images that join would wait for them, and those that are cancelled would still be drawn.
        """
        device = self.live[0].family.device if self.live else torch.device("cpu")
        if mark := device_type(device).mark:
            self._marks.append(mark(device))
        while len(self._marks) > AHEAD:
            self._marks.popleft().synchronize()

    def batches(self) -> Iterator[list[ImageState]]:
        """Live images that can share a forward pass: same weights, same latent shape, at most `max_rows` rows."""
        groups: dict[tuple[Family, torch.Size, ImageState | None], list[ImageState]] = {}
        for image in self.live:
            if not image.ended:
                own = image if image.exact else None
                groups.setdefault((image.family, image.ask.x.shape, own), []).append(image)
        for (family, shape, _), group in groups.items():
            max_rows = self._fitting_rows.get((family, shape), self.max_rows)
            batch, rows = group[:1], group[0].rows
            for image in group[1:]:
                if rows + image.rows > max_rows:
                    yield batch
                    batch, rows = [], 0
                batch.append(image)
                rows += image.rows
            yield batch

    def _attempt(self, batch: list[ImageState]) -> None:
        smaller: list[list[ImageState]] = []
        try:
            self._evaluate(batch)
        except Exception as error:  # noqa: BLE001 - whatever the model raises is the images' error
            smaller = self._halved(batch) if isinstance(error, NoRoom) or out_of_memory(error) else []
            for image in [] if smaller else batch:
                image.error = error
        # After the handler, as the exception refers to all that the failed pass had allocated.
        for part in smaller:
            self._attempt(part)

    def _halved(self, batch: list[ImageState]) -> list[list[ImageState]]:
        """Smaller batches where this one doesn't fit in memory, for later steps too; none where it is one row."""
        key = batch[0].family, batch[0].ask.x.shape
        if batch[0].exact or (len(batch) == 1 and (batch[0].rows == 1 or self._fitting_rows.get(key) == 1)):
            return []  # exact: the bits also depend on the number of the image's own rows
        half = len(batch) // 2
        parts = [batch[:half], batch[half:]] if half else [batch]
        rows = max(sum(image.rows for image in part) for part in parts) if half else 1
        self._fitting_rows[key] = min(rows, self._fitting_rows.get(key, rows))
        return parts

    def _evaluate(self, batch: list[ImageState]) -> None:
        """One forward pass for the whole batch, and each sampler's turn."""
        began = time.monotonic()
        first = batch[0]
        counts = [image.rows for image in batch]
        x = torch.cat([image.ask.x.expand(image.rows, -1, -1, -1) for image in batch])
        levels = [image.ask.level for image in batch for _ in range(image.rows)]
        level = send(torch.tensor(levels, dtype=torch.float32), x.device)
        # The two rows of a guided image one by one if both don't fit in memory.
        single = not first.exact and self._fitting_rows.get((first.family, first.ask.x.shape)) == 1
        rows = 1 if single else len(levels)
        members = tuple(batch)
        if members not in self._texts:
            self._texts[members] = Conditioning.stack([image.text for image in batch])
        predicted = []
        for begin, text in self._texts[members].split(rows):
            part = slice(begin, begin + rows)
            predicted.append(first.family.predict(x[part], level[part], text, exact=first.exact))
            self.forward_passes += 1
            self.rows += len(predicted[-1])
        for image, prediction in zip(batch, torch.cat(predicted).split(counts), strict=True):
            try:
                image.answer(prediction)
                if image.handed_over is not None:
                    self._enter_next(image)
            except Exception as error:  # noqa: BLE001 - what a sampler raises is its own image's error
                image.error = error
        self.seconds += time.monotonic() - began

    def _enter_next(self, image: ImageState) -> None:
        """Its next stage's denoiser takes the place of this one's; raises NoRoom."""
        before, after = image.family.denoiser, image.then.family.denoiser if image.then else image.family.denoiser
        after.memory.acquire(after)
        before.memory.release(before)
        image.enter_next()
        self._texts.clear()  # all of a batch may go on with the next stage together
