"""The output steps: pixels → safety filter → encode → storage → result, off the engine's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
import torch

from tintype.catalog.builtin import BUILTIN
from tintype.diffusion.safety import Checker, DiffusersChecker, OpenNsfw
from tintype.errors import ContentRefused, SafetyUnavailable, StoreUnavailable
from tintype.media.outlet import Outlet
from tintype.media.storage import Storage
from tintype.settings import Settings
from tintype.store.db.records import Json
from tintype.store.queue.requests import Requests
from tintype.worker.jobs import to_file
from tintype.worker.task import RunningRequest

log = structlog.get_logger()


class SafetyFilter:
    """Loads its checker with the first request that is to be checked; `load` is None where nobody looks at pictures."""

    def __init__(self, load: Callable[[], Checker] | None) -> None:
        self._load = load
        self._checker: Checker | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> SafetyFilter:
        """As the operator configured it."""
        return cls(None if settings.safety_checker == "none" else partial(_checker, settings))

    def hides(self, task: RunningRequest) -> bool:
        """Whether nobody may see the task's pictures before they are checked."""
        return self._load is not None and task.request.safety == "block"

    def expect(self, task: RunningRequest) -> None:
        """Have the checker there when the task's pictures are finished; raises SafetyUnavailable."""
        if self._load is not None and task.request.safety != "off":
            self.load()

    def check(self, task: RunningRequest) -> list[str]:
        """What the caller should know of the task's pictures.

        Raises ContentRefused for a request that is to be blocked, whichever of its pictures it is, and
        SafetyUnavailable where they can't be checked: a picture that should have been looked at is not handed out.
        """
        if self._load is None or task.request.safety == "off":
            return []
        found = [(index, self._look(task.pixels[index])) for index in range(len(task.pictures))]
        seen = [(index, category) for index, category in found if category]
        if seen and task.request.safety == "block":
            raise ContentRefused.of_picture(seen[0][1])
        return [f"picture {index + 1} of {len(found)} may be {category}" for index, category in seen]

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

    def _look(self, pixels: torch.Tensor) -> str | None:
        try:
            return self.load().look(pixels)
        except Exception as error:
            raise SafetyUnavailable from error


def _checker(settings: Settings) -> Checker:
    if settings.safety_checker == "opennsfw":
        return OpenNsfw(settings.safety_threshold)
    if settings.safety_folder is None:
        raise FileNotFoundError("no folder with a safety_checker")
    return DiffusersChecker(settings.safety_folder)


#: Seconds between attempts to write a result.
PAUSES = (0.5, 1.0, 2.0, 4.0)


class Outputs:
    """Writes a task's pictures, then the result that names them."""

    def __init__(self, requests: Requests, outputs: Storage, guard: SafetyFilter, *, with_recipe: bool) -> None:
        self.requests = requests
        self.outputs = outputs
        self.outlet = Outlet(outputs)
        self.guard = guard
        self.with_recipe = with_recipe

    def deliver(self, task: RunningRequest, seconds: float) -> None:
        """Check, encode, put and complete; `seconds` is the model's time. Files of a lost attempt expire by themselves.

        Raises what the check raises: nothing is written then.
        """
        warnings = task.warnings + self.guard.check(task)
        encoding = time.monotonic()  # from here on: nobody pays by the second for being checked
        pictures = [self._put(task, index) for index in range(len(task.pictures))]
        result: dict[str, Any] = {
            "pictures": pictures,
            "format": task.order.format,
            "seed": task.order.seed,
            "recipe": task.recipe.json(),
            "inference_time": round(seconds + time.monotonic() - encoding, 4),
        }
        if warnings:
            result["warnings"] = warnings
        if task.loaded.builtin:
            result["weights"] = BUILTIN
        if task.cold_start:
            result["cold_start"] = round(task.cold_start, 4)
        if not self._complete(task, result):
            log.info("result not taken: it has ended, or another worker has it", request=task.request.id)

    def _complete(self, task: RunningRequest, result: Json) -> bool:
        """Write the result; the picture is made, so a database that is away for a moment is waited for."""
        for pause in PAUSES:
            try:
                return self.requests.complete(task.request.id, task.request.attempt, result, task.mark.steps)
            except StoreUnavailable:
                if pause == PAUSES[0]:  # once for all tries
                    log.warning("the result can't be written yet; trying again", request=task.request.id)
                time.sleep(pause)
        return self.requests.complete(task.request.id, task.request.attempt, result, task.mark.steps)

    def _put(self, task: RunningRequest, index: int) -> dict[str, str | int]:
        order = task.order
        seed = order.seeds[index]
        how = task.recipe.of(seed) if self.with_recipe else None
        made = to_file(order, task.pixels[index], task.size, seed, how)
        with self.outlet.used():
            return made.keep(self.outputs, order.format)
