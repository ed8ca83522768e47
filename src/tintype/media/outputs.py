"""Put, get and expire: the pictures that callers fetch by an unguessable name, in a local folder."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tintype.errors import NotFound, StorageUnavailable, TintypeError
from tintype.private import make_folder, write_whole
from tintype.telemetry.logs import Outage

#: 128 random bits and a suffix: knowing the name is the permission to read it.
NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{1,5}")
SUFFIX = re.compile(r"[a-z0-9]{1,5}")
#: What is being written; never served.
PART = ".part"
#: Seconds after which an unfinished file is a crash's: no write takes that long.
PART_LIFE = 600.0
#: Bytes that are written to find out whether a disk takes any: an empty file finds room on a full one.
BLOCK = 4096
#: What callers send is kept as it came, under names with no kind of picture in them; it is given to nobody.
UNREAD = "in"
GONE = "no such file, or it has expired"
#: What an operator is told of a disk that takes nothing, in the words of what to do about it.
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk's quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "this user may not do that on the disk",
    errno.EPERM: "this user may not do that on the disk",
}


class Troubles:
    """What fails of that which is asked of one place, each kind by itself: a full disk can still be read."""

    def __init__(self, kind: str) -> None:
        done = {"write": "written", "read": "read", "list": "listed", "remove": "removed"}
        self._of = {to: Outage(f"{kind} can't be {what}", f"{kind} can be {what} again") for to, what in done.items()}

    def lasts(self, to: str) -> bool:
        """Whether this kind does."""
        return self._of[to].lasts

    @contextmanager
    def asking(self, to: str) -> Iterator[None]:
        """Note how that goes."""
        try:
            yield
        except StorageUnavailable as error:
            self._of[to].failed(error.why)  # no more of its cause: that names the picture, which would let it be read
            raise
        self._of[to].succeeded()


class Files:
    """Pictures in `folder` (made if missing), each kept `life` seconds from being written, which may be infinite."""

    #: Bytes of a part: what it costs to begin one is little.
    piece = 3 * 2**15

    def __init__(self, folder: Path, life: float) -> None:
        self._folder = folder
        self._life = life
        self._troubles = Troubles(folder.name)
        #: Bytes of the last picture that there was no room for: with less room than that, the disk is full still.
        self._refused = BLOCK
        make_folder(folder)

    def put(self, data: bytes, suffix: str) -> str:
        """Keep a picture; its name, `<32 hex digits>.<suffix>`. It is on the disk, whole, once this returns.

        Raises StorageUnavailable when the disk is full, or takes nothing for another reason.
        """
        name = new_name(suffix)
        try:
            with self._asking("write"):
                self._write(name, data)
        except StorageUnavailable:
            self._refused = max(BLOCK, len(data))
            raise
        return name

    def path(self, name: str) -> Path:
        """Where a picture lies; raises NotFound when it is unknown or past its life, or `name` is none of ours."""
        path = self._folder / name
        if not NAME.fullmatch(name) or not _younger(path, self._life):
            raise NotFound(GONE)
        return path

    def find(self, name: str) -> int:
        """How many bytes a picture has; raises NotFound as `path` does."""
        with self._asking("read"):
            return self.path(name).stat().st_size

    def part(self, name: str, begin: int, end: int) -> bytes:
        """Bytes of a picture that was found; raises NotFound. Nothing stays open for who reads slowly."""
        if not NAME.fullmatch(name):
            raise NotFound(GONE)
        with self._asking("read"), (self._folder / name).open("rb", buffering=0) as file:
            part = os.pread(file.fileno(), end - begin, begin)
        if len(part) < end - begin:
            raise NotFound(GONE)  # somebody cut it short
        return part

    def address(self, _name: str, _seconds: float) -> None:
        """None: a folder has no addresses of its own."""

    def get(self, name: str) -> bytes:
        """A picture's bytes; raises NotFound as `path` does."""
        with self._asking("read"):
            return self.path(name).read_bytes()

    def remove(self, name: str) -> None:
        """Forget a picture before its time, if it is there."""
        if NAME.fullmatch(name):
            with self._asking("remove"):
                (self._folder / name).unlink(missing_ok=True)

    def discard(self, name: str) -> None:
        """The same, where nobody can do anything about a disk that refuses it: a later sweep will."""
        with suppress(StorageUnavailable):
            self.remove(name)

    def probe(self) -> None:
        """As `prove`, which costs a disk little."""
        self.prove()

    def expire(self, keep: Collection[str] = ()) -> int:
        """Remove what is past its life and not to be kept, and what a crash left unfinished; how many files that were.

        What is kept beyond its life is read by those alone whose own life for it is longer.
        """
        removed = 0
        with self._asking("remove"):
            for path in self._folder.iterdir():
                unfinished = path.suffix == PART
                ours = NAME.fullmatch(path.stem if unfinished else path.name)
                if ours and path.name not in keep and not _younger(path, PART_LIFE if unfinished else self._life):
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def prove(self) -> None:
        """Write as many bytes as the last picture had that could not be written, and remove them.

        Raises StorageUnavailable.
        """
        name = new_name(UNREAD)
        with _on_disk():
            self._write(name, os.urandom(self._refused))
            (self._folder / name).unlink()

    @contextmanager
    def _asking(self, to: str) -> Iterator[None]:
        with self._troubles.asking(to), _on_disk(missing=NotFound(GONE) if to == "read" else None):
            yield

    def _write(self, name: str, data: bytes) -> None:
        write_whole(self._folder / name, data, self._folder / (name + PART))


def new_name(suffix: str) -> str:
    """A name that nobody can guess; raises ValueError for what is no suffix."""
    if not SUFFIX.fullmatch(suffix):
        raise ValueError(f"{suffix!r} is not a suffix like 'jpeg'")
    return f"{secrets.token_hex(16)}.{suffix}"


@contextmanager
def _on_disk(missing: TintypeError | None = None) -> Iterator[None]:
    """Tell what is not there from a disk that fails, whose own words name folders."""
    try:
        yield
    except OSError as error:
        if missing and isinstance(error, FileNotFoundError):
            raise missing from error
        why = DISK.get(error.errno or 0, error.strerror or type(error).__name__)
        raise StorageUnavailable.because(why) from error


def _younger(path: Path, seconds: float) -> bool:
    """Whether a file is there and was written less than that many seconds ago."""
    try:
        return time.time() - path.stat().st_mtime < seconds
    except FileNotFoundError:
        return False
