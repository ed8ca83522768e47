"""Comfy Router's API, as comfy-sdk speaks it: an address names a model, its body has the model's own parameters."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi import Request as HttpRequest

from tintype import errors as e
from tintype.catalog.spec import Alias, Catalogue, ModelSpec
from tintype.core import Json
from tintype.errors import SENT_LENGTH, TintypeError
from tintype.store.accounts.keys import Key
from tintype.store.billing.ledger import plain
from tintype.store.db.records import Request, Status
from tintype.store.queue.queue import Found
from tintype.store.store import Store
from tintype.web.auth import Reader, Runner
from tintype.web.dependencies import BaseUrl, FilesDep, RuntimeDep, StoreDep
from tintype.web.dialects.comfy_words import (
    CAP_LEFT,
    COST,
    ERROR_TYPE,
    MAX_PAGE,
    PROVIDER,
    REQUEST_ID,
    ROOT,
    ListQuery,
    RouterBilling,
    RouterCompleted,
    RouterError,
    RouterModel,
    RouterModels,
    RouterQueued,
    RouterStatus,
    RunQuery,
    described,
    document,
    failed,
    in_error,
    submits,
)
from tintype.web.errors import REFUSES
from tintype.web.generate import answers
from tintype.web.generate.answers import Result
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.models import UNCHANGED, only_get
from tintype.web.generate.submit import CallDep, accept, generate
from tintype.web.generate.v2 import polled
from tintype.web.responses import REVALIDATED, Body, conditional, json_bytes
from tintype.web.threads import Threaded, answer_in_thread

MODEL, OWN = "/{provider}/{model}", "/{provider}/{model}/requests/{request_id}"
#: Of answers about a request that has not ended: seconds after which to ask for its status.
POLL_AFTER = {"retry-after": "1"}


class Address(NamedTuple):
    """A model's address as a call has it, and the slugs that it means: those of no model where it means none."""

    path: str
    alias: Alias

    @classmethod
    def of(cls, catalogue: Catalogue, provider: str, model: str) -> Address:
        name = f"{provider}/{model}"
        slug = model if provider == PROVIDER else name
        alias = None if slug in catalogue else catalogue.aliases.get(name)
        return cls(f"{ROOT}/{name}", alias or Alias(slug, slug))

    def places(self, id: str, base: str) -> dict[str, str]:
        """A request's id, and where to ask for it."""
        own = f"{base}{self.path}/requests/{id}"
        return {"request_id": id, "status_url": f"{own}/status", "response_url": own, "cancel_url": f"{own}/cancel"}

    def own(self, http: HttpRequest, store: Store, id: str, key: Key) -> Found:
        """The account's request of this model; raises RequestUnknown."""
        found = polled(http, store, id, key)
        if found.request.slug not in self.alias.slugs:
            raise e.RequestUnknown(id)
        return found


async def _address(
    provider: Annotated[str, Path(description=f"{PROVIDER}, or what an alias begins with")],
    model: Annotated[str, Path(description="The model's slug, or how an alias ends")],
    runtime: RuntimeDep,
) -> Address:
    return Address.of(runtime.registry.served, provider, model)


At = Annotated[Address, Depends(_address)]
Which = Annotated[RunQuery, Query()]


@dataclass(frozen=True)
class Comfy:
    """All addresses of this API. Its runs wait for their images, its submits don't."""

    waits: bool = True

    name = "comfy"
    schemes = ("bearer", "token", "basic")
    cancels = False
    #: A body has a model's own parameters.
    parse = staticmethod(ModelSpec.parse)

    def owns(self, path: str) -> bool:
        below = path.removeprefix(f"{ROOT}/")
        return path == ROOT or (below != path and "/" in below and below.partition("/")[2] != "warm")

    def routes(self, catalogue: Catalogue) -> APIRouter:
        router = APIRouter(prefix=ROOT, route_class=Threaded)
        changing = ["POST", "PUT", "PATCH", "DELETE"]
        router.add_api_route("", only_get, methods=changing, include_in_schema=False, name=REFUSES)
        router.get("", **described("models", "listRouterModels", "The models, in pages", RouterModels, 400))(listed)
        own = described("models", "getRouterSchema", "A model's own OpenAPI document", dict[str, Any], 404)
        own["responses"][304] = UNCHANGED["responses"][304]
        router.get(f"{MODEL}/openapi.json", **own, openapi_extra=UNCHANGED["openapi_extra"])(schema)
        router.post(MODEL, **submits(catalogue, "runRouterModel", "Run a model and wait", Result, 200, 504))(run)
        queues = submits(catalogue, "submitRouterModel", "Submit to a model's queue", RouterQueued, 201)
        router.post(f"{MODEL}/requests", **queues)(submit)
        stands = described("requests", "getRouterStatus", "State of a request, at its model", RouterStatus, 400, 404)
        router.get(f"{OWN}/status", **stands)(status)
        ends = described(
            "requests", "getRouterResult", "Result of a request, at its model", Result | RouterStatus, 400, 404, 409
        )
        router.get(OWN, **ends)(result)
        cancels = described("requests", "cancelRouterRequest", "Cancel a request", RouterStatus, 404, status=202)
        cancels["responses"][409] = {"model": RouterCompleted, "description": RouterCompleted.__doc__}
        router.put(f"{OWN}/cancel", **cancels)(cancel)
        return router

    def render(self, call: Call, accepted: Accepted) -> Response:
        """What `GET /v2/requests/{id}` says."""
        request = accepted.request
        answers.made(accepted)  # else its error
        remaining = call.http.state.remaining = call.store.accounts.remaining(request.account_id)
        made = answers.result(request, accepted.base, remaining, call.files.outputs, call.files.image_ttl)
        return made.response(headers=_made(call.store, call.key, accepted))

    def error(self, error: TintypeError) -> Response:
        status, body, headers = in_error(error)
        return body.response(status, headers)


async def run(call: CallDep, at: At, query: Which) -> Response:
    """Waits for the images. The same call with the same Idempotency-Key is answered alike, and collects what runs."""
    return await generate(*_asked(call, Comfy(), at, query))


async def submit(call: CallDep, at: At, query: Which) -> Response:
    """Queues a request: its status says how it stands, its result what came of it."""
    accepted = await accept(*_asked(call, Comfy(waits=False), at, query))
    return await answer_in_thread(call.http, _queued, call, at, accepted)


def _queued(call: Call, at: Address, accepted: Accepted) -> Response:
    request = accepted.request
    found = call.store.queue.poll_one(request.id, request.account_id)
    places = at.places(request.id, accepted.base)
    queued = RouterQueued(status="IN_QUEUE", queue_position=_position(call.store, found) or 1, **places)
    return queued.response(201, {**accepted.headers, **_about(call.store, call.key, request), **POLL_AFTER})


def _asked(
    call: Call, dialect: Comfy, at: Address, query: RunQuery
) -> tuple[Call, Comfy, Callable[[Json], ModelSpec], frozenset[str]]:
    """The arguments of `generate` and `accept`; raises BadRequest for a provider that there isn't."""
    if query.model_provider not in ("", PROVIDER):
        raise e.BadRequest(f"model_provider: {query.model_provider[:SENT_LENGTH]!r} was sent; allowed: {PROVIDER}")
    catalogue = call.runtime.registry.served
    texts = [catalogue[slug].texts for slug in at.alias.slugs if slug in catalogue]

    def find(sent: Json) -> ModelSpec:
        return catalogue.find(at.alias.of("generate" if sent.get("image") is None else "edit"))

    return replace(call, query=call.http.url.query), dialect, find, frozenset[str]().union(*texts)


def listed(_key: Reader, query: Annotated[ListQuery, Query()], runtime: RuntimeDep) -> Response:
    """Every model once, in pages."""
    slugs, limit = [*runtime.registry.served], min(query.limit, MAX_PAGE)
    begins = {"": 0} | {_cursor(slug): place + 1 for place, slug in enumerate(slugs)}
    if (begin := begins.get(query.cursor)) is None:
        raise e.BadRequest(f"cursor: {query.cursor[:SENT_LENGTH]!r} is no page's next_cursor")
    shown, more = slugs[begin : begin + limit], begin + limit < len(slugs)
    billing = RouterBilling(charges_on_policy_rejection=False)
    data = [RouterModel(id=f"{PROVIDER}/{slug}", provider=PROVIDER, model=slug, billing=billing) for slug in shown]
    page = RouterModels(data=data, has_more=more, next_cursor=_cursor(shown[-1]) if more else None, limit=limit)
    return page.response(headers={REQUEST_ID: str(uuid4())})


def _cursor(slug: str) -> str:
    """Of the page after this model."""
    return urlsafe_b64encode(slug.encode()).decode().rstrip("=")


def schema(_key: Reader, at: At, http: HttpRequest, runtime: RuntimeDep, base: BaseUrl) -> Response:
    """Its run, as OpenAPI 3.1."""
    slugs = dict.fromkeys(at.alias.slugs)
    found = document(at.path, [runtime.registry.served.find(slug) for slug in slugs], base, run.__doc__ or "")
    body = Body.of(json_bytes(found), "application/json")
    return conditional(http, body, headers={**REVALIDATED, REQUEST_ID: str(uuid4())})


def status(key: Reader, at: At, request_id: str, http: HttpRequest, store: StoreDep, base: BaseUrl) -> Response:
    """Where it is in the queue, how far it is, or that it has ended, and if not well, why."""
    return _standing(key, at, store, at.own(http, store, request_id, key), base)


def result(
    key: Reader, at: At, request_id: str, http: HttpRequest, store: StoreDep, files: FilesDep, base: BaseUrl
) -> Response:
    """The images' addresses once it has ended well; its status where it has not ended well."""
    found = at.own(http, store, request_id, key)
    if not found.request.ended:
        words = "The request has not ended; ask for its status until that is COMPLETED"
        refused = RouterError(detail=words, error_type="invalid_input")
        headers = {ERROR_TYPE: refused.error_type, "x-should-retry": "false"}
        return refused.response(409, _about(store, key, found.request) | headers)
    if found.request.status is not Status.COMPLETED:
        return _standing(key, at, store, found, base)
    made = answers.result(found.request, base, found.remaining, files.outputs, files.image_ttl)
    return made.response(headers=_made(store, key, Accepted(found.request, {}, base)))


def cancel(key: Runner, at: At, request_id: str, http: HttpRequest, store: StoreDep, base: BaseUrl) -> Response:
    """Cancel a queued request immediately, a running one at its next step; one that has ended stays as it is."""
    found = at.own(http, store, request_id, key)
    if not (ended := found.request.ended):
        cancelled = store.queue.cancel(request_id, key.account_id)
        ended = cancelled.ended and cancelled.outcome != "cancelled"  # since it was read
        found = at.own(http, store, request_id, key)
    if ended:
        return RouterCompleted(status="ALREADY_COMPLETED").response(409, _about(store, key, found.request))
    return _standing(key, at, store, found, base, 202)


def _standing(key: Key, at: Address, store: Store, found: Found, base: str, code: int = 200) -> Response:
    request, more = found.request, failed(found.request)
    if position := _position(store, found):
        more["queue_position"] = position
    standing = RouterStatus(
        status="COMPLETED" if request.ended else "IN_QUEUE" if request.status is Status.QUEUED else "IN_PROGRESS",
        metrics=answers.times(request) if request.ended else {},
        eta=found.eta.seconds,
        **answers.progress(request),
        **at.places(request.id, base),
        **more,
    )
    return standing.response(code, _about(store, key, request) | ({} if request.ended else POLL_AFTER))


def _position(store: Store, found: Found) -> int | None:
    """Of a request in the queue; in one so long that it was not looked up, the last one."""
    if found.request.status is not Status.QUEUED:
        return None
    return found.eta.position or max(1, store.queue.depth()[0])


def _about(store: Store, key: Key, request: Request) -> dict[str, str]:
    """The headers of answers about a request."""
    left = store.accounts.keys.left_of_cap(key)
    cap = {} if left is None else {CAP_LEFT: plain(left)}
    return {"x-request-id": request.id, REQUEST_ID: request.id, **cap}


def _made(store: Store, key: Key, accepted: Accepted) -> dict[str, str]:
    """The headers of answers with a result."""
    headers = answers.made_headers(accepted) | _about(store, key, accepted.request)
    return headers | {COST: headers["x-cost"]}
