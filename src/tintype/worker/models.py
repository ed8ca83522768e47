"""The models that a worker can draw with: each is put together once; its weights are loaded when they are needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import structlog
import torch

from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.builtin import builtin_weights
from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.weights import T5Place, Weights
from tintype.diffusion.arithmetic import pick_dtype
from tintype.diffusion.families import DENOISERS, load_family, pick_device
from tintype.diffusion.image_state import Family
from tintype.diffusion.memory.part import Place
from tintype.diffusion.memory.plan import Memory, open_memory
from tintype.diffusion.prepared import pick_run
from tintype.diffusion.prompts import Prompts
from tintype.errors import NoRoom
from tintype.settings import Prepare, Settings

log = structlog.get_logger()


@dataclass(frozen=True)
class LoadedModel:
    """A model that can be drawn with, and what tells it apart from others."""

    family: Family
    #: Of its weights.
    fingerprint: str
    #: Its arithmetic: float32 or bfloat16.
    dtype: str
    t5_tokens: int
    #: Side of the square whose area it draws, whatever size was asked for; None for the size itself.
    native_size: int | None
    #: Whether the weights are the ones that tintype brings along.
    builtin: bool

    @property
    def warm(self) -> bool:
        """Whether all its weights are where they work."""
        return all(part.place is Place.DEVICE for part in self.family.parts)

    @property
    def at_hand(self) -> bool:
        """Whether its denoiser is where it works: the largest part, and the one that stays for a whole picture."""
        return self.family.denoiser.place is Place.DEVICE

    @property
    def must_wait(self) -> bool:
        """Whether its weights have no room only because of what is under way."""
        parts = self.family.parts
        possible = all(part.memory.fits([part], 0) for part in parts)
        return possible and not all(part.memory.could_take(part) for part in parts)

    def keep(self, seconds: float) -> None:
        """Let its weights leave after so many seconds in which nobody needed them; 0 is never.

        What it shares with another model stays for the longer of both times.
        """
        for part in self.family.parts:
            part.keep_alive = seconds if part.keep_alive is None else longer(part.keep_alive, seconds)

    def bring(self) -> None:
        """Bring all its weights to where they work; raises NoRoom, WeightsUnusable."""
        with torch.inference_mode():
            for part in self.family.parts:
                part.memory.keep(part)
                part.memory.release(part)


def longer(one: float, other: float) -> float:
    """The longer of two times, of which 0 is for ever."""
    return max(one, other) if one and other else 0.0


#: Bytes in a gigabyte, as settings count, and in a megabyte.
GIGABYTE, MEGABYTE = 2**30, 2**20
#: Sets of weights that stay open, loaded or not; the one that was asked for longest ago is closed.
MOST_OPEN = 64


class ModelPool:
    """Puts each set of weights together once: models that share weights share forward passes, and memory."""

    def __init__(
        self,
        device: str,
        dtype: str,
        t5_tokens: int,
        own: Mapping[str, Weights],
        *,
        memory: Memory | None = None,
        prompts: Prompts | None = None,
        t5: T5Place = "device",
        prepare: Prepare = "off",
        keep_alive: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        self.device = pick_device(device)
        self._run = pick_run(prepare, self.device)
        self._dtype = dtype
        #: The usual number format of each set of weights: measured once.
        self._usual: dict[Weights, torch.dtype] = {}
        self.memory = memory or Memory.endless()
        self.prompts = prompts or Prompts(0)
        self._t5_tokens = t5_tokens
        #: Where T5 works, unless a model's own weights say otherwise.
        self._t5 = t5
        self._own = own
        #: Seconds, by slug, that unused weights stay; 0 is ever.
        self._keep_alive = keep_alive
        #: In the order in which they were last asked for.
        self._loaded: dict[tuple[Weights, torch.dtype], LoadedModel] = {}
        #: By slug, for reports.
        self._by_slug: dict[str, LoadedModel] = {}
        #: Seconds spent on opening models since somebody asked.
        self._seconds = 0.0
        #: How often somebody waited for weights, and for how many seconds in all: for the worker's report.
        self.cold_starts = 0
        self.cold_seconds = 0.0

    @classmethod
    def from_settings(
        cls, settings: Settings, own: Mapping[str, Weights], device: str, keep_alive: Mapping[str, float] | None = None
    ) -> ModelPool:
        """As the operator configured them; `own` are the weights of the slugs that don't use the built-in ones.

        keep_alive: seconds, by slug, where a model has its own.
        """
        where = pick_device(device)
        cache = settings.prompt_cache * MEGABYTE
        budget = None if settings.memory == "auto" else round(settings.memory * GIGABYTE)
        peaks = settings.data / f"memory-{str(where).replace(':', '')}.json"
        # A command that draws in its own process need not have a data folder.
        kept = peaks if settings.data.is_dir() else None
        memory = open_memory(where, budget, kept, set_aside=cache, share=settings.memory_share)
        return cls(
            device,
            settings.dtype,
            settings.t5_tokens,
            own,
            memory=memory,
            prompts=Prompts(cache),
            t5=settings.t5,
            prepare=settings.prepare,
            keep_alive=lambda slug: (keep_alive or {}).get(slug, settings.keep_alive),
        )

    def get(
        self, spec: ModelSpec, dtype: torch.dtype | None = None, styles: Iterable[tuple[str, float]] = ()
    ) -> LoadedModel:
        """The model, in the usual arithmetic unless told, with LoRAs on top; its weights need not be loaded.

        Raises WeightsUnusable, and InvalidParameter for a LoRA that the model doesn't offer.
        """
        began = time.monotonic()
        styles = tuple(styles)
        own = self._weights(spec)
        usual = self._format(spec.family, own)
        wanted = own.styled(styles), dtype or usual
        loaded = self._loaded.pop(wanted, None)
        if loaded is None:
            log.info("opening weights", model=spec.slug, device=str(self.device), dtype=str(wanted[1]))
            loaded = self._open(spec.family, *wanted)
            loaded.keep(self._keep_alive(spec.slug))
            self._seconds += time.monotonic() - began
        self._loaded[wanted] = loaded
        while len(self._loaded) > MOST_OPEN:
            del self._loaded[next(iter(self._loaded))]
        if not styles and dtype in (None, usual):
            self._by_slug[spec.slug] = loaded
        return loaded

    def load(self, spec: ModelSpec, styles: Iterable[tuple[str, float]] = ()) -> LoadedModel:
        """The model as `get` gives it, with all its weights where they work; raises NoRoom, too."""
        loaded = self.get(spec, styles=styles)
        loaded.bring()
        return loaded

    def pin(self, specs: Iterable[ModelSpec]) -> None:
        """Let these models' weights never leave once they are there; raises WeightsUnusable, NoRoom."""
        for spec in specs:
            for part in self.get(spec).family.parts:
                if not part.memory.fits([part], 0):
                    raise NoRoom(f"{spec.slug} can't be pinned: the pinned models need more memory than the budget")
                part.pinned = True

    def waited(self) -> float:
        """Seconds spent on opening and loading models since this was last asked."""
        seconds, self._seconds = self._seconds + self.memory.waited(), 0.0
        if seconds:
            self.cold_starts += 1
            self.cold_seconds += seconds
        return seconds

    @property
    def slugs(self) -> list[str]:
        """The models that were asked for here, for the worker's report."""
        return list(self._by_slug)

    def warm(self) -> set[str]:
        """Slugs of the models whose weights are all where they work."""
        return {slug for slug, loaded in self._by_slug.items() if loaded.warm}

    def at_hand(self, specs: Iterable[ModelSpec]) -> set[str]:
        """Slugs of those of these models whose denoiser is where it works, whichever of them it came for."""
        return {spec.slug for spec in specs if self._is_at_hand(spec)}

    def _is_at_hand(self, spec: ModelSpec) -> bool:
        own = self._weights(spec)
        loaded = self._loaded.get((own, self._usual[own])) if own in self._usual else None
        return loaded is not None and loaded.at_hand

    def _weights(self, spec: ModelSpec) -> Weights:
        own = self._own.get(spec.slug)
        if own is None:
            return builtin_weights(spec.family, few_steps=spec.few_steps)
        return replace(own, t5=self._t5) if own.t5 == "device" else own

    def _format(self, family: str, weights: Weights) -> torch.dtype:
        """The number format that these weights usually have here."""
        if weights not in self._usual:
            denoiser = Checkpoint(weights, family).component(DENOISERS[family])
            self._usual[weights] = pick_dtype(self._dtype, self.device, denoiser)
        return self._usual[weights]

    def _open(self, family: str, weights: Weights, dtype: torch.dtype) -> LoadedModel:
        traits = weights.traits
        t5_tokens = traits.t5_tokens or self._t5_tokens
        opened = load_family(family, weights, self.device, dtype, t5_tokens, memory=self.memory, prompts=self.prompts)
        opened.run = self._run
        arithmetic = str(dtype).removeprefix("torch.")
        return LoadedModel(opened, weights.fingerprint, arithmetic, t5_tokens, traits.native_size, weights.builtin)
