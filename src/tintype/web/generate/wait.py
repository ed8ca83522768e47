"""Waiting for a request's end in the call that sent it: v1 is v2 plus waiting, and so are other dialects."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial

from fastapi import Request as HttpRequest

from tintype.errors import GoesOn, Restarting, StillRunning, StoreUnavailable, WaitRanOut, WorkerUnavailable
from tintype.store.db.records import Request
from tintype.store.webhooks.events import links
from tintype.testmode.scenario import parse
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.watcher import Watch
from tintype.web.shutdown import LAST_ANSWERS
from tintype.web.threads import within

#: Seconds after which a call whose request is still running can be sent again, with its idempotency key.
RETRY_AFTER = 2
#: Seconds for reading or cancelling a call's request once the grace is over; then the call is answered.
LAST_WORD = LAST_ANSWERS * 0.7
NOWHERE_TO_PUT = "Images can't be stored at the moment; the request keeps its place in the queue"
PAUSED = "The queue is paused by the operator; the request keeps its place in it"
OUT_OF_REACH = "The image is made, but its storage can't be reached at the moment"


async def ended(call: Call, accepted: Accepted, *, cancels: bool = False) -> Accepted | None:
    """The same with its request as it ended; None if the caller disconnected.

    cancels: whether a request is cancelled that has not ended in time and has no idempotency key. Raises StillRunning
    for a call that was sent again before its request has ended, and what `wait` raises.
    """
    if not accepted.replayed:
        request = await wait(call, accepted.request, cancels=cancels)
        return replace(accepted, request=request) if request else None
    if not accepted.request.ended:
        raise StillRunning(headers={"x-request-id": accepted.request.id})
    return accepted


async def up_to(call: Call, accepted: Accepted, seconds: float) -> Accepted:
    """The same with its request after this many seconds, or once it has ended or the caller has disconnected."""
    request = accepted.request
    watch, _ = await _watched(call, request.id, seconds)
    if watch.ended:
        return replace(accepted, request=watch.ended)
    find = partial(call.store.queue.find, request.id, request.account_id)
    return replace(accepted, request=await call.runtime.threads.run(request.account_id, find))


async def wait(call: Call, request: Request, *, cancels: bool = False) -> Request | None:
    """Wait until a request has ended; None if the caller disconnected: without an idempotency key, it is cancelled.

    Raises WaitRanOut, or WorkerUnavailable if no worker is running: the request stays queued or running, unless it
    `cancels` and has no idempotency key.
    """
    try:
        return await _waited(call, request)
    except GoesOn as error:
        if not cancels or request.metadata.idempotency_key is not None:
            raise
        with suppress(StoreUnavailable):  # then it goes on for now, as the error says
            last = await cancelled(call, request)
            if last.ended and last.outcome != "cancelled":
                return last
            error.given_up()
        raise


async def _waited(call: Call, request: Request) -> Request | None:
    try:
        if request.test and (magic := parse(request.params.get("prompt", "")).interruption):
            raise still_running(magic, request)
        return await _watch(call, request)
    except StoreUnavailable as error:
        # Not this error: its advice would have the caller send, and pay for, the request again.
        raise still_running(WaitRanOut, request) from error


async def cancelled(call: Call, request: Request) -> Request:
    """A call's request, cancelled unless it has ended. Raises StoreUnavailable: then that is done once it is back."""
    try:
        cancel = partial(call.store.queue.cancel, request.id, request.account_id)
        return await call.runtime.threads.run(request.account_id, cancel)
    except StoreUnavailable:
        call.runtime.abandoned[request.id] = request.account_id
        raise


async def _watched(call: Call, id: str, seconds: float) -> tuple[Watch, bool]:
    """What is known after this many seconds or once there is news of it, and whether the caller has disconnected."""
    with call.runtime.watcher.watching(id) as watch:
        gone = asyncio.create_task(_disconnected(call.http))
        gone.add_done_callback(lambda _: watch.wake.set())
        try:
            await watch.wait(seconds)
        finally:
            gone.cancel()
    return watch, gone.done()


async def _watch(call: Call, request: Request) -> Request | None:
    runtime, queue = call.runtime, call.store.queue
    watch, gone = await _watched(call, request.id, runtime.settings.web.sync_timeout)
    if watch.error:
        raise watch.error
    if watch.ended:
        return watch.ended
    if watch.over:
        return await runtime.threads.run(request.account_id, queue.find, request.id, request.account_id)
    if gone:
        if request.metadata.idempotency_key is None:
            await cancelled(call, request)
        return None
    if runtime.shutdown.over:
        return await last_word(call, request)
    raise await runtime.threads.run(request.account_id, _wait_error, call, request)


async def _disconnected(http: HttpRequest) -> None:
    """Returns once the caller has disconnected; its body has been read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def last_word(call: Call, request: Request) -> Request:
    """The request of a call that the stopping server ends, if the request has just ended.

    Else raises WaitRanOut if it has an idempotency key; without one, it is cancelled, and raises Restarting.
    """
    with suppress(TimeoutError):  # a database that doesn't answer: the outcome is unknown
        return await within(LAST_WORD, call.runtime.threads.run(request.account_id, _last_word, call, request))
    raise still_running(WaitRanOut, request)


def _last_word(call: Call, request: Request) -> Request:
    once = request.metadata.idempotency_key is not None
    request = (call.store.queue.find if once else call.store.queue.cancel)(request.id, request.account_id)
    if request.ended and (once or request.outcome != "cancelled"):
        return request
    if once:
        raise still_running(WaitRanOut, request, "This server is being restarted; the request is still running")
    raise Restarting(headers={"x-request-id": request.id})


def _wait_error(call: Call, request: Request) -> GoesOn:
    """Why a request has not ended within the wait."""
    if request.test:
        return still_running(WaitRanOut, request)
    if call.store.queue.paused_since() is not None:
        return still_running(WaitRanOut, request, PAUSED)
    if call.runtime.readiness.workers():
        return still_running(WaitRanOut, request)
    return still_running(
        WorkerUnavailable, request, NOWHERE_TO_PUT if call.runtime.readiness.paused_workers() else None
    )


def still_running(kind: type[GoesOn], request: Request, message: str | None = None) -> GoesOn:
    """The error of a call whose request goes on, with where it is found."""
    error = kind(message, headers={"x-request-id": request.id})
    error.places = {"request_id": request.id, **links(request, request.metadata.base_url or "")}
    return error if request.metadata.idempotency_key is None else error.repeatable(RETRY_AFTER)
