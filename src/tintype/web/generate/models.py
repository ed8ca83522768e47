"""The models: their list with prices and parameters, and loading one ahead of its first request."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from tintype.catalog.builtin import about
from tintype.catalog.parameters import planned_steps, speed_key
from tintype.catalog.spec import ModelSpec, Per
from tintype.errors import Forbidden, MethodNotAllowed, NotReady
from tintype.store.accounts.keys import Key
from tintype.store.billing.ledger import dollars
from tintype.store.db.records import PreloadState
from tintype.store.ops.preload import Preload
from tintype.store.ops.processes import WorkerRow
from tintype.store.store import Store
from tintype.web.auth import Reader, Runner
from tintype.web.declared import Answer
from tintype.web.dependencies import RuntimeDep, StoreDep
from tintype.web.errors import REFUSES
from tintype.web.openapi import TEXT, errors, headers
from tintype.web.responses import CachedEndpoint
from tintype.web.runtime import Runtime
from tintype.web.threads import Threaded
from tintype.web.wire import Omittable

#: Seconds for which the list of models is cached: its measured speeds change.
LIST_TTL = 1.0
#: The vendor's address of the list.
INFORMATION = "/inference-model-information/list"


warm_router = APIRouter(prefix="/v2/models/{slug}", route_class=Threaded, tags=["models"])


class WorkerWarmth(Answer):
    """A model's loading on one worker."""

    device: str
    state: PreloadState
    seconds: float | None
    """Seconds that loading took."""
    error: str | None


class Warmth(Answer):
    """How far a model's loading is. WARM once every worker has loaded it."""

    slug: str
    state: PreloadState
    workers: list[WorkerWarmth]
    mode: Literal["test"] = "test"


class Thing(Answer):
    """What the built-in weights can draw, and its emoji."""

    name: str
    emoji: str


class ModelInfo(Answer):
    """A model, its price and its parameters."""

    slug: str
    title: str
    description: str
    type: Literal["image-to-image", "text-to-image"]
    price: float
    """Dollars per image, or per second of the model's work."""
    price_per: Per
    typical_seconds: float
    """Of an image, as the vendor publishes them."""
    measured_seconds: float | None
    """Of the example, on this server; null until a request like it has been completed."""
    parameters: dict[str, Any]
    """The JSON Schema of a body; its members that begin with `x-` are for forms."""
    weights: Omittable[Literal["built-in"]] = None
    """Of the weights that tintype ships, as are all of the following; absent where the operator has others."""
    weights_note: Omittable[str] = None
    first: Omittable[dict[str, Any]] = None
    """What a form begins with, by the meaning of parameters."""
    vocabulary: Omittable[list[Thing]] = None
    colours: Omittable[list[str]] = None
    prompts: Omittable[list[str]] = None
    sample: Omittable[str] = None
    """The path of an image that was made with them."""


class ModelList(Answer):
    """All models."""

    models: list[ModelInfo]


class ModelInformation(Answer):
    """All models, as the vendor's package reads them."""

    models: list[ModelInfo] = Field(serialization_alias="Inference Segmind Model Information List With Details")


#: How a list that the caller has already is not sent again.
UNCHANGED: dict[str, Any] = {
    "responses": {
        200: {"headers": headers("ETag")},
        304: {"description": "The list of If-None-Match is still the same", "headers": headers("ETag")},
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": "The ETag of the list that you have",
                "schema": TEXT,
            }
        ]
    },
}


def models_router() -> APIRouter:
    """The list of models, and an answer for slugs that no model has."""
    router = APIRouter(route_class=Threaded, tags=["models"])
    listed, told = CachedEndpoint(models, ttl=LIST_TTL), CachedEndpoint(model_information, ttl=LIST_TTL)
    for path, id, model, endpoint, words in (
        ("/v1/models", "listModels", ModelList, listed, models.__doc__),
        (INFORMATION, "listModelInformation", ModelInformation, told, model_information.__doc__),
    ):
        summary: dict[str, Any] = {"operation_id": id, "summary": "The models", "description": words}
        router.add_api_route(path, endpoint.answer, methods=["GET"], response_model=model, **summary, **UNCHANGED)
    changing = ["POST", "PUT", "PATCH", "DELETE"]
    for path in ("/v1/models", "/v1/get-user-credits"):
        router.add_api_route(path, only_get, methods=changing, include_in_schema=False, name=REFUSES)
    every = ["GET", *changing]
    for version in ("v1", "v2"):
        router.add_api_route(f"/{version}/{{slug}}", unknown, methods=every, include_in_schema=False, name=REFUSES)
    return router


def models(store: Store, runtime: Runtime) -> bytes:
    """Every model with its price in dollars and the JSON Schema of its parameters; needs no key."""
    return ModelList(models=_all_described(store, runtime)).text().encode()


def model_information(store: Store, runtime: Runtime) -> bytes:
    """The same list, as the vendor's package reads it."""
    return ModelInformation(models=_all_described(store, runtime)).text().encode()


def _all_described(store: Store, runtime: Runtime) -> list[ModelInfo]:
    return [_described(store, runtime, spec) for spec in runtime.registry.catalogue.values()]


def _described(store: Store, runtime: Runtime, spec: ModelSpec) -> ModelInfo:
    example, tariff = spec.parse(spec.example).params, runtime.tariffs[spec.slug]
    return ModelInfo(
        slug=spec.slug,
        title=spec.title,
        description=spec.description,
        type="image-to-image" if spec.takes_image else "text-to-image",
        price=dollars(tariff.price),
        price_per=tariff.per,
        typical_seconds=spec.typical_seconds,
        measured_seconds=store.queue.duration(speed_key(spec, example), planned_steps(spec, example)),
        parameters=spec.json_schema(),
        **about(spec, runtime.registry.configured),
    )


async def only_get() -> None:
    """For addresses that look like a model's: `unknown` would answer that there is no such model."""
    raise MethodNotAllowed("This address takes GET", headers={"allow": "GET, HEAD"})


async def unknown(runtime: RuntimeDep, slug: str, _key: Reader) -> None:
    """For what no model's route matched: an unknown slug, or a known one with another method than POST."""
    runtime.registry.catalogue.find(slug)
    raise MethodNotAllowed(f"{slug} takes POST", headers={"allow": "POST"})


@warm_router.post(
    "/warm", operation_id="warmModel", summary="Load a model", status_code=202, responses=errors(401, 403, 404)
)
def warm(slug: str, key: Runner, store: StoreDep, runtime: RuntimeDep) -> Warmth:
    """Have every worker load the model's weights now; free, and without effect where they are loaded."""
    runtime.registry.catalogue.find(slug)
    if not key.may_run(slug):
        raise Forbidden(f"This API key may not run {slug}", reason="model")
    if not key.test:  # test mode needs no weights
        workers = runtime.readiness.workers()
        if not workers:
            raise NotReady("No worker is running that could load the model")
        store.ops.preloads.ask(slug, _devices(workers))
    return _warmth(slug, key, store, runtime)


@warm_router.get("/warm", operation_id="getWarmth", summary="Whether a model is loaded", responses=errors(401, 404))
def warmth(slug: str, key: Reader, store: StoreDep, runtime: RuntimeDep) -> Warmth:
    """The state of each worker that was asked to load the model."""
    runtime.registry.catalogue.find(slug)
    return _warmth(slug, key, store, runtime)


def _warmth(slug: str, key: Key, store: Store, runtime: Runtime) -> Warmth:
    if key.test:
        return Warmth(slug=slug, state=PreloadState.WARM, workers=[], mode="test")
    devices = _devices(runtime.readiness.workers())
    preloads = {preload.worker: preload for preload in store.ops.preloads.of(slug, devices)}
    workers = [_worker(device, preloads.get(worker)) for worker, device in devices.items()]
    return Warmth(slug=slug, state=_together([worker.state for worker in workers]), workers=workers)


def _devices(workers: list[WorkerRow]) -> dict[str, str]:
    """By worker id."""
    return {worker.id: worker.device for worker in workers}


def _worker(device: str, preload: Preload | None) -> WorkerWarmth:
    if preload is None:
        return WorkerWarmth(device=device, state=PreloadState.COLD, seconds=None, error=None)
    return WorkerWarmth(device=device, state=preload.state, seconds=preload.seconds, error=preload.error)


def _together(states: list[PreloadState]) -> PreloadState:
    """One state for all workers: WARM only if all of them are."""
    order = (PreloadState.WARMING, PreloadState.FAILED, PreloadState.COLD, PreloadState.WARM)
    return next((state for state in order if state in states), PreloadState.COLD)
