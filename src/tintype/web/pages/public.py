"""What needs no key: health, readiness, metrics, `/openapi.json`, images under unguessable names, the samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, RedirectResponse

from tintype.catalog.samples import SAMPLES
from tintype.errors import NotFound, NotReady
from tintype.media.samples import draw
from tintype.store.store import Store
from tintype.web.auth import caller, observer
from tintype.web.clients import base_url
from tintype.web.dependencies import RuntimeDep
from tintype.web.openapi import READINESS, errors
from tintype.web.query import Query, describe
from tintype.web.responses import CachedEndpoint, StoredFile, conditional
from tintype.web.runtime import Runtime
from tintype.web.services import services
from tintype.web.threads import Threaded, holder, in_thread

#: Words of `/ready`: its description, and what is missing.
READY = "200 while requests can be run: the database and the storage are reached, and a worker takes requests. "
WEB = "With `?web`: while this process can take calls, whether or not a worker is there; for load balancers."
MISSING = {
    "stopping": "it is stopping",
    "database": "its database is away, or takes no writes",
    "storage": "its storage of pictures is away, or takes no writes",
    "worker": "no worker takes requests",
}

#: An image's address is all that is needed to read it, also by pages of other origins, which draw it on a canvas.
ANY_ORIGIN = {"access-control-allow-origin": "*"}


def public_router() -> APIRouter:
    router = APIRouter(route_class=Threaded)
    _add(router, "/health", health, summary="Whether the process lives")
    _add(router, "/openapi.json", description, include_in_schema=False)
    router.add_api_route("/metrics", metrics, methods=["GET"], include_in_schema=False)
    _add(
        router,
        "/ready",
        ready,
        summary="Whether requests can be run",
        description=READY + WEB,
        responses={
            200: {"description": "They can", "content": {"application/json": {"schema": READINESS}}},
            400: errors(400)[400],
            503: {"description": "They can't; error says why", "content": {"application/json": {"schema": READINESS}}},
        },
        openapi_extra={"parameters": [describe("web")]},
    )
    _add(
        router,
        "/files/{name}",
        file,
        summary="A generated or uploaded image",
        responses=errors(404),
        response_class=Response,
    )
    for sample in SAMPLES:
        drawn = CachedEndpoint(
            partial(_drawn, sample.path), "image/jpeg", headers={"cache-control": "max-age=86400"} | ANY_ORIGIN
        )
        _add(router, sample.path, drawn.answer, include_in_schema=False)
    return router


async def health() -> dict[str, str]:
    """The web process answers."""
    # async: threads that wait for the database don't delay it.
    return {"status": "ok"}


def description(http: HttpRequest) -> Response:
    """The API, with the address at which the caller reached it."""
    servers = json.dumps([{"url": base_url(http, services(http).settings)}]).encode()
    described: bytes = http.app.state.described()
    body = described[:-1] + b', "servers": ' + servers + b"}"
    return conditional(http, body, "application/json")


async def metrics(http: HttpRequest, runtime: RuntimeDep) -> Response:
    """All metrics of this moment, in Prometheus' format: for operators' keys or without a key, by the settings."""
    if runtime.settings.telemetry.metrics == "off":
        raise NotFound("Nothing is at GET /metrics: this server's operator has turned it off")
    if runtime.settings.telemetry.metrics == "operator":
        await observer(await caller(http))
    text, content_type = await in_thread(http, runtime.metrics.render, http.headers.get("accept", ""))
    return Response(text, media_type=content_type)


async def ready(http: HttpRequest) -> JSONResponse:
    """Whether requests can be run or, with `?web`, whether this process can take them: 200, or 503 with the reason.

    Also while the queue is paused, which `paused` says: requests are accepted then, and wait.
    """
    web = Query(http.query_params).flag("web")
    state = await services(http).readiness.state()
    needed = {"stopping": not state.stopping, "database": state.database, "storage": state.storage}
    if not web and state.worker is not None:
        needed["worker"] = state.worker
    missing = [MISSING[name] for name, there in needed.items() if not there]
    body = {"ready": not missing, **asdict(state)}
    if not missing:
        return JSONResponse(body)
    error = NotReady(f"This server can't {'take calls' if web else 'run requests'} at the moment: {'; '.join(missing)}")
    return JSONResponse({**body, **error.public()}, error.status, error.public_headers())


def file(http: HttpRequest, name: str) -> Response:
    """The image, until it expires."""
    own = services(http)
    if http.method == "GET" and (address := own.files.address(name)):
        return RedirectResponse(address, 307, headers=ANY_ORIGIN)
    place, size = own.files.find(name)
    headers = {"cache-control": "private, max-age=3600, immutable", "x-content-type-options": "nosniff"} | ANY_ORIGIN
    kind = f"image/{name.rpartition('.')[2]}"
    if http.method == "HEAD":
        return Response(headers=headers | {"content-length": str(size)}, media_type=kind)
    return StoredFile(place, name, size, run=partial(own.threads.run, holder(http)), headers=headers, media_type=kind)


def _drawn(path: str, _store: Store, _runtime: Runtime) -> bytes:
    return draw(path)


def _add(router: APIRouter, path: str, endpoint: Callable[..., Any], **words: Any) -> None:
    """GET, and HEAD for monitors and caches."""
    router.add_api_route(path, endpoint, methods=["GET"], **words)
    router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
