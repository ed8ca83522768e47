"""The folder of pulled weights: a manifest per slug, written last, so that half-pulled weights are never served."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tintype.errors import ConfigurationInvalid, PullFailed

Kind = Literal["folder", "file", "tokenizers"]
#: A file in the folder of pulled weights that ends so is a slug's manifest.
ENDING = ".json"


@dataclass(frozen=True)
class File:
    """One file of a repository."""

    #: Below the repository's folder, with slashes.
    path: str
    size: int
    #: Hexadecimal: `sha256:…`, or `git:…`, the SHA-1 that git gives a blob.
    digest: str


@dataclass(frozen=True)
class Part:
    """What was taken of one repository, at one commit; or a folder that was there already."""

    #: `owner/name`; empty for a folder of the operator's.
    repository: str
    #: What was asked for, and the commit that it was then.
    revision: str
    commit: str
    files: tuple[File, ...]
    #: Where the files lie: below the folder of pulled weights, or an operator's own place.
    folder: str
    #: A folder of weights, a file, or tokenizers alone.
    kind: Kind
    #: Patterns of what was left out, such as T5.
    without: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether we put the files there, and may remove them."""
        return bool(self.repository)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Manifest:
    """What a slug was given; the first part has the weights, further ones LoRAs."""

    slug: str
    parts: tuple[Part, ...]
    #: The weights themselves within the first part, where they are one file.
    file: str = ""


class Pulled:
    """The folder of pulled weights: a folder per repository and commit, a manifest per slug."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Manifest]:
        """Every slug's manifest; raises ConfigurationInvalid for one that isn't readable."""
        return [self._read(path) for path in sorted(self.folder.glob(f"*{ENDING}"))]

    def of(self, slug: str) -> Manifest | None:
        """A slug's manifest, or None; raises ConfigurationInvalid."""
        path = self._path(slug)
        return self._read(path) if path.is_file() else None

    def place(self, part: Part) -> Path:
        """The folder of a part."""
        return self.folder / part.folder

    def weights(self, manifest: Manifest) -> Path:
        """The folder, or the one file, that a slug's weights are."""
        return self.place(manifest.parts[0]) / manifest.file

    def damage(self, manifest: Manifest) -> str:
        """In words, the first file that is gone or has another size; empty where all are as they were pulled."""
        for part in manifest.parts:
            for file in part.files:
                path = self.place(part) / file.path
                if not path.is_file():
                    return f"{file.path} is gone"
                if path.stat().st_size != file.size:
                    return f"{file.path} has {path.stat().st_size} bytes instead of {file.size}"
        return ""

    def write(self, manifest: Manifest) -> None:
        """Keep a manifest, whole or not at all."""
        half = self._path(manifest.slug).with_suffix(".half")
        with half.open("w", encoding="utf-8") as file:
            json.dump(asdict(manifest), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        half.rename(self._path(manifest.slug))

    def forget(self, manifest: Manifest) -> None:
        """Remove a manifest; its files stay."""
        self._path(manifest.slug).unlink()

    def _path(self, slug: str) -> Path:
        return self.folder / f"{slug}{ENDING}"

    def _read(self, path: Path) -> Manifest:
        try:
            return _manifest(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationInvalid(f"{path}: not a manifest of pulled weights; remove it and pull again") from error


def _manifest(said: dict[str, Any]) -> Manifest:
    parts = (
        Part(**{**part, "files": tuple(File(**file) for file in part["files"]), "without": tuple(part["without"])})
        for part in said["parts"]
    )
    return Manifest(said["slug"], tuple(parts), said["file"])


CHUNK = 2**20
#: Bytes that are left free: a disk that is full to the last one stops the server's database too.
SPARE = 2**26
#: What the system says of a disk, a quota or a file system that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Progress = Callable[[int], None]


def start_digest(file: File) -> Any:
    """What takes in a file's bytes to become its digest: SHA-256, or git's SHA-1 of a blob, which has a head."""
    if file.digest.startswith("sha256:"):
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def is_whole(file: File, path: Path, progress: Progress = lambda _: None) -> bool:
    """Whether a file on disk has the size and the digest that it should; reads all of it."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    hashed = start_digest(file)
    take_in(hashed, path, progress)
    return bool(hashed.hexdigest() == file.digest.partition(":")[2])


def take_in(hashed: Any, path: Path, progress: Progress = lambda _: None) -> None:
    """Read a file into a digest."""
    with path.open("rb") as content:
        while chunk := content.read(CHUNK):
            hashed.update(chunk)
            progress(len(chunk))


def require_room(folder: Path, needed: int) -> None:
    """Raise PullFailed unless so many more bytes fit."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE > free:
        more = "make room, or name another folder in TINTYPE_MODELS_FOLDER"
        raise PullFailed(f"{in_words(needed)} are needed, and {in_words(free)} are free in {folder}; {more}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make the folder, and be the only one that writes there; raises PullFailed, for a full disk too."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise PullFailed(f"another tintype is pulling or removing in {folder}; wait until it is done") from error
    except OSError as error:
        if error.errno in FULL:
            raise PullFailed(f"the disk is full: {folder} takes no more; make room, and pull again") from error
        raise PullFailed(f"{folder} can't be written: {error.strerror or error}") from error


def in_words(size: float) -> str:
    """Bytes for people: 15.5 GB."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB" if size < 1000 else f"{size:.0f} GB"
