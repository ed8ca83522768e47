"""What handlers take from their process and their call: the store, the files, the runtime, the server's address.

Keys are in auth.py; queries and answers in declared.py, bodies in json_body.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends
from fastapi import Request as HttpRequest

from tintype.store.store import Store
from tintype.web import clients, threads
from tintype.web.files import Files
from tintype.web.runtime import Runtime

T = TypeVar("T")


class InCallersThread(Protocol):
    """Runs blocking work of a call; raises ClientDisconnect if its client has hung up by the time it would begin."""

    def __call__(self, work: Callable[..., T], /, *args: Any, **named: Any) -> Awaitable[T]: ...


async def _store(http: HttpRequest) -> Store:
    store: Store = http.app.state.store
    return store


async def _files(http: HttpRequest) -> Files:
    files: Files = http.app.state.files
    return files


async def _runtime(http: HttpRequest) -> Runtime:
    runtime: Runtime = http.app.state.runtime
    return runtime


StoreDep = Annotated[Store, Depends(_store)]
FilesDep = Annotated[Files, Depends(_files)]
RuntimeDep = Annotated[Runtime, Depends(_runtime)]


async def _base_url(http: HttpRequest) -> str:
    return clients.base_url(http, http.app.state.runtime.settings)


async def _in_thread(http: HttpRequest) -> InCallersThread:
    async def run(work: Callable[..., T], /, *args: Any, **named: Any) -> T:
        return await threads.in_thread(http, work, *args, **named)

    return run


#: This server's address as the caller reaches it, without a slash at the end; a call with invalid headers is refused.
BaseUrl = Annotated[str, Depends(_base_url)]
#: For endpoints that are async, to wait for something; others run in a thread of their caller as a whole.
InThread = Annotated[InCallersThread, Depends(_in_thread)]
