"""The models: their list with prices and parameters, and loading one ahead of its first request."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Literal

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field

from tintype.catalog.parameters import evaluations, planned_steps, skips_steps, speed_key
from tintype.catalog.reuse import file_settings
from tintype.catalog.spec import ModelSpec, Per
from tintype.errors import Forbidden, MethodNotAllowed, NotFound, NotReady
from tintype.media.images import read_texts
from tintype.store.accounts.keys import Key
from tintype.store.billing.ledger import dollars
from tintype.store.db.records import VENDOR, PreloadState
from tintype.store.ops.preload import Preload
from tintype.store.ops.processes import WorkerRow
from tintype.store.store import Store
from tintype.web.auth import Reader, Runner
from tintype.web.declared import Answer
from tintype.web.dependencies import RuntimeDep, StoreDep
from tintype.web.errors import REFUSES, owner
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


class PublishedWeights(Answer):
    """A repository of the Hugging Face hub."""

    repository: str
    licence: str
    gated: bool
    """Whether its licence must be accepted there first."""
    bytes: int
    """To pull, roughly."""


class Pace(Answer):
    """What the seconds of a request follow from, as measured on this server."""

    seconds: dict[str, float]
    """Of one evaluation of the model, by "<bits of width × height> <rows>": rows are the images, twice with guidance
    above 1. The bits are 0 where the input image alone tells the size."""
    evaluations: dict[str, list[int]]
    """Of samplers that don't evaluate the model once per step: how often per step, and how often in addition."""
    skips: bool
    """Whether a strength below 1 leaves the first steps out."""
    fixed: dict[str, float | str]
    """What a caller can't choose, by the meaning of parameters."""


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
    pace: Pace
    parameters: dict[str, Any]
    """The JSON Schema of a body; its members that begin with `x-` are for forms."""
    weights: Omittable[Literal["built-in", "needs weights"]] = None
    """`built-in` are those that tintype ships; absent where the operator has others. Where it needs weights, requests
    are answered with 404."""
    weights_note: Omittable[str] = None
    """The same in words: of the built-in weights, or what to do where there are none."""
    weights_command: Omittable[str] = None
    """What its operator runs to get real ones, where they are published; then the server is restarted."""
    weights_published: Omittable[PublishedWeights] = None
    """Where they come from; absent where the operator has others."""
    prompt_tokens: Omittable[int] = None
    """Tokens of a prompt that the weights read, without start and end marks; what follows makes no difference."""
    first: Omittable[dict[str, Any]] = None
    """What a form begins with, by the meaning of parameters; this and the following of the built-in weights alone."""
    vocabulary: Omittable[list[Thing]] = None
    colours: Omittable[list[str]] = None
    prompts: Omittable[list[str]] = None
    sample: Omittable[str] = None
    """The path of an image that was made with them."""
    sample_parameters: Omittable[dict[str, Any]] = None
    """With which parameters, as its file says; without input images."""


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
    """The list of models as the vendor has it, and an answer for slugs that no model has."""
    router = APIRouter(route_class=Threaded, tags=["models"])
    told, words = CachedEndpoint(model_information, ttl=LIST_TTL), model_information.__doc__
    about: dict[str, Any] = {"operation_id": "listModelInformation", "summary": "The models", "description": words}
    router.get(INFORMATION, response_model=ModelInformation, **about, **UNCHANGED)(told.answer)
    changing = ["POST", "PUT", "PATCH", "DELETE"]
    for path in ("/v1/models", "/v1/get-user-credits"):
        router.add_api_route(path, only_get, methods=changing, include_in_schema=False, name=REFUSES)
    every = ["GET", *changing]
    for version in ("v1", "v2"):
        router.add_api_route(f"/{version}/{{slug}}", unknown, methods=every, include_in_schema=False, name=REFUSES)
    return router


def model_information(store: Store, runtime: Runtime) -> bytes:
    """Every model, as the vendor's package reads them; needs no key."""
    return ModelInformation(models=all_described(store, runtime)).text().encode()


def all_described(store: Store, runtime: Runtime) -> list[ModelInfo]:
    """Every model with its price in dollars and the JSON Schema of its parameters."""
    return [_described(store, runtime, spec) for spec in runtime.registry.catalogue.values()]


@cache
def _texts(sample: str) -> tuple[str, str]:
    """What the file of a sample says of its making."""
    return read_texts(files("tintype.web.pages").joinpath(sample.removeprefix("/")).read_bytes())


def _described(store: Store, runtime: Runtime, spec: ModelSpec) -> ModelInfo:
    about = runtime.registry.about(spec.slug)
    if "sample" in about:
        found = file_settings(*_texts(about["sample"]), runtime.registry.catalogue, spec.slug)
        about["sample_parameters"] = found.parameters
    example, tariff = spec.parse(spec.example).params, runtime.tariffs[spec.slug]
    return ModelInfo(
        slug=spec.slug,
        title=spec.title,
        description=spec.description,
        type="image-to-image" if spec.takes_image else "text-to-image",
        price=dollars(tariff.price),
        price_per=tariff.per,
        typical_seconds=spec.typical_seconds,
        measured_seconds=store.queue.duration(speed_key(spec, example), planned_steps(example)),
        pace=_pace(store, spec),
        parameters=spec.json_schema(),
        **about,
    )


def _pace(store: Store, spec: ModelSpec) -> Pace:
    fixed = {name: value for name, value in spec.fixed.items() if name in ("steps", "guidance", "sampler")}
    measured = store.queue.measured(spec.slug)
    return Pace(
        seconds=measured,
        evaluations={name: [*counts] for name, counts in evaluations(spec).items()},
        skips=skips_steps(spec),
        fixed=fixed,
    )


async def only_get() -> None:
    """For addresses that look like a model's: `unknown` would answer that there is no such model."""
    raise MethodNotAllowed("This address takes GET", headers={"allow": "GET, HEAD"})


async def unknown(runtime: RuntimeDep, slug: str, http: HttpRequest, _key: Reader) -> None:
    """For what no model's route matched: an unknown slug, or a known one with another method than POST."""
    if owner(http).name != VENDOR:  # an address of another API, which has no models there
        raise NotFound(f"Nothing is at {http.method} {http.url.path}")
    runtime.registry.served.find(slug)
    raise MethodNotAllowed(f"{slug} takes POST", headers={"allow": "POST"})


@warm_router.post(
    "/warm", operation_id="warmModel", summary="Load a model", status_code=202, responses=errors(401, 403, 404)
)
def warm(slug: str, key: Runner, store: StoreDep, runtime: RuntimeDep) -> Warmth:
    """Have every worker load the model's weights now; free, and without effect where they are loaded."""
    runtime.registry.served.find(slug)
    if not key.may_run(slug):
        raise Forbidden(f"This API key may not run {slug}", reason="model")
    if not key.test:  # test mode needs no weights
        workers = runtime.readiness.workers()
        if not workers:
            raise NotReady("No worker is running that could load the model")
        store.ops.preloads.ask(slug, _devices(workers))
    return _warmth(slug, key, store, runtime)


@warm_router.get(
    "/warm", operation_id="getWarmth", summary="Whether a model is loaded", responses=errors(401, 403, 404)
)
def warmth(slug: str, key: Reader, store: StoreDep, runtime: RuntimeDep) -> Warmth:
    """The state of each worker that was asked to load the model."""
    runtime.registry.served.find(slug)
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
