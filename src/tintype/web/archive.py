"""Several stored images as one zip, which is made while it is sent: a piece of one image is in memory at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tintype.errors import NotFound
from tintype.media.storage import Storage
from tintype.web.files import Files
from tintype.web.generate.watcher import ConcurrentWaits

#: Calls a function in a thread.
Run = Callable[..., Awaitable[Any]]
#: Name and head of the file that tells what is missing.
MISSING = "missing.txt"
WORDS = "These images were deleted, or expired, before they could be added:\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the archive: its name in the storage and there, and its moment in unix seconds."""

    stored: str
    name: str
    moment: float


class Archive(StreamingResponse):
    """Counts as an open download from its construction until it has ended or its client has disconnected.

    run: calls a function in the caller's threads. Where the storage fails midway, the connection is closed without the
    body's end. Raises TooManyRequests.
    """

    def __init__(
        self, files: Files, entries: Sequence[Entry], name: str, *, run: Run, open_calls: ConcurrentWaits, account: str
    ) -> None:
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        super().__init__(_pieces(files, entries, run), headers=headers, media_type="application/zip")
        self._open_calls, self._account = open_calls, account
        open_calls.enter(account)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._open_calls.leave(self._account)


class _Written:
    """What an archive is written into, and taken out of again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


async def _pieces(files: Files, entries: Sequence[Entry], run: Run) -> AsyncIterator[bytes]:
    """Each is made when the one before it is on its way."""
    written, missing = _Written(), list[str]()
    archive = ZipFile(cast(IO[bytes], written), "w", ZIP_STORED)  # of a file, these methods suffice
    for entry in entries:
        try:
            place, size = await run(files.find, entry.stored)
            first = await run(place.read_range, entry.stored, 0, min(place.chunk, size))
        except NotFound:
            missing.append(entry.name)
            continue
        about = ZipInfo(entry.name, datetime.fromtimestamp(entry.moment, UTC).timetuple()[:6])
        about.file_size = size
        with archive.open(about, "w") as member:
            async for piece in _rest(place, entry.stored, size, first, run):
                member.write(piece)
                yield written.taken()
    if missing:
        archive.writestr(MISSING, WORDS + "".join(f"{name}\n" for name in missing))
    archive.close()
    yield written.taken()


async def _rest(place: Storage, name: str, size: int, first: bytes, run: Run) -> AsyncIterator[bytes]:
    """A stored image from its first piece on."""
    yield first
    for begin in range(len(first), size, place.chunk):
        yield await run(place.read_range, name, begin, min(begin + place.chunk, size))
