"""The output steps: pixels → safety filter → encode, with the recipe → sign → storage → result; on other threads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import structlog
import torch
from PIL import Image

from tintype.catalog.builtin import BUILTIN
from tintype.catalog.recipe import notes
from tintype.core import GenerationParams, LoggedFile, Output, Recipe, Result
from tintype.diffusion.safety import Checker, DiffusersChecker, OpenNsfw
from tintype.errors import ContentRefused, SafetyUnavailable, StoreUnavailable
from tintype.media.images import Encoded, encode
from tintype.media.provenance.marker import NO_MARKS, Marker
from tintype.media.scaling import resize
from tintype.media.storage import Storage, StorageBreaker
from tintype.settings import Settings
from tintype.settings.groups import Safety
from tintype.store.queue.queue import Leases
from tintype.telemetry.metrics import Stage
from tintype.worker.plan import Plan, Running
from tintype.worker.timings import Timings

log = structlog.get_logger()

#: Seconds between attempts to write a result.
PAUSES = (0.5, 1.0, 2.0, 4.0)
#: Concurrent uploads, and images that are encoded and stored at the same time in addition to the first of each.
PLACES = 4


class Outputs:
    """Writes the files of finished requests, then the results that name them."""

    def __init__(
        self, leases: Leases, storage: Storage, safety: SafetyFilter, marker: Marker = NO_MARKS, *, with_recipe: bool
    ) -> None:
        self.storage = storage
        self.breaker = StorageBreaker(storage)
        self.safety = safety
        self.marker = marker
        self._leases = leases
        self._with_recipe = with_recipe
        self._threads = ThreadPoolExecutor(PLACES, thread_name_prefix="deliver")
        #: Stays open: uploads under way need it.
        self._further = ThreadPoolExecutor(PLACES, thread_name_prefix="encode")

    def submit(self, one: Running, seconds: float, timings: Timings) -> Future[None]:
        """Upload a request whose images are all finished; `seconds` is the model's time."""
        return self._threads.submit(timings.run, one.request, Stage.DELIVER, self._upload, one, seconds)

    def close(self) -> None:
        """Begin no more; those under way go on."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _upload(self, one: Running, seconds: float) -> None:
        """Files of a lost attempt expire.

        Raises what the safety filter raises: nothing is written then; and MarkUnavailable, StorageUnavailable,
        StoreUnavailable.
        """
        recipes = [self.marker.numbered(one.plan.recipe.of(seed)) for seed in one.params.seeds]
        pixels = [one.pixels[index] for index in range(len(one.images))]
        warnings = (*one.plan.warnings, *self.safety.check(one.request.safety, pixels))
        encoding = time.monotonic()  # from here on: checking is not charged by the second
        first, *others = (partial(self._store, one, *image) for image in zip(pixels, recipes, strict=True))
        further = [self._further.submit(copy_context().run, store) for store in others]
        stored = [first(), *(one.result() for one in further)]
        unsigned = dict.fromkeys(image.warning for image in stored if image.warning)
        result = Result(
            outputs=tuple(image.output for image in stored),
            format=one.params.format,
            seed=one.params.seed,
            recipe=recipes[0],
            inference_time=round(seconds + time.monotonic() - encoding, 4),
            warnings=(*warnings, *unsigned),
            weights=BUILTIN if one.plan.loaded.builtin else "",
            cold_start=round(one.cold_start, 4),
        )
        files = [image.logged for image in stored] if self.marker.marks else []
        if not self._complete(one, result, files):
            log.info("result not taken: it has ended, or another worker has it", request=one.request.id)

    def _store(self, one: Running, pixels: torch.Tensor, recipe: Recipe) -> _Stored:
        file, warning = finish(self.marker, one.params, one.plan, pixels, recipe, with_recipe=self._with_recipe)
        with self.breaker.guarding():
            output = file.store(self.storage, one.params.format)
        digest, number = hashlib.sha256(file.data).digest(), bytes.fromhex(recipe.mark) or None
        return _Stored(output, warning, LoggedFile(digest, number))

    def _complete(self, one: Running, result: Result, files: Sequence[LoggedFile]) -> bool:
        """The files are stored, so a database that is away for some seconds is waited for; False for a lost attempt."""
        complete = partial(self._leases.complete, *one.held, result, one.progress.steps, files)
        for pause in PAUSES:
            try:
                return complete()
            except StoreUnavailable:
                if pause == PAUSES[0]:  # once for all tries
                    log.warning("the result can't be written yet; trying again", request=one.request.id)
                time.sleep(pause)
        return complete()


@dataclass(frozen=True, slots=True)
class _Stored:
    """One image's file."""

    output: Output
    #: For the caller; or an empty text.
    warning: str
    logged: LoggedFile


def finish(
    marker: Marker, params: GenerationParams, plan: Plan, pixels: torch.Tensor, recipe: Recipe, *, with_recipe: bool
) -> tuple[Encoded, str]:
    """Pixels (height, width, 3) of 8 bits → the file of the plan's size and the params' format; a warning, or none.

    recipe: the image's, which the file carries if wanted, and whose watermark its pixels get. Raises MarkUnavailable.
    """
    image, origin = resize(Image.fromarray(pixels.numpy()), *plan.size), plan.origin
    if recipe.mark:
        from tintype.media.provenance.mark import put  # noqa: PLC0415 - brings SciPy, which unmarked images do without

        image = Image.fromarray(put(np.asarray(image), bytes.fromhex(recipe.mark)))
        origin = replace(origin, watermarked=True)
    texts = notes(recipe, plan.size, params.checkpoint, canvas=params.canvas) if with_recipe else ("", "")
    data = encode(image, params.format, params.quality, *texts, marker.xmp(origin))
    marked = marker.sign(data, origin)
    return Encoded(marked.data, *plan.size, recipe.params.seed), marked.warning


class SafetyFilter:
    """Checks finished images, as strictly as each request's level says.

    load: loads the checker, with the first request that needs it; None where no images are checked.
    """

    def __init__(self, load: Callable[[], Checker] | None) -> None:
        self._load = load
        self._checker: Checker | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> SafetyFilter:
        """As the operator configured it."""
        return cls(None if settings.safety.checker == "none" else partial(_checker, settings))

    def hides(self, level: Safety) -> bool:
        """Whether images may not be shown before they are checked."""
        return self._load is not None and level == "block"

    def expect(self, level: Safety) -> None:
        """Load the checker before it is needed; raises SafetyUnavailable."""
        if self._load is not None and level != "off":
            self.load()

    def check(self, level: Safety, images: Sequence[torch.Tensor]) -> list[str]:
        """Warnings for the caller, one for each image that the checker finds.

        Raises ContentRefused where such images are to be blocked, and SafetyUnavailable where they can't be checked: no
        image is returned that should have been.
        """
        if self._load is None or level == "off":
            return []
        found = [(index, self._classify(pixels)) for index, pixels in enumerate(images)]
        seen = [(index, category) for index, category in found if category]
        if seen and level == "block":
            raise ContentRefused.of_image(seen[0][1])
        return [f"image {index + 1} of {len(found)} may be {category}" for index, category in seen]

    def load(self) -> Checker:
        """The checker, loaded if it isn't; raises SafetyUnavailable."""
        if self._load is None:
            raise SafetyUnavailable
        if self._checker is None:
            try:
                self._checker = self._load()
            except Exception as error:
                raise SafetyUnavailable from error
        return self._checker

    def _classify(self, pixels: torch.Tensor) -> str | None:
        try:
            return self.load().classify(pixels)
        except Exception as error:
            raise SafetyUnavailable from error


def _checker(settings: Settings) -> Checker:
    if settings.safety.checker == "opennsfw":
        return OpenNsfw(settings.safety.threshold)
    if settings.safety_folder is None:
        raise FileNotFoundError("no folder with a safety_checker")
    return DiffusersChecker(settings.safety_folder)
