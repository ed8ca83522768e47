"""Calls that wait for a request or follow it: how many there may be, and one watcher of the database for all of them.

For the event loop's own thread alone, but for what says otherwise.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, NamedTuple

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from tintype.errors import UNFORESEEN, StoreUnavailable, TintypeError, TooManyRequests
from tintype.store.db.records import Request, Status
from tintype.store.queue.progress import Poll, RequestState, RequestUpdate
from tintype.store.queue.queue import Queue
from tintype.web.shutdown import Shutdown

log = structlog.get_logger()

#: Seconds for which workers render previews after this process last noted that a request is followed.
PREVIEWS_FOR = 10.0
#: The pause between polls of all positions in the queue, in multiples of the time that the last one took.
QUEUE_PAUSE = 9.0
#: Seconds after which one of the waiting calls may have ended.
RETRY_AFTER = 5.0
#: Ends that are remembered, for calls that begin to wait a moment after their request has ended.
REMEMBERED = 1024


class Watch:
    """One call that waits for a request's end or, if it follows, for any news of it."""

    def __init__(self, id: str, *, follows: bool, previews: bool = True) -> None:
        self.id = id
        self.follows = follows
        #: Whether a call that follows wants previews made.
        self.previews = previews
        #: Whether there is nothing more to wait for: the request has ended, or its record has expired.
        self.over = False
        #: The request as it ended, for a call that waits.
        self.ended: Request | None = None
        #: Why this call can't be answered.
        self.error: TintypeError | None = None
        self.known: RequestState | None = None
        self._update: RequestUpdate | None = None
        #: Set when the call should wake up.
        self.wake = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Until the call should wake up, at most so long."""
        await _wait(self.wake, seconds)

    async def next(self, seconds: float) -> RequestUpdate | None:
        """The request's state once it has changed; None if it hasn't within `seconds`."""
        await _wait(self.wake, seconds)
        self.wake.clear()
        update, self._update = self._update, None
        return update

    def reset(self) -> None:
        """Have the next poll report the whole state."""
        self.known = None

    def end(self, request: Request | None) -> None:
        """Take the request as it ended; None where its record has expired."""
        if request and self.follows:
            self._take(RequestUpdate.of_ended(request))
            return
        self.ended, self.over = request, True
        self.wake.set()

    def take(self, found: Poll) -> None:
        """Take what a poll found of a request that the call follows."""
        if self.id not in found.states:
            self.end(None)
        elif self.id in found.news:
            self._take(found.news[self.id])

    def _take(self, update: RequestUpdate) -> None:
        self._update, self.known = update.after(self._update), update.state
        self.wake.set()

    def fail(self, error: TintypeError) -> None:
        """End a wait; a call that follows goes on, since the next poll may succeed."""
        if not self.follows:
            self.error = error
            self.wake.set()


class Due(NamedTuple):
    """Which requests to read: those that a wake-up says have ended, those that may have, and followed ones."""

    woken: Set[str]
    polled: Sequence[str]
    #: By the state that is known.
    followed: Mapping[str, RequestState | None]
    #: Whether to read the followed ones' positions too.
    positions: bool


class Found(NamedTuple):
    """Requests as they ended, those that are gone, and what is new of followed ones."""

    ended: Mapping[str, Request]
    gone: Collection[str]
    followed: Poll


class Watches(dict[str, set[Watch]]):
    """Watches by their request's id."""

    def add(self, watch: Watch) -> None:
        self.setdefault(watch.id, set()).add(watch)

    def remove(self, watch: Watch) -> None:
        self[watch.id].remove(watch)
        if not self[watch.id]:
            del self[watch.id]

    def of(self, ids: Iterable[str]) -> list[Watch]:
        """Those of some requests."""
        return [watch for id in ids for watch in self.get(id, ())]


class Watcher:
    """Reads the state of all requests that are watched, in as many statements for a thousand as for one.

    A wake-up (`heard`) has it read the request that has ended. It polls all of them in addition: those followed every
    `follow_poll` seconds; the ends of the others every `poll_with_notify` seconds, or as long as wake-ups are missing,
    every `poll`.
    """

    def __init__(
        self, queue: Queue, shutdown: Shutdown, *, follow_poll: float, poll: float, poll_with_notify: float
    ) -> None:
        self._queue = queue
        self._shutdown = shutdown
        shutdown.on_change(self._release)
        self._follow_poll = follow_poll
        self._poll, self._poll_with_notify = poll, poll_with_notify
        self._waits, self._follows = Watches(), Watches()
        #: Watched requests of whose end it has heard, and has still to read.
        self._woken: set[str] = set()
        #: Requests of whose end it heard last; and whether it heard of the ends that it found since.
        self._heard: dict[str, None] = {}
        self._is_woken = True
        #: When to poll the ends, the followed requests, and the positions in the queue next.
        self._ends_at = self._follows_at = self._positions_at = 0.0
        #: Set when something is to be read sooner than that.
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watching: asyncio.Task[None] | None = None
        self._marking: asyncio.Task[None] | None = None
        #: Threads of its own: those of all calls may wait for the database.
        self._threads = CapacityLimiter(2)
        #: When each request was last marked as followed.
        self._marked: dict[str, float] = {}

    @contextmanager
    def watching(self, id: str, *, follows: bool = False, previews: bool = True) -> Iterator[Watch]:
        watch = Watch(id, follows=follows, previews=previews)
        watches = self._follows if follows else self._waits
        if follows:
            self._follows_at = 0.0
        elif not watches:
            self._ends_at = time.monotonic() + self._pause
        if follows or not watches:
            self._changed.set()
        watches.add(watch)
        if id in self._heard:  # looked up after it was added: it may end at this very moment
            self._wake(id)
        if self._shutdown.over:
            watch.wake.set()
        if self._watching is None or self._watching.done():
            self._loop = asyncio.get_running_loop()
            self._watching = asyncio.create_task(self._run())
        try:
            yield watch
        finally:
            watches.remove(watch)

    def heard(self, id: str) -> None:
        """A request has ended; with "", any may have. From any thread."""
        if id:
            self._is_woken = True
            self._heard[id] = None
            if len(self._heard) > REMEMBERED:
                del self._heard[next(iter(self._heard))]
        if self._loop and (not id or id in self._waits or id in self._follows):
            self._loop.call_soon_threadsafe(self._wake, id)

    async def close(self) -> None:
        """Stop polling."""
        tasks = [task for task in (self._watching, self._marking) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self, id: str) -> None:
        if id:
            self._woken.add(id)
        else:
            self._ends_at = self._follows_at = 0.0
        self._changed.set()

    def _release(self) -> None:
        """Wake calls that have to end: those that follow once the server closes, all once its grace is over."""
        for watch in chain(*self._follows.values(), *(self._waits.values() if self._shutdown.over else ())):
            watch.wake.set()

    @property
    def _pause(self) -> float:
        """Seconds between polls of the ends."""
        return self._poll_with_notify if self._is_woken else self._poll

    async def _run(self) -> None:
        while self._waits or self._follows:
            ends_at = self._ends_at if self._waits else math.inf
            follows_at = self._follows_at if self._follows else math.inf
            await _wait(self._changed, min(ends_at, follows_at) - time.monotonic())
            self._changed.clear()
            await self._read_due()

    async def _read_due(self) -> None:
        due = self._due()
        if not (due.woken or due.polled or due.followed):
            return
        began = time.monotonic()
        try:
            found = await run_sync(self._read, due, limiter=self._threads)
        except StoreUnavailable as error:
            self._fail(due, error)
        except Exception as error:
            log.exception("polling requests fails", error=type(error).__name__)
            self._fail(due, TintypeError(UNFORESEEN))
        else:
            self._take(due, found)
        moment = time.monotonic()
        took = moment - began
        if due.polled:
            self._ends_at = moment + max(self._pause, took)
        if due.followed:
            self._follows_at = moment + max(self._follow_poll, took)
        if due.positions:
            self._positions_at = moment + max(self._follow_poll, QUEUE_PAUSE * took)

    def _due(self) -> Due:
        moment = time.monotonic()
        woken, self._woken = {id for id in self._woken if id in self._waits or id in self._follows}, set()
        polled = [*self._waits] if moment >= self._ends_at else []
        followed = self._known() if moment >= self._follows_at else {}
        return Due(woken, polled, followed, positions=bool(followed) and moment >= self._positions_at)

    def _known(self) -> dict[str, RequestState | None]:
        """What is known of each followed request: of several calls that follow one, by the one that knows least."""
        known = {}
        for id, watches in self._follows.items():
            states = {watch.known for watch in watches}
            known[id] = states.pop() if len(states) == 1 else None
        return known

    def _read(self, due: Due) -> Found:
        unended = self._queue.unended(due.polled) if due.polled else frozenset()
        over = {id for id in due.polled if id not in unended}
        ended = self._queue.ended([*over | due.woken]) if over or due.woken else {}
        news = self._queue.poll(due.followed, positions=due.positions) if due.followed else Poll({}, {})
        return Found(ended, over - ended.keys(), news)

    def _take(self, due: Due, found: Found) -> None:
        if any(id not in self._heard for id in found.ended.keys() - due.woken):
            self._is_woken = False
        for id, request in found.ended.items():
            for watch in (*self._waits.of([id]), *self._follows.of([id])):
                watch.end(request)
        for watch in self._waits.of(found.gone):
            watch.end(None)
        for watch in self._follows.of(due.followed):
            watch.take(found.followed)
        if due.followed:
            self._mark()

    def _fail(self, due: Due, error: TintypeError) -> None:
        for watch in self._waits.of({*due.woken, *due.polled}):
            watch.fail(error)

    def _mark(self) -> None:
        """Have previews made of followed requests that run; repeated in time, for all of them together."""
        watches = chain.from_iterable(self._follows.values())
        shown = (watch for watch in watches if watch.previews)
        running = {watch.id for watch in shown if watch.known and watch.known.status is Status.PROCESSING}
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


#: In errors: what the calls are, and what to do.
WAITING = (
    "waiting calls",
    "Use POST /v2/…, which doesn't wait, and ask for the request's status",
)
DOWNLOADS = "downloads of several images", "Let one end first"


class ConcurrentWaits:
    """The open calls that wait for or follow a request, counted by account and limited per account and in all.

    words: what they are and what to do, in an error. whose: an account's, there.
    """

    def __init__(
        self,
        max_per_account: int,
        max_total: int,
        words: tuple[str, str] = WAITING,
        whose: str = "this account",
    ) -> None:
        self._whose = whose
        self._max_per_account = max_per_account
        self._max_total = max_total
        self._words = words
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
            raise self._too_many(self._whose, self._max_per_account)
        if self.open >= self._max_total:
            raise self._too_many("this server", self._max_total)
        self._open[account_id] += 1

    def leave(self, account_id: str) -> None:
        """Count one less."""
        self._open[account_id] -= 1
        if not self._open[account_id]:
            del self._open[account_id]

    def _too_many(self, whose: str, limit: int) -> TooManyRequests:
        kind, advice = self._words
        words = f"Too many {kind}: {whose} may have {limit} at the same time. {advice}"
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
