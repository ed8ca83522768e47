"""Renders live previews of running requests for callers who watch: small JPEGs, on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog
import torch
from PIL import Image

from tintype.media.images import encode
from tintype.store.queue.previews import Preview, Previews
from tintype.worker.task import RunningRequest

log = structlog.get_logger()


QUALITY = 80
#: Pixels of the longer side of a finished picture's preview.
SMALL = 256
#: In the place of a step.
FINISHED = -1


class PreviewRenderer:
    """Makes at most one look per picture and beat of the heart, and none for requests that nobody watches.

    hides: whether nobody may look at a task's pictures yet.
    """

    def __init__(self, previews: Previews, hides: Callable[[RunningRequest], bool] = lambda _: False) -> None:
        self._previews = previews
        self._hides = hides
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._under_way: Future[None] | None = None
        #: Counted since the start.
        self.looks = 0

    def beat(self, tasks: Sequence[RunningRequest]) -> None:
        """Look at those of the tasks that are watched, unless the last looks are not done yet."""
        if self._under_way is not None and not self._under_way.done():
            return
        open_ones = [task for task in tasks if task.pictures and not self._hides(task)]
        watched = self._previews.watched([task.request.id for task in open_ones])
        if watched:
            wanted = [task for task in open_ones if task.request.id in watched]
            self._under_way = self._thread.submit(self._look_at, wanted)

    def close(self) -> None:
        """Look no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _look_at(self, tasks: Sequence[RunningRequest]) -> None:
        for task in tasks:
            try:
                self._look(task)
            except Exception as error:  # noqa: BLE001 - a look that fails costs the picture nothing
                log.warning("no preview", request=task.request.id, error=repr(error))

    def _look(self, task: RunningRequest) -> None:
        """All of the task's pictures that have moved since the last look."""
        seen = [(index, look) for index in range(len(task.pictures)) if (look := _see(task, index))]
        looks = []
        for index, (step, picture) in seen:
            task.looks += 1
            task.looked_at[index] = step
            jpeg = encode(picture, "jpeg", QUALITY)
            finished = step == FINISHED
            done = task.pictures[index].step
            looks.append(Preview(task.request.attempt, task.looks, index, done if finished else step, jpeg, finished))
        if looks:
            self._previews.put(task.request.id, looks)
            self.looks += len(looks)


def _see(task: RunningRequest, index: int) -> tuple[int, Image.Image] | None:
    """How a picture looks and after which step; None where that was seen before, or there is nothing to see."""
    picture, pixels = task.pictures[index], task.pixels.get(index)
    if pixels is not None:
        if task.looked_at.get(index) == FINISHED or len(task.pictures) == 1:
            return None  # a single one's file follows at once
        return FINISHED, _small(Image.fromarray(pixels.numpy()), *task.size)
    step = picture.step
    if picture.answered is None or step == task.looked_at.get(index):
        return None
    with torch.inference_mode():
        return step, Image.fromarray(picture.family.glance(*picture.answered).numpy())


def _small(picture: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(1.0, SMALL / max(width, height))
    return picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)
