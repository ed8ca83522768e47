"""What needs no key: health, finished pictures under unguessable names, and the samples."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse

from tintype import __version__
from tintype.catalog.samples import SAMPLES
from tintype.errors import StoreUnavailable
from tintype.media.samples import draw
from tintype.web.services import services


def public_router() -> APIRouter:
    """The routes of this page."""
    router = APIRouter()
    router.add_api_route("/", index, methods=["GET"], summary="What this is")
    router.add_api_route("/health", health, methods=["GET"], summary="Whether the process lives")
    router.add_api_route("/ready", ready, methods=["GET"], summary="Whether requests can be run")
    router.add_api_route("/files/{name}", file, methods=["GET"], summary="A finished picture", response_class=Response)
    for sample in SAMPLES:
        router.add_api_route(sample.path, sample_file, methods=["GET"], include_in_schema=False)
    return router


def index() -> dict[str, str]:
    """The server's name and where to go on."""
    return {"name": "tintype", "version": __version__, "models": "/v1/models", "openapi": "/openapi.json"}


def health() -> dict[str, str]:
    """The web process answers."""
    return {"status": "ok"}


def ready(http: HttpRequest) -> JSONResponse:
    """200 when the database answers and a worker has lately given a sign of life, else 503."""
    own = services(http)
    try:
        checks = {"worker": own.has_worker(), "database": True}
    except StoreUnavailable:
        checks = {"worker": False, "database": False}
    fine = all(checks.values())
    return JSONResponse({"ready": fine, **checks}, status_code=200 if fine else 503)


def file(http: HttpRequest, name: str) -> Response:
    """The picture, until it expires."""
    data = services(http).outputs.get(name)
    headers = {"cache-control": "private, max-age=3600, immutable", "x-content-type-options": "nosniff"}
    return Response(data, media_type=f"image/{name.rpartition('.')[2]}", headers=headers)


def sample_file(http: HttpRequest) -> Response:
    """A sample, drawn now."""
    return Response(draw(http.url.path), media_type="image/jpeg", headers={"cache-control": "max-age=86400"})
