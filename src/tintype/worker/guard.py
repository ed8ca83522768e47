"""The guard: has finished pictures checked, as strictly as each request is meant to be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
import torch

from tintype.diffusion.safety import Checker, DiffusersChecker, OpenNsfw
from tintype.errors import ContentRefused, SafetyUnavailable
from tintype.settings import Settings
from tintype.worker.task import RunningRequest

log = structlog.get_logger()


class Guard:
    """Loads its checker with the first request that is to be checked; `load` is None where nobody looks at pictures."""

    def __init__(self, load: Callable[[], Checker] | None) -> None:
        self._load = load
        self._checker: Checker | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Guard:
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
            return self.load().classify(pixels)
        except Exception as error:
            raise SafetyUnavailable from error


def _checker(settings: Settings) -> Checker:
    if settings.safety_checker == "opennsfw":
        return OpenNsfw(settings.safety_threshold)
    if settings.safety_folder is None:
        raise FileNotFoundError("no folder with a safety_checker")
    return DiffusersChecker(settings.safety_folder)
