"""The models: their list with prices and parameters, and loading one ahead of its first request."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.catalog.builtin import about
from tintype.catalog.parameters import planned_steps, speed_key
from tintype.catalog.spec import ModelSpec, Tariff
from tintype.errors import Forbidden, MethodNotAllowed, NotReady
from tintype.store.accounts.keys import Key
from tintype.store.billing.ledger import dollars
from tintype.store.db.records import PreloadState
from tintype.store.ops.preload import Preload
from tintype.web.auth import Reader, Runner
from tintype.web.failures import REFUSES
from tintype.web.openapi import describe_warmth
from tintype.web.responses import CachedEndpoint, json_bytes
from tintype.web.services import Services, services
from tintype.web.threads import Threaded

#: Seconds for which the list of models is cached: its measured speeds change.
LIST_TTL = 1.0


def models_router() -> APIRouter:
    """The list of models, and an answer for slugs that no model has."""
    router = APIRouter(route_class=Threaded)
    for path, make in (("/v1/models", models), ("/inference-model-information/list", model_information)):
        listed = CachedEndpoint(make, ttl=LIST_TTL).answer
        shape: dict[str, Any] = {"response_model": dict[str, Any], "description": make.__doc__, "name": make.__name__}
        router.add_api_route(path, listed, methods=["GET"], summary="The models", **shape)
    changing = ["POST", "PUT", "PATCH", "DELETE"]
    for path in ("/v1/models", "/v1/get-user-credits"):
        router.add_api_route(path, only_get, methods=changing, include_in_schema=False, name=REFUSES)
    every = ["GET", *changing]
    for version in ("v1", "v2"):
        router.add_api_route(f"/{version}/{{slug}}", unknown, methods=every, include_in_schema=False, name=REFUSES)
    return router


def warm_router() -> APIRouter:
    router = APIRouter(prefix="/v2/models/{slug}", route_class=Threaded)
    router.add_api_route(
        "/warm", warm, methods=["POST"], status_code=202, **describe_warmth("Load a model", 202, 403, 503)
    )
    router.add_api_route("/warm", warmth, methods=["GET"], **describe_warmth("Whether a model is loaded", 200))
    return router


def models(own: Services) -> bytes:
    """Every model with its price in dollars and the JSON Schema of its parameters; needs no key."""
    return json_bytes({"models": _all_described(own)})


def model_information(own: Services) -> bytes:
    """The same list, as the vendor's package reads it."""
    return json_bytes({"Inference Segmind Model Information List With Details": _all_described(own)})


def _all_described(own: Services) -> list[dict[str, Any]]:
    return [_described(own, spec) for spec in own.registry.catalogue.values()]


def _described(own: Services, spec: ModelSpec) -> dict[str, Any]:
    example = spec.parse(spec.example).params
    measured = own.store.queue.duration(speed_key(spec, example), planned_steps(spec, example))
    return describe(spec, own.price(spec), measured) | about(spec, own.registry.configured)


def describe(spec: ModelSpec, tariff: Tariff, measured: float | None) -> dict[str, Any]:
    """One model as the list shows it; `measured` is the seconds that its example takes on this server."""
    return {
        "slug": spec.slug,
        "title": spec.title,
        "description": spec.description,
        "type": "image-to-image" if spec.takes_image else "text-to-image",
        "price": dollars(tariff.price),
        "price_per": tariff.per,
        "typical_seconds": spec.typical_seconds,
        # Null until a request like it has been completed here.
        "measured_seconds": measured,
        "parameters": spec.json_schema(),
    }


async def only_get() -> None:
    """For addresses that look like a model's: `unknown` would answer that there is no such model."""
    raise MethodNotAllowed("This address takes GET", headers={"allow": "GET"})


async def unknown(http: HttpRequest, slug: str, _key: Reader) -> None:
    """For what no model's route matched: an unknown slug, or a known one with another method than POST."""
    services(http).registry.catalogue.find(slug)
    raise MethodNotAllowed(f"{slug} takes POST", headers={"allow": "POST"})


def warm(http: HttpRequest, slug: str, key: Runner) -> dict[str, Any]:
    """Have every worker load the model's weights now; free, and without effect where they are loaded."""
    own = services(http)
    _check(own, slug, key)
    if not key.test:  # test mode needs no weights
        workers = _workers(own)
        if not workers:
            raise NotReady("No worker is running that could load the model")
        own.store.ops.preloads.ask(slug, workers)
    return _shown(own, slug, key)


def warmth(http: HttpRequest, slug: str, key: Reader) -> dict[str, Any]:
    """The state of each worker that was asked to load the model."""
    own = services(http)
    own.registry.catalogue.find(slug)
    return _shown(own, slug, key)


def _check(own: Services, slug: str, key: Key) -> None:
    own.registry.catalogue.find(slug)
    if not key.may_run(slug):
        raise Forbidden(f"This API key may not run {slug}", reason="model")


def _workers(own: Services) -> dict[str, str]:
    """The devices of the workers that take requests, by worker id."""
    return {worker.id: worker.device for worker in own.taking()}


def _shown(own: Services, slug: str, key: Key) -> dict[str, Any]:
    if key.test:
        return {"slug": slug, "state": PreloadState.WARM, "workers": [], "mode": "test"}
    devices = _workers(own)
    preloads = {preload.worker: preload for preload in own.store.ops.preloads.of(slug, devices)}
    workers = [_worker(device, preloads.get(worker)) for worker, device in devices.items()]
    return {"slug": slug, "state": _together([worker["state"] for worker in workers]), "workers": workers}


def _worker(device: str, preload: Preload | None) -> dict[str, Any]:
    if preload is None:
        return {"device": device, "state": PreloadState.COLD, "seconds": None, "error": None}
    return {"device": device, "state": preload.state, "seconds": preload.seconds, "error": preload.error}


def _together(states: list[PreloadState]) -> PreloadState:
    """One state for all workers: WARM only if all of them are."""
    order = (PreloadState.WARMING, PreloadState.FAILED, PreloadState.COLD, PreloadState.WARM)
    return next((state for state in order if state in states), PreloadState.COLD)
