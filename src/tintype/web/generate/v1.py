"""Blocking calls: v1 is v2 plus waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse

from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.core import Result
from tintype.errors import (
    GoesOn,
    Restarting,
    StillRunning,
    StorageUnavailable,
    StoreUnavailable,
    WaitRanOut,
    WorkerUnavailable,
)
from tintype.media.images import content_type
from tintype.store.billing.ledger import plain
from tintype.store.db.records import Request, Status
from tintype.store.webhooks.events import file_url, links
from tintype.testmode.scenario import parse
from tintype.web.auth import Reader, Runner
from tintype.web.clients import base_url
from tintype.web.errors import CLIENT_GONE
from tintype.web.generate import answers
from tintype.web.generate.submit import Submitted, accept
from tintype.web.openapi import describe_result, describe_v1
from tintype.web.responses import StoredFile
from tintype.web.services import Services, services
from tintype.web.shutdown import LAST_ANSWERS
from tintype.web.threads import Threaded, in_thread, within

#: Seconds after which a call whose request is still running can be sent again, with its idempotency key.
RETRY_AFTER = 2
#: Seconds for reading or cancelling a call's request once the grace is over; then the call is answered.
LAST_WORD = LAST_ANSWERS * 0.7
NOWHERE_TO_PUT = "Images can't be stored at the moment; the request keeps its place in the queue"
PAUSED = "The queue is paused by the operator; the request keeps its place in it"
OUT_OF_REACH = "The image is made, but its storage can't be reached at the moment"


def v1_router(catalogue: Catalogue) -> APIRouter:
    """One operation per model, and the older poll endpoint."""
    router = APIRouter(prefix="/v1", route_class=Threaded)
    for spec in catalogue.values():
        router.add_api_route(f"/{spec.slug}", runs(spec), methods=["POST"], **describe_v1(spec))
    words = describe_result("Result of a request (older address)")
    router.add_api_route("/requests/{request_id}", poll, methods=["GET"], **words)
    return router


def runs(spec: ModelSpec) -> Callable[..., Awaitable[Response]]:
    """The blocking endpoint of one model."""

    async def run(http: HttpRequest, key: Runner) -> Response:
        own = services(http)
        with own.waits.counted(key.account_id):  # before anything is queued or held
            submitted = await accept(http, spec, key)
            request: Request | None = submitted.request
            if not submitted.replayed:
                request = await wait(own, http, submitted.request)
            elif not submitted.request.ended:
                raise StillRunning(headers={"x-request-id": submitted.request.id})
        if request is None:
            return Response(status_code=CLIENT_GONE)
        try:
            return await in_thread(http, answer, own, request, submitted)
        except StorageUnavailable as error:  # its advice would have the caller pay for another request
            raise _still_running(WaitRanOut, request, OUT_OF_REACH) from error

    return run


def poll(http: HttpRequest, key: Reader, request_id: str) -> Response:
    """The same body as the result endpoint of v2."""
    own = services(http)
    return result_response(own, own.store.queue.find(request_id, key.account_id), base_url(http, own.settings))


async def wait(own: Services, http: HttpRequest, request: Request) -> Request | None:
    """Wait until a request has ended; None if the caller disconnected: without an idempotency key, it is cancelled.

    Raises WaitRanOut, or WorkerUnavailable if no worker is running: the request stays queued or running.
    """
    if request.test and (magic := parse(request.params.get("prompt", "")).interruption):
        raise _still_running(magic, request)
    try:
        return await _watch(own, http, request)
    except StoreUnavailable as error:
        # Not this error: its advice would have the caller send, and pay for, the request again.
        raise _still_running(WaitRanOut, request) from error


async def _watch(own: Services, http: HttpRequest, request: Request) -> Request | None:
    with own.watcher.watching(request.id) as watch:
        gone = asyncio.create_task(_disconnected(http))
        woken = asyncio.create_task(watch.wake.wait())
        try:
            await asyncio.wait(
                {gone, woken}, timeout=own.settings.web.sync_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            gone.cancel()
            woken.cancel()
    if watch.error:
        raise watch.error
    if watch.over:
        return await own.threads.run(request.account_id, own.store.queue.find, request.id, request.account_id)
    if gone.done():
        if request.metadata.idempotency_key is None:
            await own.threads.run(request.account_id, own.store.queue.cancel, request.id, request.account_id)
        return None
    if own.shutdown.over:
        with suppress(TimeoutError):  # a database that doesn't answer: the outcome is unknown
            return await within(LAST_WORD, own.threads.run(request.account_id, _last_word, own, request))
        raise _still_running(WaitRanOut, request)
    raise await own.threads.run(request.account_id, _wait_error, own, request)


async def _disconnected(http: HttpRequest) -> None:
    """Returns once the caller has disconnected; its body has been read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _last_word(own: Services, request: Request) -> Request:
    """The request of a call that the stopping server ends, if the request has just ended.

    Else raises WaitRanOut if it has an idempotency key; without one, it is cancelled, and raises Restarting.
    """
    once = request.metadata.idempotency_key is not None
    request = (own.store.queue.find if once else own.store.queue.cancel)(request.id, request.account_id)
    if request.ended and (once or request.outcome != "cancelled"):
        return request
    if once:
        raise _still_running(WaitRanOut, request, "This server is being restarted; the request is still running")
    raise Restarting(headers={"x-request-id": request.id})


def _wait_error(own: Services, request: Request) -> GoesOn:
    """Why a request has not ended within the wait."""
    if request.test:
        return _still_running(WaitRanOut, request)
    if own.store.queue.paused_since() is not None:
        return _still_running(WaitRanOut, request, PAUSED)
    if own.readiness.workers():
        return _still_running(WaitRanOut, request)
    return _still_running(WorkerUnavailable, request, NOWHERE_TO_PUT if own.readiness.paused_workers() else None)


def _still_running(kind: type[GoesOn], request: Request, message: str | None = None) -> GoesOn:
    error = kind(message, headers={"x-request-id": request.id})
    error.places = {"request_id": request.id, **links(request, request.metadata.base_url or "")}
    return error if request.metadata.idempotency_key is None else error.repeatable(RETRY_AFTER)


def answer(own: Services, request: Request, submitted: Submitted) -> Response:
    """The image's bytes, or JSON: base64 where the parameters ask for it, addresses of several images."""
    if request.status is not Status.COMPLETED or request.result is None:
        error = answers.failure(request)
        error.headers |= submitted.headers
        raise error
    made = request.result
    first = made.outputs[0]
    about = {
        "x-cost": plain(request.billing.cost or 0),
        "x-generation-time": f"{made.inference_time:g}",
        "x-seed-value": str(made.seed),
        "x-output-metadata": f'{{"width": {first.width}, "height": {first.height}}}',
    }
    headers = answers.notes(request, submitted.headers) | about
    if request.params.get("base64"):
        return JSONResponse(_in_base64(own, made), headers=headers)
    if len(made.outputs) > 1:
        images = [{"url": file_url(one.name, submitted.base), "seed": str(one.seed)} for one in made.outputs]
        return JSONResponse({"images": images}, headers=headers)
    run, kind = partial(own.threads.run, request.account_id), content_type(made.format)
    return StoredFile(own.outputs, first.name, own.outputs.size(first.name), run=run, headers=headers, media_type=kind)


def result_response(own: Services, request: Request, base: str) -> Response:
    """The result endpoint's answer: 422 for FAILED, the status while there is no result yet."""
    if request.status in (Status.QUEUED, Status.PROCESSING):
        return JSONResponse(answers.status(request, base, own.store.queue.eta(request)))
    remaining = own.store.accounts.remaining(request.account_id)
    body = answers.result(request, base, remaining, own.outputs)
    status = 422 if request.status is Status.FAILED else 200
    return JSONResponse(body, status_code=status, headers=answers.notes(request, {}))


def _in_base64(own: Services, made: Result) -> dict[str, Any]:
    encoded = [answers.encoded(one, own.outputs) for one in made.outputs]
    return {
        "image": encoded[0] if len(encoded) == 1 else encoded,
        "status": "Success",
        "infer_time": made.inference_time,
        "outputs": len(encoded),
        "image_format": made.format,
    }
