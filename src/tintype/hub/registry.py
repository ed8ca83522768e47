"""The registry: the models of a server, and the weights of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tintype.catalog.builtin import about
from tintype.catalog.modelfile import Entries, LoraEntry, ModelEntry, ModelsFile, extend, read_models_file
from tintype.catalog.models import MODELS
from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.checkpoints.weights import Lora, WeightsSpec, builtin_weights, has_builtin
from tintype.errors import ConfigurationInvalid, WeightsUnusable
from tintype.families import FAMILIES
from tintype.families.spec import TOKENIZERS
from tintype.hub.folder import Manifest, ModelsFolder
from tintype.hub.plan import NO_LORA, lacks_lora, lora_spec, pull_plan
from tintype.settings import Settings
from tintype.settings.values import Price

#: What descriptions call a model that has no weights.
NEEDS_WEIGHTS = "needs weights"
#: What CLIP reads of a prompt, without its two marks.
CLIP_TOKENS = 75


@dataclass(frozen=True)
class Registry:
    """Built by `tintype.cli` once per process."""

    catalogue: Catalogue
    #: By slug; models without an entry use the built-in weights.
    weights: Mapping[str, WeightsSpec] = field(default_factory=dict)
    #: Slugs with configured weights that are missing, and what to do about it.
    missing: Mapping[str, str] = field(default_factory=dict)
    #: The models file, by slug.
    entries: Entries = field(default_factory=dict)
    #: The operator's own prices, by slug; the environment's take precedence over the models file's.
    prices: Mapping[str, Price] = field(default_factory=dict)
    #: Slugs of models without any weights: none are configured or pulled, and none built in; and what to do about it.
    unserved: Mapping[str, str] = field(default_factory=dict)
    #: Rows of T5 text where the weights don't say; 0 where T5 is left out of all models.
    t5_tokens: int = 0

    @cached_property
    def served(self) -> Catalogue:
        """The models that have weights, or whose weights are elsewhere: those that requests may name."""
        specs = (spec for slug, spec in self.catalogue.items() if slug not in self.unserved)
        return Catalogue(specs, self.unserved, self.catalogue.aliases)

    def about(self, slug: str) -> dict[str, Any]:
        """What a model's description says of its weights: of the operator's, only what they read of a prompt."""
        command, source = _command(self.catalogue[slug]), self.catalogue[slug].source
        how: dict[str, Any] = {"weights_command": command} if command else {}
        if source:
            how["weights_published"] = {
                "repository": source.repository,
                "licence": source.licence,
                "gated": source.gated,
                "bytes": source.size,
            }
        if slug in self.unserved:
            return {"weights": NEEDS_WEIGHTS, "weights_note": self.unserved[slug], **how}
        said = about(self.catalogue[slug], self.configured)
        if said:
            return {**said, **how}
        return {"prompt_tokens": self._prompt_tokens(slug)} if slug in self.weights else {}

    def _prompt_tokens(self, slug: str) -> int:
        """Tokens of a prompt that the operator's weights read, without marks: CLIP's, or T5's where it is there."""
        weights = self.weights[slug]
        has_t5 = any(one.placed_by_t5 for one in FAMILIES[self.catalogue[slug].family].text_encoders)
        if not has_t5 or not self.t5_tokens or weights.t5 == "none":
            return CLIP_TOKENS
        with suppress(WeightsUnusable):  # the worker that loads them tells it
            return max(CLIP_TOKENS, (weights.metadata.t5_tokens or self.t5_tokens) - 1)
        return CLIP_TOKENS

    def with_weights(self, slug: str, path: Path | None) -> Registry:
        """The same, except for one model's weights; unchanged for None.

        A file in the original layout takes the tokenizers of the model's former weights.
        """
        if path is None:
            return self
        before = self.weights.get(slug)
        components = self._tokenizers_of(slug, before) if before and path.is_file() else ()
        missing, unserved = (
            {other: why for other, why in one.items() if other != slug} for one in (self.missing, self.unserved)
        )
        weights = {**self.weights, slug: WeightsSpec(path, components=components)}
        return replace(self, weights=weights, missing=missing, unserved=unserved)

    def _tokenizers_of(self, slug: str, weights: WeightsSpec) -> tuple[tuple[str, Path], ...]:
        """The tokenizers of weights, as a component for others that have none."""
        folder = dict(weights.components).get(TOKENIZERS, weights.path)
        return ((TOKENIZERS, folder),) if _has_tokenizers(folder, self.catalogue[slug]) else ()

    def fingerprint(self, slug: str) -> str:
        """What recipes call the weights that a served model draws with; its entry's hash where they aren't here."""
        spec, own = self.catalogue[slug], self.weights.get(slug)
        with suppress(WeightsUnusable):  # a worker that loads them tells it
            if own is not None:
                t5 = own.t5 if self.t5_tokens or own.t5 != "device" else "none"
                return _fingerprint(replace(own, t5=t5, refiner=None))
            if slug not in self.missing:
                return _fingerprint(builtin_weights(spec.family, few_steps=spec.few_steps))
        return self.identities[slug]

    @property
    def pinned(self) -> frozenset[str]:
        """The slugs whose weights the models file keeps in memory."""
        return frozenset(slug for slug, entry in self.entries.items() if entry.pin)

    @property
    def keep_alive(self) -> dict[str, float]:
        """Seconds that unused weights stay in memory, by slug, where the models file says so; 0 is without limit."""
        return {slug: entry.keep_alive for slug, entry in self.entries.items() if entry.keep_alive is not None}

    @property
    def configured(self) -> set[str]:
        """The slugs that don't use the built-in weights, even if theirs are missing."""
        return self.weights.keys() | self.missing.keys()

    @cached_property
    def identities(self) -> dict[str, str]:
        """By slug of what is served, a hash of entry and parameters: equal on machines with the same configuration."""
        return {slug: _identity(spec, self.entries.get(slug)) for slug, spec in self.served.items()}

    def require(self, slugs: Iterable[str]) -> None:
        """Raise ConfigurationInvalid unless these models' weights are there: no others replace them."""
        for slug in slugs:
            if why := self.missing.get(slug) or self.unserved.get(slug):
                raise ConfigurationInvalid(f"{slug}: {why}")


@cache
def _fingerprint(weights: WeightsSpec) -> str:
    """Read once: that takes many places of large files."""
    return weights.fingerprint


def _identity(spec: ModelSpec, entry: ModelEntry | None) -> str:
    values = entry.model_dump(mode="json") if entry else {}
    text = json.dumps([spec.family, spec.like, spec.json_schema(), values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def build_registry(settings: Settings) -> Registry:
    """From the settings, the models file and the models folder; raises ConfigurationInvalid."""
    file = settings.models_file
    said = read_models_file(file) if file else ModelsFile()
    entries, catalogue = said.models, extend(MODELS, said)
    for name, slugs in (
        ("WEIGHTS", settings.models.weights),
        ("PRICES", settings.billing.prices),
        ("PIN", settings.memory.pin),
    ):
        for slug in set(slugs) - catalogue.keys():
            known = ", ".join(catalogue)
            raise ConfigurationInvalid(f"TINTYPE_{name}: no model is called {slug}; the models are {known}")
    finder = WeightsFinder(settings, catalogue, entries, file.absolute().parent if file else Path())
    found = {slug: finder.find(slug) for slug in catalogue}
    prices = {slug: entry.price for slug, entry in entries.items() if entry.price} | settings.billing.prices
    weights = {slug: one for slug, one in found.items() if isinstance(one, WeightsSpec)}
    missing = {slug: one for slug, one in found.items() if isinstance(one, str)}
    unserved = {slug: _needs(spec) for slug, spec in catalogue.items() if found[slug] is None and not _builtin(spec)}
    t5_tokens = 0 if settings.memory.t5 == "none" else settings.models.t5_tokens
    return Registry(catalogue, weights, missing, entries, prices, unserved, t5_tokens)


def _builtin(spec: ModelSpec) -> bool:
    return has_builtin(spec.family, few_steps=spec.few_steps)


def _command(spec: ModelSpec) -> str:
    """What gets a model's weights; empty where they aren't published."""
    return f"tintype models pull {spec.like or spec.weights_of or spec.slug}" if spec.source else ""


def _needs(spec: ModelSpec) -> str:
    """What to do where a model has no weights."""
    command = _command(spec)
    pull = f"run {command} and restart, or " if command else ""
    return f"{NEEDS_WEIGHTS} that this server doesn't have: its operator can {pull}name them in the models file"


class _PathMissing(Exception):
    """A configured path doesn't exist on this machine."""


class WeightsFinder:
    """Looks in the environment, the models file, the models folder, and at the weights of a model that shares them."""

    def __init__(self, settings: Settings, catalogue: Catalogue, entries: Entries, base: Path) -> None:
        self.named = settings.models.weights
        self.catalogue = catalogue
        self.models = ModelsFolder(settings.pulled_folder)
        self.entries = entries
        #: The models file's folder: its paths are relative to it.
        self.base = base

    def find(self, slug: str) -> WeightsSpec | str | None:
        """A slug's weights; None where none are configured or pulled; a message where the configured ones are missing.

        A message isn't an error to a process that draws nothing, such as a server whose workers are elsewhere.
        """
        try:
            return self._find(slug)
        except _PathMissing as missing:
            return str(missing)

    def _find(self, slug: str) -> WeightsSpec | str | None:
        entry = self.entries.get(slug, ModelEntry())
        manifest = self.models.manifest(slug)
        if manifest and manifest.snapshots[0].is_pulled and lacks_lora(slug, entry) and slug not in self.named:
            return NO_LORA.format(slug=slug)
        found = self._base(slug, entry, manifest)
        if found is None and entry.elsewhere:
            return f"its weights are not here yet; run tintype models pull {slug}"
        if not isinstance(found, WeightsSpec):
            return found
        loras = [self._lora(slug, lora, manifest) for lora in entry.loras]
        available = {name: self._lora(slug, lora, manifest) for name, lora in entry.available_loras.items()}
        components = self._components(slug, entry, manifest, found)
        refiner = entry.refiner and self._path(f"models.{slug}.refiner", entry.refiner)
        if missing := next((one for one in (*loras, *available.values(), components) if isinstance(one, str)), ""):
            return missing
        own: dict[str, Any] = {
            "loras": tuple(loras),
            "available_loras": tuple(available.items()),
            "components": components,
        }
        changes = {name: value for name, value in own.items() if value}
        if refiner:
            changes["refiner"] = _refiner(refiner, replace(found, **changes))
        if entry.prediction:
            changes["prediction"] = entry.prediction
        if "t5" in entry.model_fields_set:
            changes["t5"] = entry.t5
        return replace(found, **changes)

    def _base(self, slug: str, entry: ModelEntry, manifest: Manifest | None) -> WeightsSpec | str | None:
        if slug in self.named:
            return WeightsSpec(_existing("TINTYPE_WEIGHTS", self.named[slug]))
        if entry.folder or (entry.file and not entry.source):
            key, path = ("folder", entry.folder) if entry.folder else ("file", entry.file)
            return WeightsSpec(self._path(f"models.{slug}.{key}", path or Path()))
        if manifest:
            return self._pulled(slug, manifest)
        other = entry.like or self.catalogue[slug].weights_of
        return self.find(other) if other and not entry.source else None

    def _pulled(self, slug: str, manifest: Manifest) -> WeightsSpec | str:
        """The pulled weights, unless they are damaged, or the models file has changed since."""
        if damage := self.models.damage(manifest):
            return f"{damage}; run tintype models pull {slug} again"
        have, need = manifest.snapshots[0], pull_plan(slug, self.entries)[0]
        pulled = have.repository, have.revision, have.kind, manifest.file
        if have.is_pulled and pulled != (need.repository, need.revision, need.kind, need.file):
            was, wants = f"{have.kind} of {have.repository}", f"{need.kind} of {need.repository}"
            return f"pulled is the {was}, configured the {wants}; run tintype models pull {slug}"
        if not set(have.without) <= set(need.without):
            return f"T5 was left out when it was pulled; run tintype models pull {slug}"
        return WeightsSpec(self.models.weights_path(manifest))

    def _lora(self, slug: str, lora: LoraEntry, manifest: Manifest | None) -> Lora | str:
        if not lora.source:
            return Lora(self._path(f"models.{slug}.loras", lora.file), lora.scale)
        need = lora_spec(lora)
        for snapshot in manifest.snapshots if manifest else ():
            if (snapshot.repository, snapshot.revision) == (need.repository, need.revision):
                return Lora(self.models.folder_of(snapshot) / need.file, lora.scale)
        return f"the LoRA of {lora.source} is not here yet; run tintype models pull {slug}"

    def _components(
        self, slug: str, entry: ModelEntry, manifest: Manifest | None, found: WeightsSpec
    ) -> tuple[tuple[str, Path], ...] | str:
        """Components from elsewhere; a message where a file's tokenizers are missing."""
        family = FAMILIES[self.catalogue[slug].family]
        named = [(family.autoencoder.name, entry.vae), (TOKENIZERS, entry.tokenizers)]
        named += zip((one.name for one in family.text_encoders), entry.text_encoders, strict=False)
        named += entry.components.items()
        components = [(name, self._path(f"models.{slug}.{name}", path)) for name, path in named if path]
        have = {name for name, _ in (*components, *found.components)}
        if found.path.is_dir() or TOKENIZERS in have:
            return tuple(components)
        if (folder := self._tokenizers(self.catalogue[slug], manifest)) is None:
            return f"its tokenizers are not here; run tintype models pull {slug}, or name their folder in tokenizers"
        return (*components, (TOKENIZERS, folder))

    def _tokenizers(self, spec: ModelSpec, manifest: Manifest | None) -> Path | None:
        """A pulled folder with tokenizers: the slug's own, or that of the model it is like."""
        base = self.models.manifest(spec.like) if spec.like else None
        folders = (self.models.folder_of(snapshot) for one in (manifest, base) if one for snapshot in one.snapshots)
        return next((folder for folder in folders if _has_tokenizers(folder, spec)), None)

    def _path(self, where: str, path: Path) -> Path:
        return _existing(where, self.base / path)


def _refiner(path: Path, base: WeightsSpec) -> WeightsSpec:
    """A refiner's weights: its text encoder, and so its tokenizer, is one of the model's."""
    tokenizers = dict(base.components).get(TOKENIZERS, base.path)
    return WeightsSpec(path, components=((TOKENIZERS, tokenizers),) if path.is_file() else ())


def _has_tokenizers(folder: Path, spec: ModelSpec) -> bool:
    return (folder / FAMILIES[spec.family].tokenizers[0]).is_dir()


def _existing(where: str, path: Path) -> Path:
    if not path.exists():
        raise _PathMissing(f"no such file or folder: {path} ({where})")
    return path
