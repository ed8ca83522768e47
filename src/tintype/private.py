"""Files and folders for their owner's eyes alone, whatever the umask: prompts, secrets and pictures lie in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
OTHERS = 0o077


def make_folder(path: Path) -> None:
    """A folder, and those that are missing on the way to it, each 0700; one that is there stays as it is."""
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(FOLDER, exist_ok=True)


def create(path: Path) -> int:
    """A new file, 0600, open for writing: its descriptor; raises FileExistsError."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE)


def write_whole(path: Path, data: bytes, part: Path) -> None:
    """Write a file that has its name once it is whole, and keeps both through a power cut.

    part: what it is called until then; raises FileExistsError where that is there, and leaves nothing of it behind.
    """
    descriptor = create(part)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError:  # a full disk must not stay full of halves
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Have what was written into a file, or the names in a folder, last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tighten(paths: Iterable[Path]) -> list[Path]:
    """Take from others what they may do with these, as earlier versions and a umask let them; those that were open.

    What isn't there, is somebody else's, or is shared by intent, as /tmp is (the sticky bit), stays as it is.
    """
    return [path for path in paths if _tightened(path)]


def _tightened(path: Path) -> bool:
    with suppress(FileNotFoundError):  # a journal may go at any moment
        about = path.stat()
        if about.st_uid == os.geteuid() and about.st_mode & OTHERS and not about.st_mode & stat.S_ISVTX:
            path.chmod(stat.S_IMODE(about.st_mode) & ~OTHERS)
            return True
    return False
