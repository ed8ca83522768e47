"""What to pull for a slug: which repositories, and which of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby

from tintype.catalog.modelfile import Entries, LoraEntry, ModelEntry
from tintype.catalog.models import MODELS, SOURCES
from tintype.catalog.spec import Source
from tintype.errors import PullFailed
from tintype.families import FAMILIES
from tintype.hub.folder import File, Kind

#: A folder in the diffusers layout; without the safety checker, copies for flax and ONNX, and pickles.
INDEX = "model_index.json"
TOKENIZERS = ("tokenizer*/*.json", "tokenizer*/*.txt", "tokenizer*/*.model")
FOLDER = (
    INDEX,
    "scheduler/scheduler_config.json",
    *TOKENIZERS,
    *(
        f"{folder}/{name}"
        for folder in dict.fromkeys(
            one.name for family in FAMILIES.values() for one in family.components if not one.separate
        )
        for name in ("config.json", "*.safetensors", "*.safetensors.index*.json")
    ),
    "tintype.json",
)
PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl")
#: A file of weights or its index, and the variant in its name: `model.fp16-00001-of-00002.safetensors`.
VARIANT = re.compile(
    r"[^.]+?(?:\.(?P<early>[a-z_]\w*))?(?:-\d+-of-\d+)?\.safetensors(?:\.index(?:\.(?P<late>\w+))?\.json)?"
)
#: Variants that are the same network in a smaller dtype; others may be other networks.
SMALLER_VARIANTS = ("fp16", "bf16")

NO_LORA = (
    "its own weights are not public; name a few-step LoRA for SD 3 Medium, or a few-step checkpoint, in the models "
    'file, such as [models."{slug}"] loras = ["flash.safetensors"] (docs/weights.md has it in full)'
)


@dataclass(frozen=True)
class SnapshotSpec:
    """Which files to pull of one repository."""

    repository: str
    revision: str
    #: The only file to pull; empty for a folder in the diffusers layout.
    file: str = ""
    #: Patterns of files in a folder: included, and excluded.
    patterns: tuple[str, ...] = FOLDER
    without: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        if self.file:
            return "file"
        return "folder" if INDEX in self.patterns else "tokenizers"

    def select(self, files: Sequence[File]) -> tuple[File, ...]:
        """The files to pull, of all files of the repository; raises PullFailed that names what is missing."""
        if self.file:
            selected = [file for file in files if file.path == self.file]
        else:
            included = (file for file in files if fnmatch_any(file.path, self.patterns))
            selected = list(_smallest(file for file in included if not fnmatch_any(file.path, self.without)))
        if self._has_pickles(files) and not any(file.path.endswith(".safetensors") for file in selected):
            raise PullFailed(f"{self.repository} has pickled weights only, which can run code when loaded: refused")
        required = self.file or self.patterns[0]
        if not selected or (required == INDEX and not any(file.path == INDEX for file in selected)):
            raise PullFailed(f"{self.repository} has no {required} at {self.revision}; name the file to pull")
        return tuple(selected)

    def _has_pickles(self, files: Sequence[File]) -> bool:
        """Whether weights are to be pulled, and some of them are pickles."""
        paths = [self.file] if self.file else [file.path for file in files if self.kind == "folder"]
        return any(fnmatch_any(path, PICKLES) for path in paths)


def pull_plan(slug: str, entries: Entries) -> tuple[SnapshotSpec, ...]:
    """What to pull for a slug: weights, then LoRAs and tokenizers; raises PullFailed where there is nothing to pull."""
    entry = entries.get(slug, ModelEntry())
    weights = () if _is_local(entry) else (_weights(slug, entries),)
    specs = tuple(dict.fromkeys((*weights, *_loras(entry), *_tokenizers(slug, entry))))
    if not specs:
        raise PullFailed(f"{slug}: the models file names {entry.folder or entry.file}; there is nothing to pull")
    return specs


def pullable_slugs(entries: Entries) -> list[str]:
    """The slugs for which the models file names something to pull."""
    return [
        slug
        for slug, entry in entries.items()
        if entry.elsewhere and (not _is_local(entry) or [*_loras(entry), *_tokenizers(slug, entry)])
    ]


def lacks_lora(slug: str, entry: ModelEntry) -> bool:
    """Whether the published weights would draw noise for this slug, without a LoRA that makes them few-step ones."""
    return (
        slug in SOURCES and SOURCES[slug].needs_lora and not (entry.source or entry.loras or entry.folder or entry.file)
    )


def lora_spec(lora: LoraEntry) -> SnapshotSpec:
    """What to pull for a LoRA of the hub."""
    return SnapshotSpec(lora.source or "", lora.revision, lora.file.as_posix())


def fnmatch_any(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path matches one of the patterns; a `*` stays within its folder."""
    depth = path.count("/")
    return any(pattern.count("/") in (depth, 0) and fnmatchcase(path, pattern) for pattern in patterns)


def _is_local(entry: ModelEntry) -> bool:
    return bool(entry.folder or (entry.file and not entry.source))


def _left_out(slug: str, entry: ModelEntry) -> tuple[str, ...]:
    """Patterns of the files that aren't pulled: T5's, two thirds of SD 3 Medium, where it is left out."""
    encoders = FAMILIES[MODELS[entry.like or slug].family].text_encoders if entry.t5 == "none" else ()
    left_out = (one for one in encoders if one.placed_by_t5)
    return tuple(f"{name}/*" for one in left_out for name in (one.name, one.tokenizer and one.tokenizer.name) if name)


def _weights(slug: str, entries: Entries) -> SnapshotSpec:
    entry = entries.get(slug, ModelEntry())
    without = _left_out(slug, entry)
    if entry.source:
        return SnapshotSpec(entry.source, entry.revision, entry.file.as_posix() if entry.file else "", without=without)
    if entry.like:
        return _weights(entry.like, entries)
    if lacks_lora(slug, entry):
        raise PullFailed(f"{slug}: {NO_LORA.format(slug=slug)}")
    source = _source(slug)
    return SnapshotSpec(source.repository, source.revision, without=without)


def _source(slug: str) -> Source:
    if slug not in SOURCES:
        raise PullFailed(f"{slug}: no weights are published for it; name yours in the models file (docs/weights.md)")
    return SOURCES[slug]


def _loras(entry: ModelEntry) -> Iterator[SnapshotSpec]:
    return (lora_spec(lora) for lora in (*entry.loras, *entry.available_loras.values()) if lora.source)


def _tokenizers(slug: str, entry: ModelEntry) -> Iterator[SnapshotSpec]:
    """Files in the original layout have no tokenizers: those of the model's own repository are the same."""
    if entry.file and not entry.tokenizers:
        source = _source(entry.like or slug)
        without = _left_out(slug, entry)
        yield SnapshotSpec(source.repository, source.revision, patterns=TOKENIZERS, without=without)


def _smallest(files: Iterable[File]) -> Iterator[File]:
    """In each folder, the smallest variant of its weights, the plain one included; and all files without weights."""
    for _, folder in groupby(sorted(files, key=lambda file: file.path), lambda file: file.path.rpartition("/")[0]):
        variants: dict[str, list[File]] = {}
        for file in folder:
            found = VARIANT.fullmatch(file.path.rpartition("/")[2])
            if not found:
                yield file
                continue
            variants.setdefault(found["early"] or found["late"] or "", []).append(file)
        allowed = [variants[name] for name in ("", *SMALLER_VARIANTS) if name in variants]
        yield from min(allowed, key=lambda variant: sum(file.size for file in variant), default=[])
