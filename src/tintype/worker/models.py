"""The models that a worker can draw with: each is opened once, its weights loaded when needed, or before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
import torch

from tintype.catalog.parameters import NO_REFINER
from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.weights import T5Place, WeightsSpec, builtin_weights
from tintype.diffusion.check import NEEDS_MASK
from tintype.diffusion.compile import pick_run
from tintype.diffusion.devices import pick_device
from tintype.diffusion.dtype_selection import pick_dtype
from tintype.diffusion.families import load_family, open_checkpoint, with_refiner
from tintype.diffusion.image_state import Family
from tintype.diffusion.memory.component import Location
from tintype.diffusion.memory.device_memory import DeviceMemory, open_memory
from tintype.diffusion.text import PromptCache
from tintype.errors import InvalidParameter, NoRoom, StoreUnavailable, TintypeError, WeightsUnusable
from tintype.families import FAMILIES
from tintype.hub.registry import Registry
from tintype.settings import Settings
from tintype.settings.groups import Prepare
from tintype.store.db.records import PreloadState
from tintype.store.ops.preload import Preloads

log = structlog.get_logger()

#: Bytes in a gigabyte, as settings count, and in a megabyte.
GIGABYTE, MEGABYTE = 2**30, 2**20
#: Sets of weights that stay open, loaded or not; beyond it the least recently used is closed.
MAX_OPEN = 64


@dataclass(frozen=True)
class LoadedModel:
    """A model that can be drawn with, and what tells it apart from others."""

    family: Family
    #: Of its weights.
    fingerprint: str
    #: float32 or bfloat16.
    dtype: str
    t5_tokens: int
    #: Side of the square whose area it draws, whatever size was asked for; None for the size itself.
    native_size: int | None
    #: Whether the weights are the ones that tintype brings along.
    builtin: bool

    @property
    def warm(self) -> bool:
        """Whether all its components are on their devices."""
        return all(component.location is Location.DEVICE for component in self.family.components)

    @property
    def must_wait(self) -> bool:
        """Whether its weights have no room only because of running requests."""
        components = self.family.components
        possible = all(component.memory.fits([component], 0) for component in components)
        return possible and not all(component.memory.can_fit(component) for component in components)

    def keep(self, seconds: float) -> None:
        """Evict its weights after that many seconds without use; 0 for never.

        A component shared with another model gets the longer of both times.
        """
        for component in self.family.components:
            component.keep_alive = seconds if component.keep_alive is None else longer(component.keep_alive, seconds)

    def bring(self) -> None:
        """Bring all its components to their devices; raises NoRoom, WeightsUnusable."""
        with torch.inference_mode():
            for component in self.family.components:
                component.memory.acquire(component)
                component.memory.release(component)


def longer(one: float, other: float) -> float:
    """The longer of two times, of which 0 is infinite."""
    return max(one, other) if one and other else 0.0


class ModelPool:
    """Opens each set of weights once: models that share weights share forward passes and memory."""

    def __init__(
        self,
        device: str,
        dtype: str,
        t5_tokens: int,
        own: Mapping[str, WeightsSpec],
        *,
        catalogue: Catalogue | None = None,
        memory: DeviceMemory | None = None,
        prompts: PromptCache | None = None,
        t5: T5Place = "device",
        prepare: Prepare = "off",
        keep_alive: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        """own: weights by slug, of models without the built-in ones. keep_alive: seconds by slug; 0 is infinite."""
        self.device = pick_device(device)
        #: The models that requests name.
        self.catalogue = catalogue or Catalogue([])
        self._run = pick_run(prepare, self.device)
        self._dtype = dtype
        #: The default dtype of each set of weights: measured once.
        self._dtypes: dict[WeightsSpec, torch.dtype] = {}
        self.memory = memory or DeviceMemory()
        self.prompts = prompts or PromptCache(0)
        self._t5_tokens = t5_tokens
        #: T5's device, unless a model's own weights say otherwise.
        self._t5 = t5
        self._own = own
        self._keep_alive = keep_alive
        #: In LRU order.
        self._loaded: dict[tuple[WeightsSpec, torch.dtype], LoadedModel] = {}
        #: By slug, for reports.
        self._by_slug: dict[str, LoadedModel] = {}
        #: Seconds spent on opening models since the last call of `waited`.
        self._seconds = 0.0
        #: How often requests waited for weights, and for how many seconds in all: for the worker's report.
        self.cold_starts = 0
        self.cold_seconds = 0.0

    @classmethod
    def from_settings(cls, settings: Settings, registry: Registry, device: str) -> ModelPool:
        """As the operator configured them."""
        where = pick_device(device)
        cache = settings.memory.prompt_cache * MEGABYTE
        budget = None if settings.memory.budget == "auto" else round(settings.memory.budget * GIGABYTE)
        measured = settings.data / f"memory-{str(where).replace(':', '')}.json"
        # A command that draws in its own process need not have a data folder.
        stored = measured if settings.data.is_dir() else None
        memory = open_memory(where, budget, stored, set_aside=cache, share=settings.memory.share)
        seconds = registry.keep_alive
        return cls(
            device,
            settings.worker.dtype,
            settings.models.t5_tokens,
            registry.weights,
            catalogue=registry.served,
            memory=memory,
            prompts=PromptCache(cache),
            t5=settings.memory.t5,
            prepare=settings.worker.prepare,
            keep_alive=lambda slug: seconds.get(slug, settings.memory.keep_alive),
        )

    def get(
        self,
        spec: ModelSpec,
        dtype: torch.dtype | None = None,
        loras: Iterable[tuple[str, float]] = (),
        *,
        refined: bool = False,
    ) -> LoadedModel:
        """The model, in its default dtype unless told, with LoRAs on top; its weights need not be loaded.

        refined: with its refiner. Raises WeightsUnusable, and InvalidParameter for a LoRA or a refiner that the model
        doesn't offer.
        """
        loras = tuple(loras)
        weights = self._weights(spec)
        default = self._default_dtype(spec.family, weights)
        loaded = self._opened(spec, spec.family, weights.with_loras(loras) if loras else weights, dtype or default)
        if not loras and dtype in (None, default):
            self._by_slug[spec.slug] = loaded
        return self._with_refiner(spec, loaded, dtype or default) if refined else loaded

    def _opened(self, spec: ModelSpec, family: str, weights: WeightsSpec, dtype: torch.dtype) -> LoadedModel:
        """Of one of the model's sets of weights."""
        began, wanted = time.monotonic(), (weights, dtype)
        loaded = self._loaded.pop(wanted, None)
        if loaded is None:
            log.info("opening weights", model=spec.slug, device=str(self.device), dtype=str(dtype))
            loaded = self._open(family, weights, dtype)
            loaded.keep(self._keep_alive(spec.slug))
            self._seconds += time.monotonic() - began
        self._loaded[wanted] = loaded
        if loaded.family.needs_mask and spec.needs != "mask":
            raise WeightsUnusable(f"component {FAMILIES[spec.family].denoiser.name}: {NEEDS_MASK}")
        while len(self._loaded) > MAX_OPEN:
            del self._loaded[next(iter(self._loaded))]
        return loaded

    def _with_refiner(self, spec: ModelSpec, base: LoadedModel, dtype: torch.dtype) -> LoadedModel:
        own, family = self._own.get(spec.slug), FAMILIES[spec.family].refiner
        if own is None or own.refiner is None or not family:
            raise InvalidParameter("refiner", True, NO_REFINER)
        refiner = self._opened(spec, family, own.refiner, dtype)
        fingerprint = f"{base.fingerprint}+{refiner.fingerprint}"
        return replace(base, family=with_refiner(base.family, refiner.family), fingerprint=fingerprint)

    def check(self) -> None:
        """Log the models that can't be drawn with their own weights, before a request finds out; loads nothing."""
        for slug in self._own.keys() & self.catalogue.keys():
            spec = self.catalogue[slug]
            try:
                open_checkpoint(spec.family, self._weights(spec), spec.needs)
                if refiner := self._own[slug].refiner:
                    open_checkpoint(FAMILIES[spec.family].refiner, refiner)
            except WeightsUnusable as error:
                cause = repr(error.__cause__)
                log.warning("a model can't be drawn with its weights", model=slug, error=error.message, cause=cause)

    def load(self, spec: ModelSpec, loras: Iterable[tuple[str, float]] = (), *, refined: bool = False) -> LoadedModel:
        """The model as `get` returns it, with all its components on their devices; raises NoRoom, too."""
        loaded = self.get(spec, loras=loras, refined=refined)
        loaded.bring()
        return loaded

    def pin(self, specs: Iterable[ModelSpec]) -> None:
        """Never evict these models' weights once they are loaded; raises WeightsUnusable, NoRoom."""
        for spec in specs:
            for component in self.get(spec).family.components:
                if not component.memory.fits([component], 0):
                    raise NoRoom(f"{spec.slug} can't be pinned: the pinned models need more memory than the budget")
                component.pinned = True

    def waited(self) -> float:
        """Seconds spent on opening and loading models since the last call."""
        seconds, self._seconds = self._seconds + self.memory.take_load_seconds(), 0.0
        if seconds:
            self.cold_starts += 1
            self.cold_seconds += seconds
        return seconds

    @property
    def slugs(self) -> tuple[str, ...]:
        """The models that requests named here, for the worker's report."""
        return tuple(self._by_slug)

    def warm(self) -> set[str]:
        """Slugs of the models whose components are all on their devices."""
        return {slug for slug, loaded in self._by_slug.items() if loaded.warm}

    def with_denoiser(self) -> set[str]:
        """Slugs of the models whose denoiser, the largest component, is on the device, whatever it was loaded for."""
        found = set()
        for slug, spec in self.catalogue.items():
            weights = self._weights(spec)
            loaded = self._loaded.get((weights, self._dtypes[weights])) if weights in self._dtypes else None
            if loaded is not None and loaded.family.denoiser.location is Location.DEVICE:
                found.add(slug)
        return found

    def _weights(self, spec: ModelSpec) -> WeightsSpec:
        """Without its refiner's."""
        own = self._own.get(spec.slug)
        if own is None:
            return builtin_weights(spec.family, few_steps=spec.few_steps)
        return replace(own, t5=self._t5 if own.t5 == "device" else own.t5, refiner=None)

    def _default_dtype(self, family: str, weights: WeightsSpec) -> torch.dtype:
        if weights not in self._dtypes:
            checkpoint = Checkpoint(weights, family)
            denoiser = checkpoint.component(checkpoint.family.denoiser)
            self._dtypes[weights] = pick_dtype(self._dtype, self.device, denoiser)
        return self._dtypes[weights]

    def _open(self, family: str, weights: WeightsSpec, dtype: torch.dtype) -> LoadedModel:
        metadata = weights.metadata
        t5_tokens = metadata.t5_tokens or self._t5_tokens
        opened = load_family(family, weights, self.device, dtype, t5_tokens, memory=self.memory, prompts=self.prompts)
        opened.run = opened.autoencoder.run = self._run
        name = str(dtype).removeprefix("torch.")
        return LoadedModel(opened, weights.fingerprint, name, t5_tokens, metadata.native_size, weights.builtin)


class Preloader:
    """Polls, between two steps, for models to load; evicts those whose keep-alive time is over.

    interval: seconds between polls. on_change: called when a denoiser was loaded or evicted.
    """

    def __init__(
        self,
        worker: str,
        models: ModelPool,
        preloads: Preloads,
        pinned: Iterable[str],
        *,
        interval: float,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._worker = worker
        self._models = models
        self._preloads = preloads
        self._interval = interval
        self._on_change = on_change
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
        self._polled = time.monotonic()
        with suppress(StoreUnavailable):  # then the next poll tells
            self._load_pinned()
            for slug in self._preloads.asked(self._worker)[:1]:
                self._answer(slug)
            self._tell_changes()
            self.tell()
        self._models.memory.evict_expired()

    def wake(self) -> None:
        """Have the next turn poll: a model may be asked for. From any thread."""
        self._polled = 0.0

    def tell(self) -> None:
        """Write which denoisers are loaded, if that changed: other workers leave requests to this one for it."""
        with suppress(StoreUnavailable):  # then the next poll tells
            loaded = self._models.with_denoiser()
            if loaded != self.loaded:
                self._preloads.note(self._worker, loaded)
                self.loaded = loaded
                self._on_change()

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
