"""What a caller can ask about the models and its own account."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.catalog.builtin import about
from tintype.catalog.parameters import planned_steps, speed_key
from tintype.catalog.spec import ModelSpec, Tariff
from tintype.errors import MethodNotAllowed
from tintype.store.billing.money import dollars
from tintype.web.auth import Caller, Reader
from tintype.web.constants import Constant, in_json
from tintype.web.failures import REFUSES
from tintype.web.openapi import describe_call
from tintype.web.services import Services, services
from tintype.web.threads import Threaded

#: Seconds between two makings of the list of models: the times measured in it change, and nothing else.
FRESH = 1.0


def account_router() -> APIRouter:
    """The model list, the credits, and an answer for slugs that no model has."""
    router = APIRouter(route_class=Threaded)
    for path, make in (("/v1/models", models), ("/inference-model-information/list", model_information)):
        listed = Constant(make, life=FRESH).answer
        shape: dict[str, Any] = {"response_model": dict[str, Any], "description": make.__doc__, "name": make.__name__}
        router.add_api_route(path, listed, methods=["GET"], summary="The models", **shape)
    words = describe_call("What the account may still spend")
    router.add_api_route("/v1/get-user-credits", credits, methods=["GET"], **words)
    words = describe_call("Whose key this is")
    router.add_api_route("/api/auth/authenticate", whoever, methods=["GET"], **words)
    changing = ["POST", "PUT", "PATCH", "DELETE"]
    for path in ("/v1/models", "/v1/get-user-credits"):
        router.add_api_route(path, only_get, methods=changing, include_in_schema=False, name=REFUSES)
    every = ["GET", *changing]
    for version in ("v1", "v2"):
        router.add_api_route(f"/{version}/{{slug}}", unknown, methods=every, include_in_schema=False, name=REFUSES)
    return router


def models(own: Services) -> bytes:
    """Every model with its price in dollars and the JSON Schema of its parameters; needs no key."""
    return in_json({"models": _all_described(own)})


def _described(own: Services, spec: ModelSpec) -> dict[str, Any]:
    example = spec.parse(spec.example).params
    measured = own.store.queue.duration(speed_key(spec, example), planned_steps(spec, example))
    return describe(spec, own.price(spec), measured) | about(spec, own.registry.configured)


def model_information(own: Services) -> bytes:
    """The same list, as the vendor's package reads it."""
    return in_json({"Inference Segmind Model Information List With Details": _all_described(own)})


def _all_described(own: Services) -> list[dict[str, Any]]:
    return [_described(own, spec) for spec in own.registry.catalogue.values()]


def whoever(http: HttpRequest, key: Caller) -> dict[str, Any]:
    """The account, its credits, and what this key may do; of a key that sees the server alone, the last."""
    own = services(http).store.accounts
    may = {"name": key.name, "hint": key.begins, "read_only": key.read_only, "models": key.models, "mode": key.mode}
    may["operator"] = key.operator
    if key.server_only:
        return {"api_key": may}
    account = own.account(key.account_id)
    owner = {"id": account.id, "user_id": account.id, "name": account.name}
    return {**owner, "credits": dollars(own.remaining(account.id)), "api_key": may}


def describe(spec: ModelSpec, tariff: Tariff, measured: float | None) -> dict[str, Any]:
    """One model at this price, as the list shows it; `measured` is the seconds that its example takes here."""
    return {
        "slug": spec.slug,
        "title": spec.title,
        "description": spec.description,
        "type": "image-to-image" if spec.takes_picture else "text-to-image",
        "price": dollars(tariff.price),
        "price_per": tariff.per,
        "typical_seconds": spec.typical_seconds,
        # Null until a request like it has been completed here.
        "measured_seconds": measured,
        "parameters": spec.json_schema(),
    }


def credits(http: HttpRequest, key: Reader) -> dict[str, float]:
    """Dollars that are neither spent nor held by running requests."""
    own = services(http)
    return {"credits": dollars(own.store.accounts.remaining(key.account_id)), "free-credits": 0.0}


async def only_get() -> None:
    """Reached where a slug could stand, but does not: `unknown` would call it a model that is not there."""
    raise MethodNotAllowed("This address takes GET", headers={"allow": "GET"})


async def unknown(http: HttpRequest, slug: str, _key: Reader) -> None:
    """Reached by what no model's own route took: an unknown slug, or a known one with another method than POST."""
    services(http).registry.catalogue.find(slug)
    raise MethodNotAllowed(f"{slug} takes POST", headers={"allow": "POST"})
