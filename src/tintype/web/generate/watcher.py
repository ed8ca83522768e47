"""Calls that wait for a request or follow it: how many there may be, and one poll of the database for all of them.

For the event loop's own thread alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from tintype.errors import UNFORESEEN, StoreUnavailable, TintypeError, TooManyRequests
from tintype.store.db.records import Status
from tintype.store.queue.progress import Poll, RequestState, RequestUpdate
from tintype.store.queue.queue import Queue
from tintype.web.shutdown import Shutdown

log = structlog.get_logger()

#: Seconds between polls of a request that a call waits for: at first, and at most.
FIRST_POLL, MAX_POLL = 0.01, 0.1
#: Seconds for which workers render previews after this process last noted that a request is followed.
PREVIEWS_FOR = 10.0
#: The pause between polls of all positions in the queue, in multiples of the time that the last one took.
QUEUE_PAUSE = 9.0
#: Seconds after which one of the waiting calls may have ended.
RETRY_AFTER = 5.0


class Watch:
    """One call that waits for a request's end or, if it follows, for any news of it."""

    def __init__(self, id: str, pause: float, *, follows: bool) -> None:
        self.id = id
        self.follows = follows
        #: Whether there is nothing more to wait for: the request has ended, or its record has expired.
        self.over = False
        #: Why this call can't be answered.
        self.error: TintypeError | None = None
        self.pause = pause
        #: The time of its next poll, on the monotonic clock.
        self.due = 0.0
        self.known: RequestState | None = None
        self._update: RequestUpdate | None = None
        #: Set when the call should wake up.
        self.wake = asyncio.Event()

    async def next(self, seconds: float) -> RequestUpdate | None:
        """The request's state once it has changed; None if it hasn't within `seconds`."""
        await _wait(self.wake, seconds)
        self.wake.clear()
        update, self._update = self._update, None
        return update

    def reset(self) -> None:
        """Have the next poll report the whole state."""
        self.known = None

    def take(self, found: Poll, rest: float) -> None:
        """Take what a poll found; the next comes after `rest` seconds at least."""
        state = found.states.get(self.id)
        self.over = state is None or (not self.follows and state.status.ended)
        if self.follows and self.id in found.news:
            self._update, self.known = found.news[self.id].after(self._update), state
        if self.over or self._update:
            self.wake.set()
        if not self.follows:
            self.pause = min(self.pause * 1.2, MAX_POLL)
        self.due = time.monotonic() + max(self.pause, rest)

    def fail(self, error: TintypeError) -> None:
        """End a wait; a call that follows goes on, since the next poll may succeed."""
        if not self.follows:
            self.error = error
            self.wake.set()
        self.due = time.monotonic() + self.pause


class Watcher:
    """Polls all requests that are watched. pause: seconds between polls of followed ones."""

    def __init__(self, queue: Queue, pause: float, shutdown: Shutdown) -> None:
        self._queue = queue
        self._pause = pause
        self._shutdown = shutdown
        shutdown.on_change(self._release)
        self._watches: set[Watch] = set()
        self._joined = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._marking: asyncio.Task[None] | None = None
        #: Threads of its own: those of all calls may wait for the database.
        self._threads = CapacityLimiter(2)
        #: When to poll the positions in the queue next, and when each request was last marked as followed.
        self._positions_at = 0.0
        self._marked: dict[str, float] = {}

    @contextmanager
    def watching(self, id: str, *, follows: bool = False) -> Iterator[Watch]:
        watch = Watch(id, self._pause if follows else FIRST_POLL, follows=follows)
        self._watches.add(watch)
        self._joined.set()
        if self._shutdown.over:
            watch.wake.set()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._run())
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def close(self) -> None:
        """Stop polling."""
        tasks = [task for task in (self._watching, self._marking) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while self._watches:
            await self._rest()
            if due := self._due():
                await self._poll_due(due)

    def _release(self) -> None:
        """Wake calls that have to end: those that follow once the server closes, all once its grace is over."""
        for watch in self._watches:
            if watch.follows or self._shutdown.over:
                watch.wake.set()

    async def _rest(self) -> None:
        """Wait until a poll is due, or a watch joins."""
        self._joined.clear()
        await _wait(self._joined, min(watch.due for watch in self._watches) - time.monotonic())

    def _due(self) -> list[Watch]:
        """Watches in the second half of their pause too, so that several share a poll."""
        moment = time.monotonic()
        return [watch for watch in self._watches if watch.due - watch.pause / 2 <= moment]

    async def _poll_due(self, due: list[Watch]) -> None:
        began = time.monotonic()
        try:
            found = await run_sync(self._poll, due, began >= self._positions_at, limiter=self._threads)
        except StoreUnavailable as error:
            self._fail(due, error)
        except Exception as error:
            log.exception("polling requests fails", error=type(error).__name__)
            self._fail(due, TintypeError(UNFORESEEN))
        else:
            took = time.monotonic() - began
            if began >= self._positions_at:
                self._positions_at = began + max(self._pause, QUEUE_PAUSE * took)
            for watch in due:
                watch.take(found, took)
            self._mark()

    def _poll(self, due: list[Watch], positions: bool) -> Poll:
        waited = [watch.id for watch in due if not watch.follows]
        followed: dict[str, RequestState | None] = {}
        for watch in due:
            if watch.follows:  # of several that follow one, the one that knows least counts
                followed[watch.id] = watch.known if followed.get(watch.id, watch.known) == watch.known else None
        return self._queue.poll(waited, followed, positions=positions)

    def _fail(self, due: list[Watch], error: TintypeError) -> None:
        for watch in due:
            watch.fail(error)

    def _mark(self) -> None:
        """Have previews made of followed requests that run; repeated in time, for all of them together."""
        running = {watch.id for watch in self._watches if watch.known and watch.known.status is Status.PROCESSING}
        recent = time.monotonic() - PREVIEWS_FOR / 2
        if all(self._marked.get(id, 0.0) > recent for id in running) or (self._marking and not self._marking.done()):
            return
        self._marked = dict.fromkeys(running, time.monotonic())
        self._marking = asyncio.create_task(self._mark_followed([*running]))

    async def _mark_followed(self, ids: list[str]) -> None:
        """Apart from the polls, which must not wait for the lock."""
        try:
            await run_sync(self._queue.previews.follow, ids, PREVIEWS_FOR, limiter=self._threads)
        except StoreUnavailable:
            self._marked.clear()  # the next poll tries again


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """At most `seconds`. Not by `wait_for`, which before Python 3.12 may swallow a cancellation."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()


class ConcurrentWaits:
    """The open calls that wait for or follow a request, counted by account and limited per account and in all."""

    def __init__(self, max_per_account: int, max_total: int) -> None:
        self._max_per_account = max_per_account
        self._max_total = max_total
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    @contextmanager
    def counted(self, account_id: str) -> Iterator[None]:
        """Counts one more while the block lasts; raises TooManyRequests."""
        self.enter(account_id)
        try:
            yield
        finally:
            self.leave(account_id)

    def enter(self, account_id: str) -> None:
        """Count one more; raises TooManyRequests."""
        if self._open[account_id] >= self._max_per_account:
            raise _too_many("this account", self._max_per_account)
        if self.open >= self._max_total:
            raise _too_many("this server", self._max_total)
        self._open[account_id] += 1

    def leave(self, account_id: str) -> None:
        """Count one less."""
        self._open[account_id] -= 1
        if not self._open[account_id]:
            del self._open[account_id]


def _too_many(whose: str, limit: int) -> TooManyRequests:
    words = (
        f"Too many waiting calls: {whose} may have {limit} that wait for or follow requests at the same time. "
        "Use POST /v2/…, which doesn't wait, and ask for the request's status"
    )
    return TooManyRequests(words, RETRY_AFTER, time.time())


class CountedStream(EventSourceResponse):
    """A stream that counts as an open call from its construction until it has ended or its client has disconnected."""

    def __init__(self, waits: ConcurrentWaits, account_id: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waits, self._account_id = waits, account_id
        waits.enter(account_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._waits.leave(self._account_id)
