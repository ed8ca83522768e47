"""Loads models before requests need them: the pinned ones, and those that callers ask for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import structlog

from tintype.errors import StoreUnavailable, TintypeError
from tintype.store.db.records import PreloadState
from tintype.store.ops.preload import Preloads
from tintype.worker.models import ModelPool

log = structlog.get_logger()


class Preloader:
    """Polls, between two steps, for models to load; evicts those whose keep-alive time is over.

    interval: seconds between polls.
    """

    def __init__(
        self, worker: str, models: ModelPool, preloads: Preloads, pinned: Iterable[str], *, interval: float
    ) -> None:
        self._worker = worker
        self._models = models
        self._preloads = preloads
        self._interval = interval
        self._pinned = list(pinned)
        #: The warm models, as the store knows them.
        self._warm: set[str] = set()
        #: The models whose denoiser is on the device, as the store knows them.
        self.loaded: set[str] = set()
        self._polled = 0.0

    def poll(self) -> None:
        """Load one model, if one is asked for; at the first poll, the pinned ones."""
        if time.monotonic() < self._polled + self._interval:
            return
        with suppress(StoreUnavailable):  # then the next poll tells
            self._load_pinned()
            for slug in self._preloads.asked(self._worker)[:1]:
                self._answer(slug)
            self._tell_changes()
            self.tell()
        self._models.memory.evict_expired()
        self._polled = time.monotonic()

    def tell(self) -> None:
        """Write which denoisers are loaded, if that changed: other workers leave requests to this one for it."""
        with suppress(StoreUnavailable):  # then the next poll tells
            loaded = self._models.with_denoiser()
            if loaded != self.loaded:
                self._preloads.note(self._worker, loaded)
                self.loaded = loaded

    def _load_pinned(self) -> None:
        while self._pinned:
            slug = self._pinned.pop(0)
            try:
                self._models.load(self._models.catalogue.find(slug))
            except TintypeError as error:
                # Its requests fail with the same message; those of other models need not.
                log.warning(
                    "pinned model can't be loaded", model=slug, error=error.message, cause=repr(error.__cause__)
                )

    def _answer(self, slug: str) -> None:
        """Load the model and write that it is warm, or why it failed."""
        began = time.monotonic()
        spec = self._models.catalogue.find(slug)
        try:
            loaded = self._models.get(spec)
            if loaded.must_wait:
                return  # it is still asked for at the next poll
            loaded.bring()
        except StoreUnavailable:
            raise
        except TintypeError as error:
            log.warning("model can't be loaded", model=slug, error=error.message, cause=repr(error.__cause__))
            self._preloads.answer(self._worker, slug, PreloadState.FAILED, error=error.message)
            return
        self._warm.add(slug)
        self._preloads.answer(self._worker, slug, PreloadState.WARM, seconds=round(time.monotonic() - began, 4))

    def _tell_changes(self) -> None:
        """Requests load models, too, and evict others."""
        warm = self._models.warm()
        for slug in warm - self._warm:
            self._preloads.answer(self._worker, slug, PreloadState.WARM)
        for slug in self._warm - warm:
            self._preloads.answer(self._worker, slug, PreloadState.COLD)
        self._warm = warm
