"""Files and folders that only their owner may access, whatever the umask: they hold prompts, secrets and images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
OTHERS = 0o077


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, each 0700; an existing one is unchanged."""
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(FOLDER, exist_ok=True)


def create(path: Path) -> int:
    """A new file, 0600, open for writing: its descriptor; raises FileExistsError."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE)


def write_whole(path: Path, data: bytes, part: Path) -> None:
    """Write a file atomically and durably.

    part: its path until it is complete; raises FileExistsError where that exists. An OSError leaves nothing behind.
    """
    descriptor = create(part)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError:  # a full disk must not stay full of partial files
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync a file's content, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tighten(paths: Iterable[Path]) -> list[Path]:
    """Remove others' permissions, which earlier versions left to the umask; returns the paths that were open.

    Missing paths, other users' and those that are shared on purpose, like /tmp (the sticky bit), are unchanged.
    """
    return [path for path in paths if _tightened(path)]


def _tightened(path: Path) -> bool:
    with suppress(FileNotFoundError):  # a journal may be removed at any moment
        about = path.stat()
        if about.st_uid == os.geteuid() and about.st_mode & OTHERS and not about.st_mode & stat.S_ISVTX:
            path.chmod(stat.S_IMODE(about.st_mode) & ~OTHERS)
            return True
    return False
