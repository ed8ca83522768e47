"""Calls that stay open until a request has ended: how many there may be in this process, of an account and in all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tintype.errors import TooManyRequests

#: Seconds after which it makes sense to look whether one has ended.
PATIENCE = 5.0


class Waits:
    """The open ones, counted by account; for the event loop's own thread alone."""

    def __init__(self, most_of_account: int, most: int) -> None:
        self._most_of_account = most_of_account
        self._most = most
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    @contextmanager
    def place(self, account_id: str) -> Iterator[None]:
        """One more while the block lasts; raises TooManyRequests."""
        self.enter(account_id)
        try:
            yield
        finally:
            self.leave(account_id)

    def enter(self, account_id: str) -> None:
        """One more, or TooManyRequests."""
        instead = "POST /v2/… doesn't wait, and a status can always be asked for"
        if self._open[account_id] >= self._most_of_account:
            words = f"An account may have {self._most_of_account} calls that wait for or follow requests at once"
            raise TooManyRequests(f"{words}: {instead}", PATIENCE, time.time())
        if self.open >= self._most:
            words = f"This server takes {self._most} calls that wait for or follow requests at once"
            raise TooManyRequests(f"{words}: {instead}", PATIENCE, time.time())
        self._open[account_id] += 1

    def leave(self, account_id: str) -> None:
        """One less."""
        self._open[account_id] -= 1
        if not self._open[account_id]:
            del self._open[account_id]


class Counted(StreamingResponse):
    """A stream that counts from when it is made until it has ended, or its client has gone."""

    def __init__(self, waits: Waits, account_id: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waits, self._account_id = waits, account_id
        waits.enter(account_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._waits.leave(self._account_id)
