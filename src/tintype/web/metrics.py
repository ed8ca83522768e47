"""`/metrics`, for Prometheus and what reads its format."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from tintype.errors import NotFound
from tintype.web.auth import caller, observer
from tintype.web.services import services
from tintype.web.threads import Threaded, in_thread


def metrics_router() -> APIRouter:
    """The route of this page."""
    router = APIRouter(route_class=Threaded)
    router.add_api_route("/metrics", metrics, methods=["GET"], include_in_schema=False)
    return router


async def metrics(http: HttpRequest) -> Response:
    """Every figure at this moment, for an operator's key or for anybody, as the settings say."""
    own = services(http)
    if own.settings.metrics == "off":
        raise NotFound("Nothing is at GET /metrics: this server's operator has turned it off")
    if own.settings.metrics == "operator":
        await observer(await caller(http))
    text, content_type = await in_thread(http, own.metrics.render, http.headers.get("accept", ""))
    return Response(text, media_type=content_type)
