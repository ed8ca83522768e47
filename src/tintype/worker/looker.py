"""Looks at pictures on their way, for callers who watch: a small JPEG of each, on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog
import torch
from PIL import Image

from tintype.media.images import encode
from tintype.store.previews import Preview, Previews
from tintype.worker.task import Task

log = structlog.get_logger()

QUALITY = 80


class Looker:
    """Makes at most one look per request and beat of the heart, and none for requests that nobody watches.

    hides: whether nobody may look at a task's pictures yet.
    """

    def __init__(self, previews: Previews, hides: Callable[[Task], bool] = lambda _: False) -> None:
        self._previews = previews
        self._hides = hides
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._under_way: Future[None] | None = None
        #: Counted since the start.
        self.looks = 0

    def beat(self, tasks: Sequence[Task]) -> None:
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

    def _look_at(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            try:
                self._look(task)
            except Exception as error:  # noqa: BLE001 - a look that fails costs the picture nothing
                log.warning("no preview", request=task.request.id, error=repr(error))

    def _look(self, task: Task) -> None:
        """The first of the task's pictures, if it has moved since the last look."""
        picture = next(iter(task.pictures), None)
        if picture is None or picture.answered is None or picture.step == task.looked_at:
            return
        task.looked_at = step = picture.step
        with torch.inference_mode():
            seen = picture.family.glance(*picture.answered)
        jpeg = encode(Image.fromarray(seen.numpy()), "jpeg", QUALITY)
        self._previews.put(task.request.id, Preview(task.request.attempt, step, jpeg))
        self.looks += 1
