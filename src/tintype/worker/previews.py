"""Live previews of running requests, for clients that follow them: a small JPEG of each image, on a thread of its own.

The images of one request are decoded one after another. Finished ones are shown small until all are: a request that
is then cancelled or fails costs nothing, and so must not show anything worth its price.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import structlog
import torch
from PIL import Image

from tintype.media.images import encode
from tintype.media.provenance.marker import NO_MARKS, Marker
from tintype.store.queue.progress import Preview, Previews
from tintype.worker.outputs import SafetyFilter
from tintype.worker.plan import Running

log = structlog.get_logger()

QUALITY = 80
#: Pixels of the longer side of a finished image's preview.
SMALL = 256
#: In the place of a step.
FINISHED = -1


@dataclass
class _Shown:
    """What previews of a request have shown."""

    count: int = 0
    #: The last step by image, or FINISHED.
    steps: dict[int, int] = field(default_factory=dict)


class PreviewRenderer:
    """Renders at most one preview per image and heartbeat, of followed requests only."""

    def __init__(self, previews: Previews, safety: SafetyFilter, marker: Marker = NO_MARKS) -> None:
        self._previews = previews
        self._marker = marker
        self._safety = safety
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._rendering: Future[None] | None = None
        self._shown: WeakKeyDictionary[Running, _Shown] = WeakKeyDictionary()
        #: Previews since the start.
        self.count = 0

    def render(self, running: Sequence[Running]) -> None:
        """Previews of those that are followed, unless the last ones are still being rendered."""
        if self._rendering is not None and not self._rendering.done():
            return
        visible = [one for one in running if one.images and not self._safety.hides(one.request.safety)]
        followed = self._previews.followed([one.request.id for one in visible])
        if followed:
            wanted = [one for one in visible if one.request.id in followed]
            self._rendering = self._thread.submit(self._render, wanted)

    def close(self) -> None:
        """Render no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _render(self, running: Sequence[Running]) -> None:
        for one in running:
            try:
                self._render_one(one, self._shown.setdefault(one, _Shown()))
            except Exception as error:  # noqa: BLE001 - the images don't depend on their previews
                log.warning("no preview", request=one.request.id, error=repr(error))

    def _render_one(self, one: Running, shown: _Shown) -> None:
        """All of its images that have changed since their last preview."""
        changed = [(index, seen) for index in range(len(one.images)) if (seen := _see(one, index, shown))]
        previews = []
        for index, (step, image) in changed:
            shown.count += 1
            shown.steps[index] = step
            finished = step == FINISHED
            done = one.images[index].step if finished else step
            jpeg = encode(image, "jpeg", QUALITY, xmp=self._marker.xmp(one.plan.origin))
            previews.append(Preview(one.request.attempt, shown.count, index, done, jpeg, finished))
        if previews:
            self._previews.put(one.request.id, previews)
            self.count += len(previews)


def _see(one: Running, index: int, shown: _Shown) -> tuple[int, Image.Image] | None:
    """The step of an image and how it looks after it; None where that was shown, or nothing to show."""
    image, pixels = one.images[index], one.pixels.get(index)
    if pixels is not None:
        if shown.steps.get(index) == FINISHED or len(one.images) == 1:
            return None  # the file of a single image follows immediately
        return FINISHED, _small(Image.fromarray(pixels.numpy()), *one.plan.size)
    step = image.step
    if image.answered is None or step == shown.steps.get(index):
        return None
    with torch.inference_mode():
        return step, Image.fromarray(image.family.preview(*image.answered).numpy())


def _small(image: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(1.0, SMALL / max(width, height))
    return image.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)
