"""What needs no key: health, readiness, metrics, `/openapi.json`, images under unguessable names, the samples."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi import Request as HttpRequest
from fastapi.responses import RedirectResponse
from pydantic import Field

from tintype.catalog.formats import offered
from tintype.catalog.samples import SAMPLES
from tintype.errors import NotFound, NotReady
from tintype.media.samples import draw
from tintype.store.store import Store
from tintype.web.auth import observer
from tintype.web.declared import Answer, SentQuery
from tintype.web.dependencies import BaseUrl, FilesDep, RuntimeDep
from tintype.web.openapi import BINARY, errors, headers
from tintype.web.query import QueryFlag
from tintype.web.responses import CachedEndpoint, Described, StoredFile, conditional
from tintype.web.runtime import Runtime
from tintype.web.threads import Threaded, holder, in_thread
from tintype.web.wire import Omittable

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

router = APIRouter(route_class=Threaded)


class Health(Answer):
    """The web process answers."""

    status: Literal["ok"]


class ReadyQuery(SentQuery):
    """What is asked."""

    web: Annotated[QueryFlag, Field(description="Whether this process can take calls, with or without a worker")] = (
        False
    )


class Ready(Answer):
    """What is ready, null where it isn't known; and where anything needed is missing, the members of an error."""

    ready: bool
    worker: bool | None
    database: bool
    storage: bool
    stopping: bool
    paused: bool | None
    """Requests are accepted, and wait."""
    error: Omittable[str] = None
    error_description: Omittable[str] = None
    status_code: Omittable[int] = None


@router.get("/health", operation_id="getHealth", tags=["server"], summary="Whether the process lives")
async def health() -> Health:
    """The web process answers."""
    # async: threads that wait for the database don't delay it.
    return Health(status="ok")


@router.get("/openapi.json", include_in_schema=False)
def description(http: HttpRequest, base: BaseUrl) -> Response:
    """The API, with the address at which the caller reached it."""
    described: Described = http.app.state.described()
    return conditional(http, described.at(base))


@router.get("/metrics", include_in_schema=False)
async def metrics(http: HttpRequest, runtime: RuntimeDep) -> Response:
    """All metrics of this moment, in Prometheus' format: for operators' keys or without a key, by the settings."""
    if runtime.settings.telemetry.metrics == "off":
        raise NotFound("Nothing is at GET /metrics: this server's operator has turned it off")
    if runtime.settings.telemetry.metrics == "operator":
        await observer(http)
    text, content_type = await in_thread(http, runtime.metrics.render, http.headers.get("accept", ""))
    return Response(text, media_type=content_type)


@router.get(
    "/ready",
    operation_id="getReadiness",
    tags=["server"],
    summary="Whether requests can be run",
    description=READY + WEB,
    responses={
        200: {"description": "They can"},
        400: errors(400)[400],
        503: {"description": "They can't; error says why", "model": Ready},
    },
)
async def ready(runtime: RuntimeDep, query: Annotated[ReadyQuery, Query()], response: Response) -> Ready:
    """Whether requests can be run or, with `?web`, whether this process can take them: 200, or 503 with the reason.

    Also while the queue is paused, which `paused` says: requests are accepted then, and wait.
    """
    state = await runtime.readiness.state()
    needed = {"stopping": not state.stopping, "database": state.database, "storage": state.storage}
    if not query.web and state.worker is not None:
        needed["worker"] = state.worker
    missing = [MISSING[name] for name, there in needed.items() if not there]
    if not missing:
        return Ready.from_record(state, ready=True)
    does = "take calls" if query.web else "run requests"
    error = NotReady(f"This server can't {does} at the moment: {'; '.join(missing)}")
    response.status_code = error.status
    response.headers.update(error.public_headers())
    return Ready.from_record(state, ready=False, **error.public())


@router.get(
    "/files/{name}",
    operation_id="getFile",
    tags=["files"],
    summary="A generated or uploaded image",
    responses={
        200: {"description": "The image", "content": {row.content_type: BINARY for row in offered()}},
        307: {
            "description": "Where the storage itself has it, if the operator has enabled that",
            "headers": headers("Location"),
        },
        **errors(404),
    },
    response_class=Response,
)
def file(http: HttpRequest, files: FilesDep, runtime: RuntimeDep, name: str) -> Response:
    """The image, until it expires."""
    if http.method == "GET" and (address := files.address(name)):
        return RedirectResponse(address, 307, headers=ANY_ORIGIN)
    place, size = files.find(name)
    headers = {"cache-control": "private, max-age=3600, immutable", "x-content-type-options": "nosniff"} | ANY_ORIGIN
    kind = f"image/{name.rpartition('.')[2]}"
    if http.method == "HEAD":
        return Response(headers=headers | {"content-length": str(size)}, media_type=kind)
    run = partial(runtime.threads.run, holder(http))
    return StoredFile(place, name, size, run=run, headers=headers, media_type=kind)


def samples_router() -> APIRouter:
    """The sample images: each is drawn once per server."""
    samples = APIRouter(route_class=Threaded)
    for sample in SAMPLES:
        drawn = CachedEndpoint(
            partial(_drawn, sample.path), "image/jpeg", headers={"cache-control": "max-age=86400"} | ANY_ORIGIN
        )
        samples.add_api_route(sample.path, drawn.answer, include_in_schema=False)
    return samples


def _drawn(path: str, _store: Store, _runtime: Runtime) -> bytes:
    return draw(path)
