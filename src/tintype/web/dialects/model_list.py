"""`GET /v1/models`: one body for our own pages, and for OpenAI's and Replicate's clients, which all ask there."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter

from tintype.store.store import Store
from tintype.web.declared import Answer
from tintype.web.dialects.replicate_models import HostedModel, model_of
from tintype.web.generate.models import LIST_TTL, UNCHANGED, ModelInfo, all_described
from tintype.web.responses import BASE, CachedEndpoint
from tintype.web.runtime import Runtime
from tintype.web.threads import Threaded


class ListedModel(Answer):
    """A name that callers of OpenAI's API have for a model: its slug, or an alias."""

    id: str
    object: Literal["model"]
    created: int
    """When the server started, in unix seconds."""
    owned_by: Literal["tintype"]


class ModelList(Answer):
    """All models, as the readers of several APIs look for them."""

    models: list[ModelInfo]
    object: Literal["list"]
    data: list[ListedModel]
    previous: None
    next: None
    results: list[HostedModel]
    """As Replicate's clients read them, without their schemas."""


def router() -> APIRouter:
    """The list's address."""
    found = APIRouter(route_class=Threaded, tags=["models"])
    endpoint = CachedEndpoint(models, ttl=LIST_TTL, linked=True)
    about: dict[str, Any] = {"operation_id": "listModels", "summary": "The models", "description": models.__doc__}
    found.get("/v1/models", response_model=ModelList, **about, **UNCHANGED)(endpoint.answer)
    return found


def models(store: Store, runtime: Runtime) -> bytes:
    """Every model with its price in dollars and the JSON Schema of its parameters; needs no key."""
    every, served = all_described(store, runtime), runtime.registry.served
    runs = store.ops.runs(served)
    # With links, and last: all before them is the same to all callers.
    hosted = [model_of(runtime, spec, BASE, runs[slug], listed=True) for slug, spec in served.items()]
    known = {"object": "list", "data": listed(runtime), "previous": None, "next": None, "results": hosted}
    return ModelList(models=every, **known).text().encode()


def listed(runtime: Runtime) -> list[ListedModel]:
    """The models that are served, by their slugs, then by those of their aliases that an address can end with."""
    served, created = runtime.registry.served, int(runtime.started_at)
    aliases = (name for name, one in served.aliases.items() if "/" not in name and {*one.slugs} & {*served})
    return [ListedModel(id=id, object="model", created=created, owned_by="tintype") for id in (*served, *aliases)]
