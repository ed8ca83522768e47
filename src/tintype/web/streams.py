"""Answers that stay open: how many of them one key may have in this process."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tintype.errors import TooManyRequests

#: Seconds after which it makes sense to look whether one has ended.
PATIENCE = 5.0


class Streams:
    """The open ones, counted by key; for the event loop's own thread alone."""

    def __init__(self, most: int) -> None:
        """most: of one key, 0 for any number."""
        self._most = most
        self._open: Counter[str] = Counter()

    def full(self, key_id: str) -> bool:
        """Whether the key has as many as it may."""
        return bool(self._most) and self._open[key_id] >= self._most

    def check(self, key_id: str) -> None:
        """Raise TooManyRequests when it has."""
        if self.full(key_id):
            words = f"This API key may follow {self._most} requests at once"
            raise TooManyRequests(words, PATIENCE, time.time())

    def add(self, key_id: str, change: int) -> None:
        """One more, or one less."""
        self._open[key_id] += change
        if not self._open[key_id]:
            del self._open[key_id]


class Counted(StreamingResponse):
    """A stream that counts from when it is made until it has ended, or its client has gone."""

    def __init__(self, streams: Streams, key_id: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._streams, self._key_id = streams, key_id
        streams.check(key_id)
        streams.add(key_id, 1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.add(self._key_id, -1)
