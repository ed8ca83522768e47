"""The models folder: what has been pulled, checksums, disk space, and one writer at a time.

Each slug has a manifest, which is written last: incomplete weights are never served.
"""

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

#: What a snapshot holds: weights in the diffusers layout, one file, or tokenizers alone.
Kind = Literal["folder", "file", "tokenizers"]
#: Called with a number of bytes: those since the last call; negative where they are fetched again.
OnBytes = Callable[[int], None]
#: The suffix of manifests.
MANIFEST_SUFFIX = ".json"
#: Bytes per read.
CHUNK = 2**20
#: Bytes that stay free: a full disk would stop the server's database too.
RESERVED_BYTES = 2**26
#: The errors of a full disk, an exhausted quota, or a file system's limit.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class File:
    """One file of a repository."""

    #: Below the repository's folder, with slashes.
    path: str
    #: Bytes.
    size: int
    #: Hexadecimal: `sha256:…`, or `git:…`, the SHA-1 that git gives a blob.
    digest: str


@dataclass(frozen=True)
class Snapshot:
    """Files of one repository at one commit; or those of a folder that was registered in place."""

    #: `owner/name`; empty for a registered folder.
    repository: str
    #: As requested: a branch, a tag or a commit.
    revision: str
    #: What the revision was at the time of the pull.
    commit: str
    files: tuple[File, ...]
    #: Below the models folder; absolute for a registered folder.
    folder: str
    kind: Kind
    #: Patterns of files that were left out, such as T5.
    without: tuple[str, ...] = ()

    @property
    def is_pulled(self) -> bool:
        """Whether we wrote the files, and may remove them."""
        return bool(self.repository)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Manifest:
    """What was pulled for a slug."""

    slug: str
    #: The first has the weights, the others LoRAs or tokenizers.
    snapshots: tuple[Snapshot, ...]
    #: The weights themselves within the first snapshot, where they are one file.
    file: str = ""

    def to_json(self) -> dict[str, Any]:
        """As in the manifest's file, where snapshots are `parts`."""
        return {"slug": self.slug, "parts": [asdict(one) for one in self.snapshots], "file": self.file}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Manifest:
        """Raises TypeError or KeyError where it is none."""
        snapshots = (
            Snapshot(**{**one, "files": tuple(File(**file) for file in one["files"]), "without": tuple(one["without"])})
            for one in content["parts"]
        )
        return cls(content["slug"], tuple(snapshots), content["file"])


class ModelsFolder:
    """A folder per repository and commit, and a manifest per slug."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifests(self) -> list[Manifest]:
        """Every slug's; raises ConfigurationInvalid for one that isn't readable."""
        return [self._read(path) for path in sorted(self.path.glob(f"*{MANIFEST_SUFFIX}"))]

    def manifest(self, slug: str) -> Manifest | None:
        """A slug's manifest, or None; raises ConfigurationInvalid."""
        path = self._manifest_path(slug)
        return self._read(path) if path.is_file() else None

    def folder_of(self, snapshot: Snapshot) -> Path:
        return self.path / snapshot.folder

    def weights_path(self, manifest: Manifest) -> Path:
        """The folder, or the one file, of a slug's weights."""
        return self.folder_of(manifest.snapshots[0]) / manifest.file

    def damage(self, manifest: Manifest) -> str:
        """The first file that is missing or has another size, in words; empty where there is none."""
        for snapshot in manifest.snapshots:
            for file in snapshot.files:
                path = self.folder_of(snapshot) / file.path
                if not path.is_file():
                    return f"{file.path} is missing"
                if path.stat().st_size != file.size:
                    return f"{file.path} has {path.stat().st_size} bytes instead of {file.size}"
        return ""

    def write(self, manifest: Manifest) -> None:
        """Write a manifest atomically."""
        path = self._manifest_path(manifest.slug)
        half = path.with_suffix(".half")
        with half.open("w", encoding="utf-8") as file:
            json.dump(manifest.to_json(), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        half.rename(path)

    def delete(self, manifest: Manifest) -> None:
        """Delete a manifest; its files stay."""
        self._manifest_path(manifest.slug).unlink()

    def require_space(self, needed: int) -> None:
        """Raise PullFailed unless this many more bytes fit on the disk."""
        free = shutil.disk_usage(self.path).free
        if needed + RESERVED_BYTES > free:
            sizes = f"{format_size(needed)} are needed, and {format_size(free)} are free in {self.path}"
            raise PullFailed(f"{sizes}; free some, or name another folder in TINTYPE_MODELS_FOLDER")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and be its only writer; raises PullFailed, for a full disk too."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except BlockingIOError as error:
            message = f"another tintype is pulling or removing in {self.path}; wait until it is done"
            raise PullFailed(message) from error
        except OSError as error:
            if error.errno in DISK_FULL:
                raise PullFailed(f"the disk is full: {self.path}; free some space, and pull again") from error
            raise PullFailed(f"{self.path} can't be written: {error.strerror or error}") from error

    def _manifest_path(self, slug: str) -> Path:
        return self.path / f"{slug}{MANIFEST_SUFFIX}"

    def _read(self, path: Path) -> Manifest:
        try:
            return Manifest.from_json(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationInvalid(f"{path}: not a manifest of pulled weights; remove it and pull again") from error


def new_digest(file: File) -> Any:
    """An empty hash for a file's digest: SHA-256, or git's SHA-1 of a blob, which begins with a header."""
    if file.digest.startswith("sha256:"):
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def update_digest(digest: Any, path: Path, on_bytes: OnBytes = lambda _: None) -> None:
    """Add a file's content to a hash."""
    with path.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            on_bytes(len(chunk))


def is_intact(file: File, path: Path, on_bytes: OnBytes = lambda _: None) -> bool:
    """Whether a file on disk has its size and its digest; reads all of it."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = new_digest(file)
    update_digest(digest, path, on_bytes)
    return bool(digest.hexdigest() == file.digest.partition(":")[2])


def format_size(size: float) -> str:
    """Bytes in words: 15.5 GB."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB" if size < 1000 else f"{size:.0f} GB"
