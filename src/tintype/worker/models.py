"""The models that a worker has loaded, by their weights."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog
import torch

from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.builtin import builtin_weights
from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.weights import Weights
from tintype.diffusion.arithmetic import pick_dtype
from tintype.diffusion.denoising import Family
from tintype.diffusion.families import DENOISERS, load_family, pick_device
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.prepared import pick_run
from tintype.settings import Prepare, Settings

log = structlog.get_logger()


@dataclass(frozen=True)
class Loaded:
    """A model that is ready, and what tells it apart from others."""

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


class Models:
    """Loads each set of weights once: models that share weights share forward passes."""

    def __init__(
        self, device: str, dtype: str, t5_tokens: int, own: Mapping[str, Weights], prepare: Prepare = "off"
    ) -> None:
        quiet_libraries()
        self.device = pick_device(device)
        self._run = pick_run(prepare, self.device)
        self._dtype = dtype
        #: The usual number format of each set of weights: measured once.
        self._usual: dict[Weights, torch.dtype] = {}
        self._t5_tokens = t5_tokens
        self._own = own
        self._loaded: dict[tuple[Weights, torch.dtype], Loaded] = {}
        #: Seconds of each load so far, and the models that what is loaded has served: for the worker's report.
        self.loads: list[float] = []
        self.slugs: dict[str, None] = {}

    @classmethod
    def from_settings(cls, settings: Settings, own: Mapping[str, Weights], device: str) -> Models:
        """As the operator configured them; `own` are the weights of the slugs that don't use the built-in ones."""
        return cls(device, settings.dtype, settings.t5_tokens, own, settings.prepare)

    def get(
        self, spec: ModelSpec, dtype: torch.dtype | None = None, styles: Iterable[tuple[str, float]] = ()
    ) -> Loaded:
        """The model's weights, in the usual arithmetic unless told, with LoRAs on top, loaded if they aren't.

        Raises WeightsUnusable, and InvalidParameter for a LoRA that the model doesn't offer.
        """
        weights = self._own.get(spec.slug) or builtin_weights(spec.family, few_steps=spec.few_steps)
        wanted = weights.styled(styles), dtype or self._format(spec.family, weights)
        if wanted not in self._loaded:
            log.info("loading weights", model=spec.slug, device=str(self.device), dtype=str(wanted[1]))
            began = time.monotonic()
            self._loaded[wanted] = self._load(spec.family, *wanted)
            self.loads.append(time.monotonic() - began)
        self.slugs[spec.slug] = None
        return self._loaded[wanted]

    def _format(self, family: str, weights: Weights) -> torch.dtype:
        if weights not in self._usual:
            denoiser = Checkpoint(weights, family).component(DENOISERS[family])
            self._usual[weights] = pick_dtype(self._dtype, self.device, denoiser)
        return self._usual[weights]

    def _load(self, family: str, weights: Weights, dtype: torch.dtype) -> Loaded:
        traits = weights.traits
        t5_tokens = traits.t5_tokens or self._t5_tokens
        with torch.inference_mode():
            loaded = load_family(family, weights, self.device, dtype, t5_tokens)
        loaded.run = self._run
        arithmetic = str(dtype).removeprefix("torch.")
        return Loaded(loaded, weights.fingerprint, arithmetic, t5_tokens, traits.native_size, weights.builtin)
