"""Which weights a slug has: the environment's folder, the models file's, what was pulled, or its model's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tintype.catalog.modelfile import Entries, LoraEntry, ModelEntry
from tintype.checkpoints.weights import Lora, Weights
from tintype.hub.manifest import Manifest, Pulled
from tintype.hub.plan import NO_LORA, lacks_lora, lora_source, wanted
from tintype.settings import Settings

#: The part that is a folder of tokenizers, and those that are text encoders in the order of the models file.
TOKENIZERS = "tokenizers"
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


class _Absent(Exception):
    """A path that is configured leads nowhere on this machine."""


class Finder:
    """Looks in all these places, in this order."""

    def __init__(self, settings: Settings, entries: Entries, base: Path) -> None:
        self.named = settings.weights
        self.pulled = Pulled(settings.pulled)
        self.entries = entries
        #: The models file's folder, from which its paths count.
        self.base = base

    def weights(self, slug: str) -> Weights | str | None:
        """A slug's weights; None for the built-in ones; words where what is configured isn't there.

        Who doesn't draw, such as a server whose workers are elsewhere, does without.
        """
        try:
            return self._found(slug)
        except _Absent as absent:
            return str(absent)

    def _found(self, slug: str) -> Weights | str | None:
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
        available = {name: self._lora(slug, lora, manifest) for name, lora in entry.available_loras.items()}
        parts = self._parts(slug, entry, manifest, found)
        if absent := next((one for one in (*loras, *available.values(), parts) if isinstance(one, str)), ""):
            return absent
        own: dict[str, Any] = {"loras": tuple(loras), "available": tuple(available.items()), "parts": parts}
        changes = {name: value for name, value in own.items() if value}
        if entry.prediction:
            changes["prediction"] = entry.prediction
        if "t5" in entry.model_fields_set:
            changes["t5"] = entry.t5
        return replace(found, **changes)

    def _base(self, slug: str, entry: ModelEntry, manifest: Manifest | None) -> Weights | str | None:
        if slug in self.named:
            return Weights(_there("TINTYPE_WEIGHTS", self.named[slug]))
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
        have = part.repository, part.revision, part.kind, manifest.file
        if part.ours and have != (main.repository, main.revision, main.kind, main.file):
            was, wants = f"{part.kind} of {part.repository}", f"{main.kind} of {main.repository}"
            return f"pulled is the {was}, configured the {wants}; run tintype models pull {slug}"
        if not set(part.without) <= set(main.without):
            return f"T5 was left out when it was pulled; run tintype models pull {slug}"
        return Weights(self.pulled.weights(manifest))

    def _lora(self, slug: str, lora: LoraEntry, manifest: Manifest | None) -> Lora | str:
        if not lora.source:
            return Lora(self._own(f"models.{slug}.loras", lora.file), lora.scale)
        for part in manifest.parts if manifest else ():
            want = lora_source(lora)
            if (part.repository, part.revision) == (want.repository, want.revision):
                return Lora(self.pulled.place(part) / want.file, lora.scale)
        return f"the LoRA of {lora.source} is not here yet; run tintype models pull {slug}"

    def _parts(
        self, slug: str, entry: ModelEntry, manifest: Manifest | None, found: Weights
    ) -> tuple[tuple[str, Path], ...] | str:
        """Components that come from elsewhere; words where a file's tokenizers aren't here."""
        named = [("vae", entry.vae), (TOKENIZERS, entry.tokenizers)]
        named += zip(ENCODERS, entry.text_encoders, strict=False)
        parts = [(name, self._own(f"models.{slug}.{name}", path)) for name, path in named if path]
        have = {name for name, _ in (*parts, *found.parts)}
        if found.path.is_dir() or TOKENIZERS in have:
            return tuple(parts)
        if (folder := self._tokenizers(entry, manifest)) is None:
            return f"its tokenizers are not here; run tintype models pull {slug}, or name their folder in tokenizers"
        return (*parts, (TOKENIZERS, folder))

    def _tokenizers(self, entry: ModelEntry, manifest: Manifest | None) -> Path | None:
        """A pulled folder with tokenizers: the slug's own, or that of the model that it is like."""
        base = self.pulled.of(entry.like) if entry.like else None
        folders = (self.pulled.place(part) for one in (manifest, base) if one for part in one.parts)
        return next((folder for folder in folders if (folder / "tokenizer").is_dir()), None)

    def _own(self, where: str, path: Path) -> Path:
        return _there(where, self.base / path)


def tokenizers(weights: Weights) -> tuple[tuple[str, Path], ...]:
    """The tokenizers of weights, as a part for others that have none."""
    folder = dict(weights.parts).get(TOKENIZERS, weights.path)
    return ((TOKENIZERS, folder),) if (folder / "tokenizer").is_dir() else ()


def _there(where: str, path: Path) -> Path:
    if not path.exists():
        raise _Absent(f"no such file or folder: {path} ({where})")
    return path
