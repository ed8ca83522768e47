"""The vendor's v2, queued calls: submit, status, result, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from pydantic import Field

from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.errors import TintypeError
from tintype.store.accounts.keys import Key
from tintype.store.db.records import VENDOR, Status
from tintype.store.queue.queue import Found
from tintype.store.store import Store
from tintype.store.webhooks.events import links
from tintype.web.auth import Reader, Runner
from tintype.web.declared import Answer
from tintype.web.dependencies import BaseUrl, FilesDep, StoreDep
from tintype.web.errors import plain_error
from tintype.web.files import Files
from tintype.web.generate import answers, operations
from tintype.web.generate.answers import Completed, Failed, Result, Running, Submitted
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.submit import endpoint
from tintype.web.openapi import errors, headers
from tintype.web.threads import Threaded
from tintype.web.wire import Id

OWN = "/requests/{request_id}"
#: Documents of what answers with a request.
FAILED = {
    422: {
        "model": Failed,
        "description": "The request FAILED, which is not an error of this call",
        "headers": headers("x-request-id"),
    }
}
STATE: dict[str, Any] = {
    "tags": ["requests"],
    "response_model": Annotated[Running | Completed, Field(discriminator="status")],
    "response_description": "How it stands",
    "responses": {200: {"headers": headers("x-request-id")}, **FAILED, **errors(400, 401, 403, 404)},
}
RESULT: dict[str, Any] = {
    "tags": ["requests"],
    "response_model": Annotated[Running | Result, Field(discriminator="status")],
    "response_description": "How it stands",
    "responses": {200: {"headers": headers("x-request-id", *answers.NOTES)}, **FAILED, **errors(400, 401, 403, 404)},
}


class Vendor:
    """What the vendor's two versions have in common."""

    name = VENDOR
    schemes = ("bearer",)
    cancels = False
    #: A body has a model's own parameters.
    parse = staticmethod(ModelSpec.parse)

    def error(self, error: TintypeError) -> Response:
        return plain_error(error)


class V2(Vendor):
    """Calls are answered as soon as their request is queued. The addresses of no other dialect are its own."""

    waits = False

    def owns(self, _path: str) -> bool:
        return True

    def routes(self, catalogue: Catalogue) -> APIRouter:
        """One submit operation per model, and what can be done with a request."""
        router = APIRouter(prefix="/v2", route_class=Threaded)
        for slug, name in operations.names(catalogue).items():
            spec = catalogue[slug]
            router.post(f"/{slug}", response_model=Submitted, **operations.submit(spec, name))(endpoint(self, spec))
        router.get(f"{OWN}/status", operation_id="getRequestStatus", summary="State of a request", **STATE)(status)
        router.get(OWN, operation_id="getRequest", summary="Result of a request", **RESULT)(result)
        cancels: dict[str, Any] = {
            "tags": ["requests"],
            "summary": "Cancel a request",
            "responses": errors(401, 403, 404),
        }
        router.delete(OWN, operation_id="cancelRequest", **cancels)(cancel)
        router.put(f"{OWN}/cancel", operation_id="cancelRequestByPut", name="cancel_by_put", **cancels)(cancel)
        return router

    def render(self, _call: Call, accepted: Accepted) -> Response:
        id, base, mode = accepted.request.id, accepted.base, accepted.request.mode
        places = links(accepted.request, base)
        poll = f"{base}/v1/requests/{id}"
        answer = Submitted(request_id=id, status="QUEUED", poll_url=poll, **places, **mode)
        return answer.response(headers=accepted.headers)


class Cancelled(Answer):
    """How a request stands once it is to be cancelled: a running one may still be at its last step."""

    request_id: Id
    status: Status
    error: str | None


def status(key: Reader, request_id: str, http: HttpRequest, store: StoreDep, base: BaseUrl) -> Response:
    """The request's state: queued at a position, running at a step, completed or failed."""
    found = polled(http, store, request_id, key)
    return _found(answers.status(found.request, base, found.eta))


def result(
    key: Reader, request_id: str, http: HttpRequest, store: StoreDep, files: FilesDep, base: BaseUrl
) -> Response:
    """The images' addresses once the request is COMPLETED; until then its status."""
    return request_answer(polled(http, store, request_id, key), files, base)


def polled(http: HttpRequest, store: Store, request_id: str, key: Key) -> Found:
    """The account's request; raises RequestUnknown. The credits that the answer's header tells are read with it."""
    found = store.queue.poll_one(request_id, key.account_id)
    http.state.remaining = found.remaining
    return found


def request_answer(found: Found, files: Files, base: str) -> Response:
    """The result endpoint's answer: 422 for FAILED, the status while there is no result yet."""
    request = found.request
    if not request.ended:
        return _found(answers.status(request, base, found.eta))
    result = answers.result(request, base, found.remaining, files.outputs, files.image_ttl)
    return _found(result, answers.notes(request, {}))


def _found(answer: Running | Completed | Result | Failed, headers: dict[str, str] | None = None) -> Response:
    about = {"x-request-id": answer.request_id, **(headers or {})}
    return answer.response(422 if isinstance(answer, Failed) else 200, about)


def cancel(key: Runner, request_id: str, store: StoreDep) -> Cancelled:
    """Cancel a queued request immediately, a running one at its next step; one that has ended stays as it is."""
    request = store.queue.cancel(request_id, key.account_id)
    return Cancelled(request_id=request.id, status=request.status, error=request.error)
