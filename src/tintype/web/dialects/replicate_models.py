"""The models as Replicate's API describes them: each with the one version that it has, by its weights."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import Field

from tintype.catalog.spec import Catalogue, ModelSpec, Param, Purpose
from tintype.core import IMAGE_ROLES
from tintype.errors import SENT_LENGTH, InvalidParameter, MissingParameter, ModelUnknown, NotFound, VersionUnknown
from tintype.hub.registry import Registry
from tintype.store.webhooks.predictions import OWNER, written
from tintype.web.auth import Reader
from tintype.web.declared import Answer
from tintype.web.dependencies import BaseUrl, RuntimeDep, StoreDep
from tintype.web.dialects.replicate_words import described
from tintype.web.errors import REFUSES
from tintype.web.runtime import Runtime
from tintype.web.threads import Threaded
from tintype.web.wire import Url

PURPOSES: tuple[Purpose, ...] = ("generate", "edit")

#: What clients take for the version of the program that made a version's schema: their library, from 0.3.9 on, looks
#: into it for whether outputs come one by one.
COG = "0.16.0"
OUTPUT = {"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"}
#: What is said of each parameter; those without a default here: a seed is drawn, and the format is webp.
SAID = ("type", "title", "description", "format", "enum", "minimum", "maximum")
UNSAID = ("seed", "format", *IMAGE_ROLES)


class HostedVersion(Answer):
    """A model with certain weights."""

    id: str
    """SHA-256, in hex, of the slug, a line feed and the weights' fingerprint."""
    created_at: str
    """When the server started."""
    cog_version: str
    openapi_schema: dict[str, Any]
    """An OpenAPI document whose schemas are `Input` and `Output`; empty in lists of models."""


class HostedModel(Answer):
    """A model."""

    url: Url
    owner: Literal["tintype"]
    name: str
    """Its slug."""
    description: str
    visibility: Literal["public"]
    github_url: None
    paper_url: None
    license_url: None
    run_count: int = Field(description="Requests that it has completed here")
    cover_image_url: Url | None
    default_example: None
    latest_version: HostedVersion


class HostedVersions(Answer):
    """All versions of a model, which is one."""

    previous: None
    next: None
    results: list[HostedVersion]


Owner = Annotated[str, Path(description="`tintype`, or what an alias has before its slash")]
Name = Annotated[str, Path(description="The model's slug, or what an alias has behind its slash")]
VersionId = Annotated[str, Path(description="A version's id, or an alias that stands for one")]


def models_router(catalogue: Catalogue) -> APIRouter:
    """The operations on models, but for their list, which several APIs share."""
    router = APIRouter(prefix="/v1/models/{owner}/{name}", route_class=Threaded)

    @router.get("", **described("models", "getHostedModel", "A model", 404))
    def model(
        _key: Reader, owner: Owner, name: Name, store: StoreDep, runtime: RuntimeDep, base: BaseUrl
    ) -> HostedModel:
        """A model with its version, which has the schema of its input."""
        spec = model_named(catalogue, owner, name, "generate")
        return model_of(runtime, spec, base, store.ops.runs([spec.slug])[spec.slug])

    @router.get("/versions", **described("models", "listHostedVersions", "A model's versions", 404))
    def versions(_key: Reader, owner: Owner, name: Name, runtime: RuntimeDep) -> HostedVersions:
        """The one version that a model has."""
        spec = model_named(catalogue, owner, name, "generate")
        return HostedVersions(previous=None, next=None, results=[version_of(runtime, spec)])

    @router.get("/versions/{version_id}", **described("models", "getHostedVersion", "A version of a model", 404))
    def version(_key: Reader, owner: Owner, name: Name, version_id: VersionId, runtime: RuntimeDep) -> HostedVersion:
        """A version with the schema of its input."""
        known = versions_of(runtime)
        for purpose in PURPOSES:
            spec = model_named(catalogue, owner, name, purpose)
            if id_fits(catalogue, known, version_id, spec):
                return version_of(runtime, spec)
        raise NotFound(f"{owner}/{name} has no version {version_id[:SENT_LENGTH]}")

    for path in ("", "/versions/{version_id}"):
        router.add_api_route(path, no_delete, methods=["DELETE"], include_in_schema=False, name=REFUSES)
    return router


async def no_delete() -> None:
    """Models are the operator's."""
    raise NotFound("Models aren't deleted by this API: they are the operator's")


def versions_of(runtime: Runtime) -> dict[str, str]:
    """The slugs of what is served, by their versions; reads of weights what tells them from others."""
    return {version_id(runtime.registry, slug): slug for slug in runtime.registry.served}


def model_named(catalogue: Catalogue, owner: str, name: str, purpose: Purpose) -> ModelSpec:
    """The model of an owner, which is ours or an alias says so; raises ModelUnknown."""
    both = f"{owner}/{name}"
    if owner == OWNER and both not in catalogue.aliases:
        return catalogue.find(name)
    return catalogue.named(both, purpose)


def id_fits(catalogue: Catalogue, versions: dict[str, str], id: str, spec: ModelSpec) -> bool:
    """Whether a version's id, or an alias that stands for one, is of a model."""
    alias = catalogue.aliases.get(id)
    return versions.get(id) == spec.slug or (alias is not None and spec.slug in alias.slugs)


def model_of_version(catalogue: Catalogue, versions: dict[str, str], version: Any, purpose: Purpose) -> ModelSpec:
    """The model that a body names; raises VersionUnknown, MissingParameter, InvalidParameter."""
    if version is None:
        raise MissingParameter("version", "a version's id, owner/name, owner/name:id, a model's slug or an alias")
    if not isinstance(version, str):
        raise InvalidParameter("version", version, "text")
    if version in versions:
        return catalogue[versions[version]]
    try:
        if version in catalogue.aliases or "/" not in version:
            return catalogue.named(version, purpose)
        both, _, id = version.partition(":")
        owner, _, name = both.partition("/")
        spec = model_named(catalogue, owner, name, purpose)
    except ModelUnknown as error:
        raise VersionUnknown(error.message) from None
    if id and id_fits(catalogue, versions, id, spec):
        return spec
    if id:
        raise VersionUnknown(f"{both} has no version {id[:80]}: its weights may be others now")
    return spec


def version_id(registry: Registry, slug: str) -> str:
    """The id of a model's version: it changes with its weights. Their fingerprint is read once, which may take long."""
    known = registry.fingerprint(slug) if slug in registry.served else ""
    return sha256(f"{slug}\n{known}".encode()).hexdigest()


def version_of(runtime: Runtime, spec: ModelSpec, schema: dict[str, Any] | None = None) -> HostedVersion:
    """The version of a model. schema: in place of its own."""
    return HostedVersion(
        id=version_id(runtime.registry, spec.slug),
        created_at=written(runtime.started_at),
        cog_version=COG,
        openapi_schema=_document(spec) if schema is None else schema,
    )


def model_of(runtime: Runtime, spec: ModelSpec, base: str, runs: int, *, listed: bool = False) -> HostedModel:
    """A model, with links below `base`. listed: whether without what a list leaves out."""
    sample = runtime.registry.about(spec.slug).get("sample")
    return HostedModel(
        url=f"{base}/models/{spec.slug}",
        owner=OWNER,
        name=spec.slug,
        description=spec.description,
        visibility="public",
        github_url=None,
        paper_url=None,
        license_url=None,
        run_count=runs,
        cover_image_url=sample and base + sample,
        default_example=None,
        latest_version=version_of(runtime, spec, {} if listed else None),
    )


def _document(spec: ModelSpec) -> dict[str, Any]:
    """What a prediction's input and output are."""
    required = [one.name for one in spec.parameters if _must_be_sent(one)]
    shape = {"type": "object", "title": "Input", "properties": dict(_properties(spec)), "required": required}
    schemas = {"Input": shape, "Output": OUTPUT}
    return {
        "openapi": "3.0.2",
        "info": {"title": spec.title, "version": COG},
        "paths": {},
        "components": {"schemas": schemas},
    }


def _properties(spec: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parameters by name."""
    properties = spec.json_schema()["properties"]
    for order, param in enumerate(spec.parameters):
        known = properties[param.name]
        has_default = param.default is not None and param.field not in UNSAID and not _must_be_sent(param)
        words = (*SAID, "default") if has_default else SAID
        yield param.name, {word: known[word] for word in words if word in known} | {"x-order": order}


def _must_be_sent(param: Param) -> bool:
    """Not what has one value only; nor an image to start from, as there is the canvas."""
    return param.required and len(param.choices) != 1 and param.field != "image"
