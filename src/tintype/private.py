"""Files and folders that only their owner can read, whatever the umask: for prompts, secrets and images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
OTHERS = 0o077


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, each 0700; existing ones stay as they are."""
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(FOLDER, exist_ok=True)


def create(path: Path) -> int:
    """A new file, 0600, open for writing: its descriptor; raises FileExistsError."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE)


def write_whole(path: Path, data: bytes, part: Path) -> None:
    """Write a file atomically, synced with its name, so that it survives a power cut.

    part: its name while it is written; raises FileExistsError where that exists. An error leaves no part behind.
    """
    descriptor = create(part)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError:  # unfinished files must not fill the disk
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_new(path: Path, data: bytes, part: Path) -> None:
    """`write_whole` for a name that is told only once this returns: in about the time of one sync, not of two.

    File and name are synced at the same time, which file systems commit together. A power cut meanwhile may leave part
    of the file under its name.
    """
    descriptor = create(part)
    try:
        with os.fdopen(descriptor, "wb") as file, ThreadPoolExecutor(1) as thread:
            file.write(data)
            file.flush()
            part.rename(path)
            named = thread.submit(sync, path.parent)
            os.fsync(file.fileno())
        named.result()
    except OSError:
        for left in (part, path):
            with suppress(OSError):
                left.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """fsync a file's data, or a folder's names, so that they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tighten(paths: Iterable[Path]) -> list[Path]:
    """Remove other users' permissions, which earlier versions and a umask left; the paths that were open.

    Missing paths, other users', and those shared on purpose, as /tmp is (the sticky bit), stay as they are.
    """
    return [path for path in paths if _tightened(path)]


def _tightened(path: Path) -> bool:
    with suppress(FileNotFoundError):  # SQLite may remove a journal at any moment
        about = path.stat()
        if about.st_uid == os.geteuid() and about.st_mode & OTHERS and not about.st_mode & stat.S_ISVTX:
            path.chmod(stat.S_IMODE(about.st_mode) & ~OTHERS)
            return True
    return False
