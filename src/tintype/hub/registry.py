"""The registry: the models that a server has, and which weights each of them draws with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tintype.catalog.catalogue import Catalogue
from tintype.catalog.entry import LoraEntry, ModelEntry
from tintype.catalog.modelfile import Entries, extend, read_models_file
from tintype.catalog.models import MODELS
from tintype.checkpoints.weights import Lora, Weights
from tintype.errors import ConfigurationInvalid
from tintype.hub.manifest import Manifest, Pulled
from tintype.hub.plan import NO_LORA, lacks_lora, lora_source, wanted
from tintype.settings import Price, Settings

#: Names of the text encoders in a folder's index, in the order in which the models file gives them.
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


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
        """The same, but that one model draws with these weights, unless there are none."""
        if path is None:
            return self
        missing = {other: why for other, why in self.missing.items() if other != slug}
        return replace(self, weights={**self.weights, slug: Weights(path)}, missing=missing)

    @property
    def configured(self) -> set[str]:
        """The slugs that don't draw with the built-in weights, whether theirs are there or not."""
        return self.weights.keys() | self.missing.keys()

    def require(self, slugs: Iterable[str]) -> None:
        """Raise ConfigurationInvalid unless these models' weights are there: other weights would draw other things."""
        for slug in slugs:
            if slug in self.missing:
                raise ConfigurationInvalid(f"{slug}: {self.missing[slug]}")


def build_registry(settings: Settings) -> Registry:
    """From the settings, the models file and what was pulled; raises ConfigurationInvalid."""
    file = settings.models_file
    entries = read_models_file(file) if file else {}
    catalogue = extend(MODELS, entries)
    for name, slugs in (("WEIGHTS", settings.weights), ("PRICES", settings.prices)):
        for slug in slugs.keys() - catalogue.keys():
            known = ", ".join(catalogue)
            raise ConfigurationInvalid(f"TINTYPE_{name}: no model is called {slug}; the models are {known}")
    finder = Finder(settings, entries, file.absolute().parent if file else Path())
    found = {slug: finder.weights(slug) for slug in catalogue}
    prices = {slug: entry.price for slug, entry in entries.items() if entry.price} | settings.prices
    weights = {slug: one for slug, one in found.items() if isinstance(one, Weights)}
    missing = {slug: one for slug, one in found.items() if isinstance(one, str)}
    return Registry(catalogue, weights, missing, entries, prices)


class Finder:
    """Finds each slug's weights: the environment's folder, the models file's, what was pulled, or its model's."""

    def __init__(self, settings: Settings, entries: Entries, base: Path) -> None:
        self.named = settings.weights
        self.pulled = Pulled(settings.pulled)
        self.entries = entries
        #: The models file's folder, from which its paths count.
        self.base = base

    def weights(self, slug: str) -> Weights | str | None:
        """A slug's weights; None for the built-in ones; words where what is configured isn't there.

        Raises ConfigurationInvalid for a path that leads nowhere.
        """
        entry = self.entries.get(slug, ModelEntry())
        manifest = self.pulled.of(slug)
        if manifest and manifest.parts[0].ours and lacks_lora(slug, entry) and slug not in self.named:
            return NO_LORA.format(slug=slug)
        found = self._base(slug, entry, manifest)
        if found is None and entry.elsewhere:
            return f"its weights are not here yet; run tintype models pull {slug}"
        if not isinstance(found, Weights):
            return found
        loras = [self._lora(slug, lora, manifest) for lora in entry.loras]
        unusable = next((lora for lora in loras if isinstance(lora, str)), "")
        return unusable or replace(found, **self._changes(slug, entry, [one for one in loras if isinstance(one, Lora)]))

    def _base(self, slug: str, entry: ModelEntry, manifest: Manifest | None) -> Weights | str | None:
        if slug in self.named:
            return Weights(_there(f"TINTYPE_WEIGHTS: {slug}", self.named[slug]))
        if entry.folder or (entry.file and not entry.source):
            key, path = ("folder", entry.folder) if entry.folder else ("file", entry.file)
            return Weights(self._own(f"models.{slug}.{key}", path or Path()))
        if manifest:
            return self._from(slug, manifest)
        return self.weights(entry.like) if entry.like and not entry.source else None

    def _from(self, slug: str, manifest: Manifest) -> Weights | str:
        """What was pulled, unless it isn't whole any more, or the models file names something else by now."""
        if damage := self.pulled.damage(manifest):
            return f"{damage}; run tintype models pull {slug} again"
        part = manifest.parts[0]
        main = wanted(slug, self.entries)[0]
        if part.ours and (part.repository, part.revision, manifest.file) != (main.repository, main.revision, main.file):
            return f"{part.repository} was pulled, and {main.repository} is configured; run tintype models pull {slug}"
        return Weights(self.pulled.weights(manifest))

    def _lora(self, slug: str, lora: LoraEntry, manifest: Manifest | None) -> Lora | str:
        if not lora.source:
            return Lora(self._own(f"models.{slug}.loras", lora.file), lora.scale)
        for part in manifest.parts if manifest else ():
            want = lora_source(lora)
            if (part.repository, part.revision) == (want.repository, want.revision):
                return Lora(self.pulled.place(part) / want.file, lora.scale)
        return f"the LoRA of {lora.source} is not here yet; run tintype models pull {slug}"

    def _changes(self, slug: str, entry: ModelEntry, loras: list[Lora]) -> dict[str, Any]:
        """Fields of `Weights` that the entry sets; what it doesn't name stays as its model has it."""
        paths = [("vae", entry.vae), *zip(ENCODERS, entry.text_encoders, strict=False)]
        parts = [(name, self._own(f"models.{slug}: {name}", path)) for name, path in paths if path]
        changes = {"loras": tuple(loras), "parts": tuple(parts), "prediction": entry.prediction}
        own = {name: value for name, value in changes.items() if value}
        return own | ({"t5": entry.t5} if "t5" in entry.model_fields_set else {})

    def _own(self, where: str, path: Path) -> Path:
        return _there(where, self.base / path)


def _there(where: str, path: Path) -> Path:
    if not path.exists():
        raise ConfigurationInvalid(f"{where}: no such file or folder: {path}")
    return path
