"""A small disk for tests, that can be filled to the last byte."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from tintype.store.db.database import Database
from tintype.store.db.tables import samples


class SmallDisk:
    """A file system of its own, in memory, of this many megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    @contextmanager
    def full(self, db: Database) -> Iterator[None]:
        """Leave no room to this SQLite database, which is on it, until the block ends.

        A snapshot is read all the while: else the log would be emptied once a refused change's connection, the only
        one, is closed, and there would be room again.
        """
        with db.read() as view:
            view.execute(select(samples)).all()
            self.fill()
            yield
        self.free()

    def free(self) -> None:
        """There is room again."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A disk at `folder` while the block lasts; skips where this machine doesn't let us mount one."""
    folder.mkdir(parents=True)
    options = f"size={megabytes}m,mode=755"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here, which takes root: {mounted.stderr.decode()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
