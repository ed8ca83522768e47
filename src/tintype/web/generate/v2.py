"""Queued calls: submit, status, result, cancel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse

from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.store.db.records import Request, Status
from tintype.store.webhooks.events import links
from tintype.web.auth import Reader, Runner
from tintype.web.clients import base_url
from tintype.web.generate import answers
from tintype.web.generate.submit import accept
from tintype.web.generate.v1 import result_response
from tintype.web.openapi import describe_call, describe_result, describe_state, describe_v2
from tintype.web.services import services
from tintype.web.threads import Threaded


def v2_router(catalogue: Catalogue) -> APIRouter:
    """One submit operation per model, and what can be done with a request."""
    router = APIRouter(prefix="/v2", route_class=Threaded)
    for spec in catalogue.values():
        router.add_api_route(f"/{spec.slug}", submits(spec), methods=["POST"], **describe_v2(spec))
    own = "/requests/{request_id}"
    router.add_api_route(f"{own}/status", status, methods=["GET"], **describe_state("State of a request"))
    router.add_api_route(own, result, methods=["GET"], **describe_result("Result of a request"))
    words = describe_call("Cancel a request", 403, 404)
    router.add_api_route(own, cancel, methods=["DELETE"], **words)
    router.add_api_route(f"{own}/cancel", cancel, methods=["PUT"], name="cancel_by_put", **words)
    return router


def submits(spec: ModelSpec) -> Callable[..., Awaitable[Response]]:
    """The queued endpoint of one model."""

    async def run(http: HttpRequest, key: Runner) -> Response:
        submitted = await accept(http, spec, key)
        return JSONResponse(queued(submitted.request, submitted.base), headers=submitted.headers)

    return run


def queued(request: Request, base: str) -> dict[str, Any]:
    """The answer to a v2 submit."""
    poll = f"{base}/v1/requests/{request.id}"
    return {"request_id": request.id, "status": Status.QUEUED, "poll_url": poll, **links(request, base), **request.mode}


def status(http: HttpRequest, key: Reader, request_id: str) -> Response:
    """The request's state: queued at a position, running at a step, completed or failed."""
    own = services(http)
    request = own.store.queue.find(request_id, key.account_id)
    body = answers.status(request, base_url(http, own.settings), own.store.queue.eta(request))
    return JSONResponse(body, status_code=422 if request.status is Status.FAILED else 200)


def result(http: HttpRequest, key: Reader, request_id: str) -> Response:
    """The images' addresses once the request is COMPLETED; until then its status."""
    own = services(http)
    return result_response(own, own.store.queue.find(request_id, key.account_id), base_url(http, own.settings))


def cancel(http: HttpRequest, key: Runner, request_id: str) -> Response:
    """Cancel a queued request immediately, a running one at its next step; one that has ended stays as it is."""
    own = services(http)
    request = own.store.queue.cancel(request_id, key.account_id)
    return JSONResponse({"request_id": request.id, "status": request.status, "error": request.error})
