"""Where pictures are kept: on disk, or in an object storage that several machines share."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from tintype.media.outputs import Files
from tintype.settings import Settings


class Storage(Protocol):
    """Pictures under unguessable names, each kept for a time from being written.

    Whatever asks it for something raises StorageUnavailable where it is away, refuses, or has no room; it logs that
    itself, as a state that lasts.
    """

    def put(self, data: bytes, suffix: str) -> str:
        """Keep a picture; its name, `<32 hex digits>.<suffix>`. It is stored, whole, once this returns."""

    def get(self, name: str) -> bytes:
        """A picture's bytes; raises NotFound."""

    def find(self, name: str) -> int:
        """How many bytes a picture has; raises NotFound when it is unknown or past its life."""

    @property
    def piece(self) -> int:
        """Bytes that are read at once for somebody who may take them slowly."""

    def part(self, name: str, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end` of a picture that was found, however old it has become; raises NotFound."""

    def address(self, name: str, seconds: float) -> str | None:
        """An address of its own under which it can be read for so long, or None: the server gives it out itself."""

    def remove(self, name: str) -> None:
        """Forget a picture before its time, if it is there."""

    def discard(self, name: str) -> None:
        """The same without waiting for it, nor raising anything: what isn't removed then is past its life some day."""

    def probe(self) -> None:
        """Find out cheaply whether pictures can be kept here at the moment; raises StorageUnavailable."""

    def expire(self, keep: Collection[str] = ()) -> int:
        """Remove what is past its life, but for the names to keep; how many that were."""

    def prove(self) -> None:
        """Do once with something of no use what is done with pictures; gives up after some seconds."""


def open_storage(settings: Settings, folder: Path, life: float, patience: float | None = None) -> Storage:
    """The place for one kind of pictures, as the operator configured it; in a bucket, the folder's name is a prefix.

    patience: seconds for which a bucket that is away is asked again at most, where callers wait.
    """
    if not settings.storage_url:
        return Files(folder, life)
    from tintype.media.objects import open_bucket  # noqa: PLC0415 - an extra that most servers don't need

    return open_bucket(settings, folder.name, life, patience)
