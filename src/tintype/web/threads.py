"""Threads for blocking work: the database, the disk, a storage. Each account has a few of them at most.

With one FIFO queue, the burst of one caller would delay all others. Work that waits for a thread waits in the event
loop, and takes none. What many calls do alike, and is short, shares one thread: `Bunches`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial, wraps
from inspect import Parameter, iscoroutinefunction, signature
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from anyio import CancelScope
from fastapi import Request as HttpRequest
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import Match, request_response
from starlette.types import Scope

from tintype.errors import StoreUnavailable
from tintype.store.accounts.keys import Key
from tintype.web.clients import client_address, client_network
from tintype.web.connections import HUNG_UP
from tintype.web.declared import declares_query, sent_once

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")
Asks = TypeVar("Asks", bound=Callable[[HttpRequest], Awaitable[Any]])

#: Threads in all, and of one holder: an account, or an address where no account is known. A few are as fast as many,
#: which share one interpreter, and leave most of a database's connections, and of its writers, to others.
MAX_THREADS, MAX_PER_HOLDER = 40, 4
#: Items of one bunch, in all and of one holder: others wait for it.
MAX_BUNCH, MAX_OF_HOLDER = 32, 8
#: Key of a call's ASGI state: micro-dollars that its account can still spend, for the answer's header; None where they
#: can't be read.
REMAINING = "remaining"


class Threads:
    """For one event loop only. They don't keep a process from ending whose database or storage doesn't answer.

    An executor's threads would, and take half as long again for each work, anyio's four more turns of the event loop.
    """

    def __init__(self, total: int = MAX_THREADS, per_holder: int = MAX_PER_HOLDER) -> None:
        self._all = asyncio.Semaphore(total)
        self._per_holder = per_holder
        #: By holder, as long as one has calls here.
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._work: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._started = self._idle = 0

    async def run(self, holder: str, work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
        """What `work` returns, run in one of the holder's threads; cancelled before it has one, it doesn't run.

        Cancelled after that, it waits for the work's end all the same.
        """
        own = self._own.get(holder) or self._own.setdefault(holder, asyncio.Semaphore(self._per_holder))
        async with own, self._all:
            future = self.start(partial(copy_context().run, work, *args, **named))
            try:
                return await asyncio.shield(future)
            finally:
                if not future.done():  # cancelled: the thread stays the holder's until its work is done
                    await _end_of(future)

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Begin it in a thread immediately. For those who see to it themselves that there are few."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._idle:
            self._idle -= 1
        else:
            self._started += 1
            threading.Thread(target=self._serve, args=(loop,), name="call", daemon=True).start()
        self._work.put((future, work))
        return future

    def close(self) -> None:
        """Its threads end once they have nothing left to do; no work may follow."""
        for _ in range(self._started):
            self._work.put(None)
        self._started = self._idle = 0

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._do_next(loop):
            pass

    def _do_next(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Do what comes next, and refer to none of it while there is nothing; False where nothing more is to come."""
        if (taken := self._work.get()) is None:
            return False
        future, work = taken
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - it is its caller's
            error = raised
        with suppress(RuntimeError):  # the loop has ended, and with it who waited
            loop.call_soon_threadsafe(self._settle, future, result, error)
        return True

    def _settle(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._idle += 1
        _set(future, result if error is None else error)


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item]):
    item: Item
    scope: Scope
    future: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    #: Its bunch, once a thread works on that.
    bunch: asyncio.Future[Any] | None = None


class Bunches(Generic[Item, T]):
    """Works on the items of many calls in one thread: those that come while it does are its next bunch.

    Threads that work on one each share an interpreter, and change places at every statement. All of them wait for the
    job, so it must be short. For one event loop only.

    job: of each item, what its call is told, or is to be raised there.
    """

    def __init__(
        self,
        threads: Threads,
        job: Callable[[Sequence[Item]], Sequence[T | Exception]],
        total: int = MAX_BUNCH,
        per_holder: int = MAX_OF_HOLDER,
    ) -> None:
        self._threads = threads
        self._job = job
        self._total, self._per_holder = total, per_holder
        #: By holder, the one whose turn is next first.
        self._waiting: dict[str, deque[_Waiting[Item]]] = {}
        self._busy = False

    async def run(self, http: HttpRequest, item: Item) -> T:
        """What the job makes of a call's item; raises ClientDisconnect if the client has hung up when it would begin.

        Cancelled before that, the item is left out; cancelled later, it waits for the bunch's end.
        """
        mine = _Waiting(item, http.scope)
        self._waiting.setdefault(holder(http), deque()).append(mine)
        if not self._busy:
            self._busy = True
            self._next_soon()
        try:
            result: T = await mine.future
        except asyncio.CancelledError:
            if mine.bunch:
                await _end_of(mine.bunch)
            raise
        return result

    def _next_soon(self) -> None:
        """Once the loop has read what else has come: the next bunch has that too."""
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        while self._waiting:
            if bunch := self._take():
                try:
                    done = self._threads.start(partial(self._job, [one.item for one in bunch]))
                except RuntimeError as error:  # the machine has no thread for it; it may have one for the next
                    for one in bunch:
                        _set(one.future, error)
                    continue
                for one in bunch:
                    one.bunch = done
                done.add_done_callback(partial(self._settle, bunch))
                return
        self._busy = False

    def _take(self) -> list[_Waiting[Item]]:
        """The next bunch: a few of each holder's. Who has more is the last in the one after it."""
        bunch: list[_Waiting[Item]] = []
        for whose, waiting in [*self._waiting.items()]:
            if len(bunch) == self._total:
                break
            for _ in range(min(len(waiting), self._per_holder, self._total - len(bunch))):
                one = waiting.popleft()
                if hung_up(one.scope) and not one.future.done():
                    one.future.set_exception(ClientDisconnect())
                if not one.future.done():
                    bunch.append(one)
            del self._waiting[whose]
            if waiting:
                self._waiting[whose] = waiting
        return bunch

    def _settle(self, bunch: Sequence[_Waiting[Item]], done: asyncio.Future[Sequence[T | Exception]]) -> None:
        error = done.exception()
        outcomes = [error] * len(bunch) if error else done.result()
        for one, outcome in zip(bunch, outcomes, strict=True):
            if not one.future.cancelled():
                _set(one.future, outcome)
        self._next_soon()


def _set(future: asyncio.Future[Any], outcome: object) -> None:
    if not isinstance(outcome, BaseException):
        future.set_result(outcome)
    elif isinstance(outcome, StopIteration):  # a future takes none, and its caller would wait indefinitely
        future.set_exception(RuntimeError("the work raised StopIteration").with_traceback(outcome.__traceback__))
    else:
        future.set_exception(outcome)


async def _end_of(future: asyncio.Future[Any]) -> None:
    """Wait for it whatever cancels the task: a stream's task group would again and again."""
    with CancelScope(shield=True):
        await asyncio.wait({future})
    future.exception()  # marks it as retrieved


async def within(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`; raises TimeoutError after `seconds`, while it runs on: threads can't be stopped."""
    task = asyncio.ensure_future(work)
    if not (await asyncio.wait({task}, timeout=seconds))[0]:
        task.add_done_callback(lambda late: late.cancelled() or late.exception())  # marks an exception as retrieved
        raise TimeoutError
    return task.result()


async def in_thread(http: HttpRequest, work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """The same for a call, in its account's or address's threads; raises ClientDisconnect if the client has hung up.

    That is checked when the work would begin: a client that hangs up and retries must not have all of it done.
    """

    def wanted() -> T:
        if hung_up(http.scope):
            raise ClientDisconnect
        return work(*args, **named)

    threads: Threads = http.app.state.runtime.threads
    return await threads.run(holder(http), wanted)


async def answer_in_thread(http: HttpRequest, work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """The same for the work that a call is answered by; the credits that its answer tells are read in that thread too.

    Work that knows them from what it reads or writes anyway leaves them in the call's state itself: see REMAINING.
    """
    state, runtime = http.scope.setdefault("state", {}), http.app.state.runtime
    key: Key | None = state.get("key")
    # Once the grace is over, the middleware reads them, within a short time.
    if key is None or key.server_only or not runtime.settings.billing.enabled or runtime.shutdown.over:
        return await in_thread(http, work, *args, **named)

    def answer() -> T:
        found = work(*args, **named)
        if REMAINING not in state:
            state[REMAINING] = None
            with suppress(StoreUnavailable):  # the answer itself is worth more than its header
                state[REMAINING] = http.app.state.store.accounts.remaining(key.account_id)
        return found

    return await in_thread(http, answer)


def hung_up(scope: Scope) -> bool:
    """Whether the caller's connection is closed, as far as the server tells."""
    closed: Callable[[], bool] | None = scope.get("state", {}).get(HUNG_UP)
    return closed is not None and closed()


class Threaded(APIRoute):
    """A route whose endpoint runs in one of its caller's threads, unless it is async."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        # Members that an answer wasn't given are left out. A router passes False of its own, which says nothing.
        super().__init__(path, _wrapped(endpoint), **options | {"response_model_exclude_unset": True})
        if asks_itself(endpoint):
            self.app = request_response(endpoint)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the framework has it, which would try a pattern for each of a model's two addresses."""
        if not self.param_convertors and not scope["path"].endswith(self.path):
            return Match.NONE, {}
        return super().matches(scope)


def asks(work: Asks) -> Asks:
    """Mark a dependency, or an endpoint that returns a Response, which asks for its caller's key itself.

    It takes the call alone. Such an endpoint is called without the framework, which would take longer to solve its
    dependencies, one by one, than they take.
    """
    work.__dict__["asks"] = True
    return work


def asks_itself(work: object) -> bool:
    """Whether it is one that `asks` has marked."""
    return getattr(work, "asks", False)


def _wrapped(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint as a coroutine function that also takes the call; an async one without a query stays as it is."""
    own, is_async, checks = signature(endpoint), iscoroutinefunction(endpoint), declares_query(endpoint)
    if is_async and not checks:
        return endpoint
    takes_call = "http" in own.parameters

    @wraps(endpoint)
    async def run(*, http: HttpRequest, **named: Any) -> Any:
        if checks:
            sent_once(http.query_params)
        if takes_call:
            named["http"] = http
        return await (endpoint(**named) if is_async else answer_in_thread(http, endpoint, **named))

    if not takes_call:
        call = Parameter("http", Parameter.KEYWORD_ONLY, annotation=HttpRequest)
        run.__signature__ = own.replace(parameters=[*own.parameters.values(), call])  # type: ignore[attr-defined]
    return run


def holder(http: HttpRequest) -> str:
    """The account once the key is known, else the address: guessing keys doesn't delay callers that have one."""
    key: Key | None = http.scope.get("state", {}).get("key")
    return key.account_id if key else client_network(client_address(http, http.app.state.runtime.settings))
