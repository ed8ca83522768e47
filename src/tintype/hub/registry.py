"""The registry: the models that a server has, and which weights each of them draws with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tintype.catalog.modelfile import Entries, ModelEntry, extend, read_models_file
from tintype.catalog.models import MODELS
from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.checkpoints.weights import Weights
from tintype.errors import ConfigurationInvalid
from tintype.hub.finder import Finder, tokenizers
from tintype.settings import Price, Settings


@dataclass(frozen=True)
class Registry:
    """What `tintype.cli` puts together once per process and hands to whoever needs it."""

    catalogue: Catalogue
    #: By slug; a model that is not named here draws with the built-in weights.
    weights: Mapping[str, Weights] = field(default_factory=dict)
    #: Slugs whose weights are configured but not there, and what is to be done about it.
    missing: Mapping[str, str] = field(default_factory=dict)
    #: What the models file says, by slug.
    entries: Entries = field(default_factory=dict)
    #: The operator's own prices, by slug; the environment's win over the models file's.
    prices: Mapping[str, Price] = field(default_factory=dict)

    def drawing(self, slug: str, path: Path | None) -> Registry:
        """The same, but that one model draws with these weights, unless there are none.

        A file in the original layout has the tokenizers that the model had before.
        """
        if path is None:
            return self
        before = self.weights.get(slug)
        parts = tokenizers(before) if before and path.is_file() else ()
        missing = {other: why for other, why in self.missing.items() if other != slug}
        return replace(self, weights={**self.weights, slug: Weights(path, parts=parts)}, missing=missing)

    @property
    def pinned(self) -> frozenset[str]:
        """The slugs whose weights the models file wants to stay in memory."""
        return frozenset(slug for slug, entry in self.entries.items() if entry.pin)

    @property
    def keep_alive(self) -> dict[str, float]:
        """Seconds that the models file wants unused weights to stay in memory, by slug, where it says so; 0 is ever."""
        return {slug: entry.keep_alive for slug, entry in self.entries.items() if entry.keep_alive is not None}

    @property
    def configured(self) -> set[str]:
        """The slugs that don't draw with the built-in weights, whether theirs are there or not."""
        return self.weights.keys() | self.missing.keys()

    @cached_property
    def identities(self) -> dict[str, str]:
        """By slug, what its model is on any machine: equal where the entry and the parameters are."""
        return {slug: _identity(spec, self.entries.get(slug)) for slug, spec in self.catalogue.items()}

    def require(self, slugs: Iterable[str]) -> None:
        """Raise ConfigurationInvalid unless these models' weights are there: other weights would draw other things."""
        for slug in slugs:
            if slug in self.missing:
                raise ConfigurationInvalid(f"{slug}: {self.missing[slug]}")


def _identity(spec: ModelSpec, entry: ModelEntry | None) -> str:
    said = entry.model_dump(mode="json") if entry else {}
    whole = json.dumps([spec.family, spec.like, spec.json_schema(), said], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


def build_registry(settings: Settings) -> Registry:
    """From the settings, the models file and what was pulled; raises ConfigurationInvalid."""
    file = settings.models_file
    entries = read_models_file(file) if file else {}
    catalogue = extend(MODELS, entries)
    for name, slugs in (("WEIGHTS", settings.weights), ("PRICES", settings.prices), ("PIN", settings.pin)):
        for slug in set(slugs) - catalogue.keys():
            known = ", ".join(catalogue)
            raise ConfigurationInvalid(f"TINTYPE_{name}: no model is called {slug}; the models are {known}")
    finder = Finder(settings, entries, file.absolute().parent if file else Path())
    found = {slug: finder.weights(slug) for slug in catalogue}
    prices = {slug: entry.price for slug, entry in entries.items() if entry.price} | settings.prices
    weights = {slug: one for slug, one in found.items() if isinstance(one, Weights)}
    missing = {slug: one for slug, one in found.items() if isinstance(one, str)}
    return Registry(catalogue, weights, missing, entries, prices)
