"""Resumable download of one file from the hub, verified before it is renamed to its final name.

huggingface_hub's own downloads (2.4) start over after an interruption: each has a temporary name of its own.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import httpx2

from tintype.errors import PullFailed
from tintype.hub.folder import File, OnBytes, new_digest, update_digest
from tintype.hub.remote import Hub

#: Seconds before each retry of a broken connection; they start over whenever bytes have arrived.
PAUSES = (1.0, 2.0, 4.0, 8.0)
#: The suffix of a file's name until it is complete.
PARTIAL_SUFFIX = ".part"


def partial_path(path: Path) -> Path:
    """The path of a file until it is complete."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def bytes_on_disk(file: File, path: Path) -> int:
    """Bytes of a file that need not be fetched again."""
    if path.is_file():
        return file.size
    partial = partial_path(path)
    return min(file.size, partial.stat().st_size) if partial.is_file() else 0


def download(hub: Hub, repository: str, commit: str, file: File, path: Path, on_bytes: OnBytes) -> None:
    """Fetch a file to `path`.

    Raises PullFailed when the hub is unreachable or sends something else, OSError when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = PartialFile(file, partial_path(path))
    pauses = iter(PAUSES)
    while partial.size < file.size:
        before = partial.size
        try:
            _receive(hub, repository, commit, partial, on_bytes)
        except httpx2.TransportError as error:
            if partial.size > before:
                pauses = iter(PAUSES)
            if (pause := next(pauses, None)) is None:
                raise hub.unreachable(error) from error
            time.sleep(pause)
    if not partial.is_intact:
        partial.path.unlink()
        raise PullFailed(f"{repository}: {file.path} is not what the hub says it is (wrong checksum); pull again")
    partial.finish(path)


class PartialFile:
    """A file that is being fetched, and the digest of its bytes so far."""

    def __init__(self, file: File, path: Path) -> None:
        self.file = file
        self.path = path
        self.restart(keep=path.is_file() and path.stat().st_size <= file.size)

    def restart(self, *, keep: bool) -> None:
        """Start over, or with the bytes of an earlier attempt."""
        self.digest = new_digest(self.file)
        with self.path.open("ab" if keep else "wb") as content:
            self.size = content.tell()
        update_digest(self.digest, self.path)

    def finish(self, path: Path) -> None:
        """Sync it, since the manifest will vouch for it, and give it its final name."""
        with self.path.open("rb") as content:
            os.fsync(content.fileno())
        self.path.rename(path)

    @property
    def is_intact(self) -> bool:
        """Whether it has the size and the digest of the hub's listing."""
        return self.size == self.file.size and self.digest.hexdigest() == self.file.digest.partition(":")[2]


def _receive(hub: Hub, repository: str, commit: str, partial: PartialFile, on_bytes: OnBytes) -> None:
    """Append what the hub sends."""
    before = partial.size
    with hub.stream(repository, commit, partial.file.path, before) as response:
        if before and response.status_code != httpx2.codes.PARTIAL_CONTENT:
            partial.restart(keep=False)
            on_bytes(-before)
        with partial.path.open("ab") as content:
            for chunk in response.iter_raw():
                content.write(chunk)
                partial.digest.update(chunk)
                partial.size += len(chunk)
                on_bytes(len(chunk))
                if partial.size > partial.file.size:
                    return
    if partial.size == before:
        raise httpx2.RemoteProtocolError("it sent nothing")
