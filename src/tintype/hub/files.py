"""Files on disk: their checksums, the room that is left, and one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tintype.errors import PullFailed
from tintype.hub.manifest import File

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
