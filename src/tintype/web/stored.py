"""Answers with a stored picture, read piece by piece: who reads them slowly takes little memory, and no open file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Send

from tintype.errors import TintypeError
from tintype.media.storage import Storage

log = structlog.get_logger()


#: Calls a function in a thread.
Run = Callable[..., Awaitable[bytes]]


class Stored(StreamingResponse):
    """A picture of `size` bytes. Its first piece is read when this is made: raises as `Storage.read_range` does.

    run: reads the others, in threads of whoever is sent them.
    """

    def __init__(
        self, place: Storage, name: str, size: int, *, run: Run, headers: Mapping[str, str], media_type: str
    ) -> None:
        first = place.read_range(name, 0, min(place.chunk, size))
        about = {"content-length": str(size), **headers}
        super().__init__(_pieces(place, name, size, first, run), headers=about, media_type=media_type)

    async def stream_response(self, send: Send) -> None:
        """Send it; where the storage goes away meanwhile, the answer breaks off, which its length tells."""
        try:
            await super().stream_response(send)
        except TintypeError as error:
            log.warning("a picture's answer broke off", error=error.message)


async def _pieces(place: Storage, name: str, size: int, piece: bytes, run: Run) -> AsyncIterator[bytes]:
    """Each is read when the one before it is on its way."""
    sent = len(piece)
    yield piece
    while sent < size:
        piece = await run(place.read_range, name, sent, min(sent + place.chunk, size))
        sent += len(piece)
        yield piece
