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
