"""One file from the hub: taken up where it broke off, verified, and only then given its name.

huggingface_hub's own downloads (2.4) begin anew after an interruption: each has a temporary name of its own.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import httpx2

from tintype.errors import PullFailed
from tintype.hub.folder import File, Progress, start_digest, take_in
from tintype.hub.remote import Hub

#: Seconds before a broken connection is taken up again; they start over whenever bytes have arrived.
PAUSES = (1.0, 2.0, 4.0, 8.0)
#: What a file's name ends in until it is whole.
PARTIAL = ".part"


def partial(path: Path) -> Path:
    """Where a file grows until it is whole."""
    return path.with_name(path.name + PARTIAL)


def arrived(file: File, path: Path) -> int:
    """Bytes of a file that need not be fetched any more."""
    if path.is_file():
        return file.size
    growing = partial(path)
    return min(file.size, growing.stat().st_size) if growing.is_file() else 0


def download(hub: Hub, repository: str, commit: str, file: File, path: Path, progress: Progress) -> None:
    """Fetch a file to its place; `progress` is told bytes as they arrive, below 0 for those that are fetched again.

    Raises PullFailed when the hub can't be reached or sends something else, OSError when the disk takes no more.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = Growing(file, partial(path))
    pauses = iter(PAUSES)
    while growing.size < file.size:
        before = growing.size
        try:
            _receive(hub, repository, commit, growing, progress)
        except httpx2.TransportError as error:
            if growing.size > before:
                pauses = iter(PAUSES)
            if (pause := next(pauses, None)) is None:
                raise hub.unreachable(error) from error
            time.sleep(pause)
    if not growing.whole:
        growing.path.unlink()
        raise PullFailed(f"{repository}: {file.path} is not what the hub says it is (wrong checksum); pull again")
    growing.settle(path)


class Growing:
    """A file that arrives piece by piece, and the digest of what is there."""

    def __init__(self, file: File, path: Path) -> None:
        self.file = file
        self.path = path
        self.restart(keep=path.is_file() and path.stat().st_size <= file.size)

    def restart(self, *, keep: bool) -> None:
        """Begin anew, or with what is there from another time."""
        self.digest = start_digest(self.file)
        with self.path.open("ab" if keep else "wb") as there:
            self.size = there.tell()
        take_in(self.digest, self.path)

    def settle(self, path: Path) -> None:
        """Give it its name, once its bytes would survive a power cut: the manifest will vouch for them."""
        with self.path.open("rb") as there:
            os.fsync(there.fileno())
        self.path.rename(path)

    @property
    def whole(self) -> bool:
        """Whether its bytes are those that were promised."""
        return self.size == self.file.size and self.digest.hexdigest() == self.file.digest.partition(":")[2]


def _receive(hub: Hub, repository: str, commit: str, growing: Growing, progress: Progress) -> None:
    """Append what the hub sends."""
    before = growing.size
    with hub.reading(repository, commit, growing.file.path, before) as response:
        if before and response.status_code != httpx2.codes.PARTIAL_CONTENT:
            growing.restart(keep=False)
            progress(-before)
        with growing.path.open("ab") as there:
            for chunk in response.iter_raw():
                there.write(chunk)
                growing.digest.update(chunk)
                growing.size += len(chunk)
                progress(len(chunk))
                if growing.size > growing.file.size:
                    return
    if growing.size == before:
        raise httpx2.RemoteProtocolError("it sent nothing")
