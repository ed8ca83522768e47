"""Put, get and expire: the pictures that callers fetch by an unguessable name, in a local folder."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Collection
from pathlib import Path

import structlog

from tintype.errors import NotFound, StorageUnavailable
from tintype.private import create, make_folder

log = structlog.get_logger()

#: 128 random bits and a suffix: knowing the name is the permission to read it.
NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{1,5}")
SUFFIX = re.compile(r"[a-z0-9]{1,5}")
#: What is being written; never served.
PART = ".part"
#: Seconds after which an unfinished file is a crash's: no write takes that long.
PART_LIFE = 600.0
#: What a probe writes: an empty file finds room on a full disk.
BLOCK = bytes(4096)
#: What callers send is kept as it came, under names with no kind of picture in them; it is given to nobody.
UNREAD = "in"
GONE = "no such file, or it has expired"


class Files:
    """Pictures in `folder` (made if missing), each kept `life` seconds from being written, which may be infinite."""

    #: Bytes of a part: what it costs to begin one is little.
    piece = 3 * 2**15

    def __init__(self, folder: Path, life: float) -> None:
        self._folder = folder
        self._life = life
        make_folder(folder)

    def put(self, data: bytes, suffix: str) -> str:
        """Keep a picture; its name, `<32 hex digits>.<suffix>`. It is on the disk, whole, once this returns.

        Raises StorageUnavailable when the disk is full, or takes nothing for another reason.
        """
        name = new_name(suffix)
        part = self._folder / (name + PART)
        try:
            with os.fdopen(create(part), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._folder / name)
        except OSError as error:  # a full disk must not stay full of halves
            part.unlink(missing_ok=True)
            raise StorageUnavailable from error
        self._sync_names()
        return name

    def path(self, name: str) -> Path:
        """Where a picture lies; raises NotFound when it is unknown or past its life, or `name` is none of ours."""
        path = self._folder / name
        if not NAME.fullmatch(name) or not _younger(path, self._life):
            raise NotFound(GONE)
        return path

    def find(self, name: str) -> int:
        """How many bytes a picture has; raises NotFound as `path` does."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError as error:  # it expired since
            raise NotFound(GONE) from error

    def part(self, name: str, begin: int, end: int) -> bytes:
        """Bytes of a picture that was found; raises NotFound. Nothing stays open for who reads slowly."""
        if not NAME.fullmatch(name):
            raise NotFound(GONE)
        try:
            with (self._folder / name).open("rb", buffering=0) as file:
                part = os.pread(file.fileno(), end - begin, begin)
        except FileNotFoundError as error:
            raise NotFound(GONE) from error
        if len(part) < end - begin:
            raise NotFound(GONE)  # somebody cut it short
        return part

    def address(self, _name: str, _seconds: float) -> None:
        """None: a folder has no addresses of its own."""

    def get(self, name: str) -> bytes:
        """A picture's bytes; raises NotFound as `path` does."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError as error:  # it expired since
            raise NotFound(GONE) from error

    def remove(self, name: str) -> None:
        """Forget a picture before its time, if it is there."""
        if NAME.fullmatch(name):
            (self._folder / name).unlink(missing_ok=True)

    def discard(self, name: str) -> None:
        """The same, where nobody can do anything about a disk that refuses it."""
        try:
            self.remove(name)
        except OSError as error:
            log.warning("a file was not removed; a later sweep will", cause=error.strerror)

    def probe(self) -> None:
        """Write a block and remove it; raises StorageUnavailable when that isn't possible, as on a full disk."""
        self.remove(self.put(BLOCK, UNREAD))

    def expire(self, keep: Collection[str] = ()) -> int:
        """Remove what is past its life and not to be kept, and what a crash left unfinished; how many files that were.

        What is kept beyond its life is read by those alone whose own life for it is longer.
        """
        removed = 0
        for path in self._folder.iterdir():
            unfinished = path.suffix == PART
            ours = NAME.fullmatch(path.stem if unfinished else path.name)
            if ours and path.name not in keep and not _younger(path, PART_LIFE if unfinished else self._life):
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _sync_names(self) -> None:
        """Make a rename last through a power cut."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def new_name(suffix: str) -> str:
    """A name that nobody can guess; raises ValueError for what is no suffix."""
    if not SUFFIX.fullmatch(suffix):
        raise ValueError(f"{suffix!r} is not a suffix like 'jpeg'")
    return f"{secrets.token_hex(16)}.{suffix}"


def _younger(path: Path, seconds: float) -> bool:
    """Whether a file is there and was written less than that many seconds ago."""
    try:
        return time.time() - path.stat().st_mtime < seconds
    except FileNotFoundError:
        return False
