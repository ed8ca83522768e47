"""What must be pulled for a slug: which repositories, and which of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby

from tintype.catalog.modelfile import Entries, LoraEntry, ModelEntry
from tintype.catalog.sources import SOURCES
from tintype.errors import PullFailed
from tintype.hub.manifest import File, Kind

#: What a folder in the diffusers layout needs; the safety checker, flax and ONNX twins and pickles are not among it.
INDEX = "model_index.json"
TOKENIZERS = ("tokenizer*/*.json", "tokenizer*/*.txt", "tokenizer*/*.model")
NEEDED = (
    INDEX,
    "scheduler/scheduler_config.json",
    *TOKENIZERS,
    *(
        f"{folder}/{name}"
        for folder in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
        for name in ("config.json", "*.safetensors", "*.safetensors.index*.json")
    ),
    "tintype.json",
)
#: SD 3's third text encoder, which is two thirds of SD 3 Medium, and can be left out.
T5 = ("text_encoder_3/*", "tokenizer_3/*")
PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl")
#: A file of weights, the variant that its name carries, and its index: `model.fp16-00001-of-00002.safetensors`.
VARIANT = re.compile(
    r"[^.]+?(?:\.(?P<early>[a-z_]\w*))?(?:-\d+-of-\d+)?\.safetensors(?:\.index(?:\.(?P<late>\w+))?\.json)?"
)
#: Variants that hold the same network in less exact arithmetic; of any other nothing is known.
SMALLER = ("fp16", "bf16")

NO_LORA = (
    "its own weights are not public; name a few-step LoRA for SD 3 Medium, or a few-step checkpoint, in the models "
    'file, such as [models."{slug}"] loras = ["flash.safetensors"] (docs/weights.md has it in full)'
)


@dataclass(frozen=True)
class Wanted:
    """Files of one repository."""

    repository: str
    revision: str
    #: The one file that is wanted; empty for a folder in the diffusers layout.
    file: str = ""
    #: Patterns of what is wanted of a folder, and of what it is wanted without.
    patterns: tuple[str, ...] = NEEDED
    without: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What it is that is wanted."""
        if self.file:
            return "file"
        return "folder" if INDEX in self.patterns else "tokenizers"

    def choose(self, files: Sequence[File]) -> tuple[File, ...]:
        """The files that are needed, of all that the repository has; raises PullFailed that says what is missing."""
        if self.file:
            chosen = [file for file in files if file.path == self.file]
        else:
            needed = (file for file in files if fnmatch_any(file.path, self.patterns))
            chosen = list(_leanest(file for file in needed if not fnmatch_any(file.path, self.without)))
        if self.pickled(files) and not any(file.path.endswith(".safetensors") for file in chosen):
            raise PullFailed(f"{self.repository} has pickled weights only, which can run code when loaded: refused")
        first = self.file or self.patterns[0]
        if not chosen or (first == INDEX and not any(file.path == INDEX for file in chosen)):
            raise PullFailed(f"{self.repository} has no {first} at {self.revision}; name the file that is meant")
        return tuple(chosen)

    def pickled(self, files: Sequence[File]) -> bool:
        """Whether weights are wanted, and there are pickled ones."""
        paths = [self.file] if self.file else [file.path for file in files if self.kind == "folder"]
        return any(fnmatch_any(path, PICKLES) for path in paths)


def wanted(slug: str, entries: Entries) -> tuple[Wanted, ...]:
    """What to pull for a slug: weights, then LoRAs and tokenizers; raises PullFailed where there is nothing to pull."""
    entry = entries.get(slug, ModelEntry())
    weights = () if _is_here(entry) else (_weights(slug, entries),)
    wants = tuple(dict.fromkeys((*weights, *_loras(entry), *_tokenizers(slug, entry))))
    if not wants:
        raise PullFailed(f"{slug}: the models file names {entry.folder or entry.file}; there is nothing to pull")
    return wants


def named(entries: Entries) -> list[str]:
    """The slugs for which the models file names something that a pull can fetch."""
    return [
        slug
        for slug, entry in entries.items()
        if entry.elsewhere and (not _is_here(entry) or [*_loras(entry), *_tokenizers(slug, entry)])
    ]


def lacks_lora(slug: str, entry: ModelEntry) -> bool:
    """Whether the published weights would draw noise for this slug, since nothing makes them few-step ones."""
    return (
        slug in SOURCES and SOURCES[slug].needs_lora and not (entry.source or entry.loras or entry.folder or entry.file)
    )


def lora_source(lora: LoraEntry) -> Wanted:
    """What to pull for a LoRA that lies on the hub."""
    return Wanted(lora.source or "", lora.revision, lora.file.as_posix())


def fnmatch_any(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path fits one of the patterns; a `*` stays within its folder."""
    depth = path.count("/")
    return any(pattern.count("/") in (depth, 0) and fnmatchcase(path, pattern) for pattern in patterns)


def _is_here(entry: ModelEntry) -> bool:
    return bool(entry.folder or (entry.file and not entry.source))


def _weights(slug: str, entries: Entries) -> Wanted:
    entry = entries.get(slug, ModelEntry())
    without = T5 if entry.t5 == "none" else ()
    if entry.source:
        return Wanted(entry.source, entry.revision, entry.file.as_posix() if entry.file else "", without=without)
    if entry.like:
        return _weights(entry.like, entries)
    if lacks_lora(slug, entry):
        raise PullFailed(f"{slug}: {NO_LORA.format(slug=slug)}")
    return Wanted(SOURCES[slug].repository, SOURCES[slug].revision, without=without)


def _loras(entry: ModelEntry) -> Iterator[Wanted]:
    return (lora_source(lora) for lora in (*entry.loras, *entry.available_loras.values()) if lora.source)


def _tokenizers(slug: str, entry: ModelEntry) -> Iterator[Wanted]:
    """Files in the original layout have no tokenizers: those of the model's own repository are the same."""
    if entry.file and not entry.tokenizers:
        source = SOURCES[entry.like or slug]
        yield Wanted(source.repository, source.revision, patterns=TOKENIZERS, without=T5 if entry.t5 == "none" else ())


def _leanest(files: Iterable[File]) -> Iterator[File]:
    """Of each folder's twins, the plain one or a smaller variant that there is beside it; what is no weights stays."""
    for _, own in groupby(sorted(files, key=lambda file: file.path), lambda file: file.path.rpartition("/")[0]):
        variants: dict[str, list[File]] = {}
        for file in own:
            found = VARIANT.fullmatch(file.path.rpartition("/")[2])
            if not found:
                yield file
                continue
            variants.setdefault(found["early"] or found["late"] or "", []).append(file)
        allowed = [variants[name] for name in ("", *SMALLER) if name in variants]
        yield from min(allowed, key=lambda twin: sum(file.size for file in twin), default=[])
