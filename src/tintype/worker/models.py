"""The models that a worker has loaded, by the folder of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from tintype.catalog.spec import ModelSpec
from tintype.diffusion.builtin import builtin_weights
from tintype.diffusion.denoising import Family
from tintype.diffusion.families import load_family, pick_device, pick_dtype
from tintype.diffusion.loading import fingerprint, quiet_libraries
from tintype.settings import Settings

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


class Models:
    """Loads each folder once: models that share weights share forward passes."""

    def __init__(self, device: str, dtype: str, t5_tokens: int, weights: Mapping[str, Path], cache: Path) -> None:
        quiet_libraries()
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self._t5_tokens = t5_tokens
        self._weights = weights
        self._cache = cache
        self._loaded: dict[tuple[Path, torch.dtype], Loaded] = {}

    @classmethod
    def from_settings(cls, settings: Settings, device: str) -> Models:
        """As the operator configured them."""
        return cls(device, settings.dtype, settings.t5_tokens, settings.weights, settings.weights_folder)

    def get(self, spec: ModelSpec, dtype: torch.dtype | None = None) -> Loaded:
        """The model's weights, in the usual arithmetic unless told, loaded if they aren't; raises WeightsUnusable."""
        folder = self._weights.get(spec.slug) or builtin_weights(spec.family, self._cache)
        wanted = folder, dtype or self.dtype
        if wanted not in self._loaded:
            log.info("loading weights", model=spec.slug, device=str(self.device), dtype=str(wanted[1]))
            with torch.inference_mode():
                family = load_family(spec.family, folder, self.device, wanted[1], self._t5_tokens)
            self._loaded[wanted] = Loaded(
                family, fingerprint(folder), str(wanted[1]).removeprefix("torch."), self._t5_tokens
            )
        return self._loaded[wanted]
