"""Loads models before requests need them: the pinned ones, and those that callers ask for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import structlog

from tintype.catalog.catalogue import Catalogue
from tintype.errors import StoreUnavailable, TintypeError
from tintype.store.db.records import Warmth
from tintype.store.ops.preload import Warmups
from tintype.worker.models import ModelPool

log = structlog.get_logger()


class Preloader:
    """Looks, now and then and between two steps, for models to load; also has leave what nobody has needed lately.

    interval: seconds between looks.
    """

    def __init__(
        self,
        worker: str,
        catalogue: Catalogue,
        models: ModelPool,
        warmups: Warmups,
        pins: Iterable[str],
        *,
        interval: float,
    ) -> None:
        self.worker = worker
        self.catalogue = catalogue
        self.models = models
        self.warmups = warmups
        self.interval = interval
        self._pinned = list(pins)
        #: Those that are loaded, as far as the store knows.
        self._warm: set[str] = set()
        #: Those whose denoiser is where it works, as far as the store knows.
        self.loaded: set[str] = set()
        self._looked = 0.0

    def look(self) -> None:
        """Load one model, if one is wanted; at the first look, the pinned ones."""
        if time.monotonic() < self._looked + self.interval:
            return
        with suppress(StoreUnavailable):  # then the next look tells
            self._load_pinned()
            for slug in self.warmups.asked(self.worker)[:1]:
                self._answer(slug)
            self._tell_changes()
            self._tell_loaded()
        self.models.memory.tidy()
        self._looked = time.monotonic()

    def tell(self) -> None:
        """Tell the store at once what is loaded, if that is news: other workers leave requests to this one for it."""
        with suppress(StoreUnavailable):  # then the next look tells
            self._tell_loaded()

    def _load_pinned(self) -> None:
        while self._pinned:
            slug = self._pinned.pop(0)
            try:
                self.models.load(self.catalogue.find(slug))
            except TintypeError as error:
                # Its requests will fail with the same words; the other models' need not.
                log.warning(
                    "pinned model can't be loaded", model=slug, error=error.message, cause=repr(error.__cause__)
                )

    def _answer(self, slug: str) -> None:
        """Load the model and say so, or why it failed."""
        began = time.monotonic()
        spec = self.catalogue.find(slug)
        try:
            loaded = self.models.get(spec)
            if loaded.must_wait:
                return  # it is still asked for at the next look
            loaded.bring()
        except StoreUnavailable:
            raise
        except TintypeError as error:
            log.warning("model can't be loaded", model=slug, error=error.message, cause=repr(error.__cause__))
            self.warmups.answer(self.worker, slug, Warmth.FAILED, error=error.message)
            return
        self._warm.add(slug)
        self.warmups.answer(self.worker, slug, Warmth.WARM, seconds=round(time.monotonic() - began, 4))

    def _tell_changes(self) -> None:
        """Models become warm by being used, too, and cold when others need their room."""
        warm = self.models.warm()
        for slug in warm - self._warm:
            self.warmups.answer(self.worker, slug, Warmth.WARM)
        for slug in self._warm - warm:
            self.warmups.answer(self.worker, slug, Warmth.COLD)
        self._warm = warm

    def _tell_loaded(self) -> None:
        loaded = self.models.at_hand(self.catalogue.values())
        if loaded != self.loaded:
            self.warmups.note(self.worker, loaded)
            self.loaded = loaded
