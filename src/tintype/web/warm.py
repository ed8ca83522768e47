"""Loading a model before anybody draws with it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.errors import Forbidden, NotReady
from tintype.store.accounts.keys import Key
from tintype.store.db.records import PreloadState
from tintype.store.ops.preload import Preload
from tintype.web.auth import Reader, Runner
from tintype.web.openapi import describe_warmth
from tintype.web.services import Services, services
from tintype.web.threads import Threaded


def warm_router() -> APIRouter:
    """Ask for it, and see how far it is."""
    router = APIRouter(prefix="/v2/models/{slug}", route_class=Threaded)
    router.add_api_route(
        "/warm", warm, methods=["POST"], status_code=202, **describe_warmth("Load a model", 202, 403, 503)
    )
    router.add_api_route("/warm", warmth, methods=["GET"], **describe_warmth("Whether a model is loaded", 200))
    return router


def warm(http: HttpRequest, slug: str, key: Runner) -> dict[str, Any]:
    """Ask every worker to load the model's weights now; costs nothing, and changes nothing where they are loaded."""
    own = services(http)
    _check(own, slug, key)
    if not key.test:  # what a test key asks for needs no weights
        workers = _workers(own)
        if not workers:
            raise NotReady("No worker is there to load it")
        own.store.ops.preloads.ask(slug, workers)
    return _shown(own, slug, key)


def warmth(http: HttpRequest, slug: str, key: Reader) -> dict[str, Any]:
    """How far the workers are that were asked to load the model."""
    own = services(http)
    own.registry.catalogue.find(slug)
    return _shown(own, slug, key)


def _check(own: Services, slug: str, key: Key) -> None:
    own.registry.catalogue.find(slug)
    if not key.may_run(slug):
        raise Forbidden(f"This API key may not run {slug}", reason="model")


def _workers(own: Services) -> dict[str, str]:
    """The devices of those that are alive, by their ids."""
    return {worker.id: worker.device for worker in own.taking()}


def _shown(own: Services, slug: str, key: Key) -> dict[str, Any]:
    if key.test:
        return {"slug": slug, "state": PreloadState.WARM, "workers": [], "mode": "test"}
    devices = _workers(own)
    asked = {warmup.worker: warmup for warmup in own.store.ops.preloads.of(slug, devices)}
    workers = [_worker(device, asked.get(worker)) for worker, device in devices.items()]
    return {"slug": slug, "state": _together([worker["state"] for worker in workers]), "workers": workers}


def _worker(device: str, warmup: Preload | None) -> dict[str, Any]:
    if warmup is None:
        return {"device": device, "state": PreloadState.COLD, "seconds": None, "error": None}
    return {"device": device, "state": warmup.state, "seconds": warmup.seconds, "error": warmup.error}


def _together(states: list[PreloadState]) -> PreloadState:
    """One word for all workers: the first of these that is some worker's, so WARM is said of all of them."""
    order = (PreloadState.WARMING, PreloadState.FAILED, PreloadState.COLD, PreloadState.WARM)
    return next((state for state in order if state in states), PreloadState.COLD)
