"""Threads for what waits for the database, the disk or a storage: none of those who call has more than a few of them.

First come, first served would have everybody wait behind the burst of one. Who waits for a thread here waits in the
event loop, and takes none meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request as HttpRequest
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from tintype.store.accounts.keys import Key
from tintype.web.clients import client_address, client_network
from tintype.web.connections import HUNG_UP

P = ParamSpec("P")
T = TypeVar("T")

#: Threads in all, and of one holder: an account, or an address where no account is known. A few are as fast as many,
#: which share one interpreter; and they leave most of a database's connections, and of its writers, to others.
MOST, SHARE = 40, 4


class Threads:
    """For one event loop only."""

    def __init__(self, most: int = MOST, share: int = SHARE) -> None:
        self._all = CapacityLimiter(most)
        self._share = share
        #: Of those who have calls here.
        self._own: WeakValueDictionary[str, CapacityLimiter] = WeakValueDictionary()

    async def run(self, holder: str, work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
        """What `work` returns, once it has been the holder's turn; a call that is cancelled before is not made."""
        own = self._own.get(holder) or self._own.setdefault(holder, CapacityLimiter(self._share))
        async with own:
            return await run_sync(partial(work, *args, **named), limiter=self._all)


async def within(seconds: float | None, work: Awaitable[T]) -> T:
    """What `work` comes to; raises TimeoutError after so many seconds, and lets it go on: no thread can be stopped."""
    task = asyncio.ensure_future(work)
    if not (await asyncio.wait({task}, timeout=seconds))[0]:
        task.add_done_callback(lambda late: late.cancelled() or late.exception())  # which nobody waits for any more
        raise TimeoutError
    return task.result()


async def in_thread(http: HttpRequest, work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> T:
    """The same for a call, in its account's threads or its address's; raises ClientDisconnect if nobody waits for it.

    That is asked when the work would begin: who hangs up and comes again shall not have all of it done.
    """

    def wanted() -> T:
        if hung_up(http.scope):
            raise ClientDisconnect
        return work(*args, **named)

    threads: Threads = http.app.state.services.threads
    return await threads.run(holder(http), wanted)


def hung_up(scope: Scope) -> bool:
    """Whether the caller's connection is closed, as far as the server tells."""
    told: Callable[[], bool] | None = scope.get("state", {}).get(HUNG_UP)
    return told is not None and told()


class Threaded(APIRoute):
    """A route whose endpoint runs in a thread of its caller's, unless it is async; it must take `http`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint if iscoroutinefunction(endpoint) else _threaded(endpoint), **options)


def _threaded(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(endpoint)
    async def run(*, http: HttpRequest, **named: Any) -> Any:
        return await in_thread(http, endpoint, http=http, **named)

    return run


def holder(http: HttpRequest) -> str:
    """The account once the key is known, else the address: who guesses keys keeps nobody with a key waiting."""
    key: Key | None = http.scope.get("state", {}).get("key")
    return key.account_id if key else client_network(client_address(http, http.app.state.services.settings))
