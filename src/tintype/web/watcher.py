"""Calls that wait for a request or follow it: one look at the database serves all of them, and none is made for nobody.

For the event loop's own thread alone. How many calls there may be is `waits.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from tintype.errors import UNFORESEEN, StoreUnavailable, TintypeError
from tintype.store.db.records import Status
from tintype.store.queue.progress import Poll, State, Update
from tintype.store.queue.queue import Queue
from tintype.web.shutdown import Shutdown

log = structlog.get_logger()

#: Seconds between looks at a request that is being waited for: at first, and at most.
FIRST_LOOK, SLOWEST_LOOK = 0.01, 0.1
#: Seconds for which previews are made after this process last said that somebody follows a request.
WATCHED = 10.0
#: How many times longer than a look at the whole queue took is the pause until the next.
SPARING = 9.0


class Watch:
    """One call that waits for a request's end or, if it follows, for any news of it."""

    def __init__(self, id: str, pause: float, *, follows: bool) -> None:
        self.id = id
        self.follows = follows
        #: Whether there is nothing more to wait for: the request has ended, or its record has expired.
        self.over = False
        #: Why this call can't be told.
        self.error: TintypeError | None = None
        self.pause = pause
        #: When to look next, on this machine's monotonic clock.
        self.due = 0.0
        self.known: State | None = None
        self._seen: Update | None = None
        self.bell = asyncio.Event()

    async def news(self, seconds: float) -> Update | None:
        """How the request stands once it stands differently, within so many seconds; else None."""
        await _rung(self.bell, seconds)
        self.bell.clear()
        seen, self._seen = self._seen, None
        return seen

    def again(self) -> None:
        """Have the next look tell everything anew."""
        self.known = None

    def take(self, found: Poll, rest: float) -> None:
        """What a look found; the next comes no sooner than after `rest` seconds."""
        state = found.states.get(self.id)
        self.over = state is None or (not self.follows and state.status.ended)
        if self.follows and self.id in found.news:
            self._seen, self.known = found.news[self.id].after(self._seen), state
        if self.over or self._seen:
            self.bell.set()
        if not self.follows:
            self.pause = min(self.pause * 1.2, SLOWEST_LOOK)
        self.due = time.monotonic() + max(self.pause, rest)

    def fail(self, error: TintypeError) -> None:
        """End the wait; who follows goes on, since the next look may tell."""
        if not self.follows:
            self.error = error
            self.bell.set()
        self.due = time.monotonic() + self.pause


class Watcher:
    """Looks at all that is watched; `pace` is the seconds between looks at what is followed."""

    def __init__(self, queue: Queue, pace: float, shutdown: Shutdown) -> None:
        self._queue = queue
        self._pace = pace
        self._shutdown = shutdown
        shutdown.tell(self._release)
        self._watches: set[Watch] = set()
        self._joined = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._marking: asyncio.Task[None] | None = None
        #: Threads of its own: those of all calls may wait for the database.
        self._threads = CapacityLimiter(2)
        #: When to look at the places in the queue again, and when each request was last said to be watched.
        self._places_at = 0.0
        self._marked: dict[str, float] = {}

    @contextmanager
    def watching(self, id: str, *, follows: bool = False) -> Iterator[Watch]:
        """A watch, while the block lasts."""
        watch = Watch(id, self._pace if follows else FIRST_LOOK, follows=follows)
        self._watches.add(watch)
        self._joined.set()
        if self._shutdown.over:
            watch.bell.set()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._run())
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def close(self) -> None:
        """Look no more."""
        tasks = [task for task in (self._watching, self._marking) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while self._watches:
            await self._rest()
            if due := self._due():
                await self._turn(due)

    def _release(self) -> None:
        """Wake those who are to end: who follows once the server closes, who waits once its grace is over."""
        for watch in self._watches:
            if watch.follows or self._shutdown.over:
                watch.bell.set()

    async def _rest(self) -> None:
        """Until somebody's look is due, or somebody joins."""
        self._joined.clear()
        await _rung(self._joined, min(watch.due for watch in self._watches) - time.monotonic())

    def _due(self) -> list[Watch]:
        """All whose look is due, and those who wait for the second half of their pause: so looks fall together."""
        moment = time.monotonic()
        return [watch for watch in self._watches if watch.due - watch.pause / 2 <= moment]

    async def _turn(self, due: list[Watch]) -> None:
        began = time.monotonic()
        try:
            found = await run_sync(self._look, due, began >= self._places_at, limiter=self._threads)
        except StoreUnavailable as error:
            self._fail(due, error)
        except Exception as error:
            log.exception("requests can't be looked at", error=type(error).__name__)
            self._fail(due, TintypeError(UNFORESEEN))
        else:
            took = time.monotonic() - began
            if began >= self._places_at:
                self._places_at = began + max(self._pace, SPARING * took)
            for watch in due:
                watch.take(found, took)
            self._mark()

    def _look(self, due: list[Watch], places: bool) -> Poll:
        waited = [watch.id for watch in due if not watch.follows]
        followed: dict[str, State | None] = {}
        for watch in due:
            if watch.follows:  # of several who follow one, who knows least counts
                followed[watch.id] = watch.known if followed.get(watch.id, watch.known) == watch.known else None
        return self._queue.poll(waited, followed, positions=places)

    def _fail(self, due: list[Watch], error: TintypeError) -> None:
        for watch in due:
            watch.fail(error)

    def _mark(self) -> None:
        """Have previews made of what runs and is followed; said anew well before it lapses, of all at once."""
        running = {watch.id for watch in self._watches if watch.known and watch.known.status is Status.PROCESSING}
        lately = time.monotonic() - WATCHED / 2
        if all(self._marked.get(id, 0.0) > lately for id in running) or (self._marking and not self._marking.done()):
            return
        self._marked = dict.fromkeys(running, time.monotonic())
        self._marking = asyncio.create_task(self._say_watched([*running]))

    async def _say_watched(self, ids: list[str]) -> None:
        """Apart from the looks, which must not wait for the lock."""
        try:
            await run_sync(self._queue.previews.follow, ids, WATCHED, limiter=self._threads)
        except StoreUnavailable:
            self._marked.clear()  # the next look tries again


async def _rung(bell: asyncio.Event, seconds: float) -> None:
    """Wait for it, for so long at most; not by `wait_for`, which before Python 3.12 may swallow a cancellation."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await bell.wait()
