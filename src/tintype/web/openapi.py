"""What `/openapi.json` says: the shapes of answers, and the operations; of a model's, from the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.routing import BaseRoute

from tintype.catalog.builtin import BUILTIN
from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.errors import UNFORESEEN
from tintype.testmode.scenario import table
from tintype.web.auth import caller
from tintype.web.errors import Error
from tintype.web.json_body import DeclaredBody

#: The two ways to send a key.
SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
#: Where a `$ref` to a component leads.
SCHEMAS, RESPONSES = "#/components/schemas/", "#/components/responses/"

#: Headers of answers with images.
WEIGHED = {
    "x-weights": {
        "description": "built-in, where the image was made with the weights that tintype ships; else absent",
        "schema": {"type": "string", "enum": [BUILTIN]},
    },
    "x-cold-start": {
        "description": "Seconds spent on loading the model for this request, never charged; absent where it was loaded",
        "schema": {"type": "number"},
    },
    "x-warning": {
        "description": "Warnings about parameters, and what the safety check found and did not block; else absent",
        "schema": {"type": "string"},
    },
    "x-mode": {
        "description": "test, where a test key sent the call; else absent",
        "schema": {"type": "string", "enum": ["test"]},
    },
}

ABOUT = f"""Image generation on your own machine, behind a commercial host's public API.

## Test mode

A key that begins with `SG_test` (`tintype keys create --test`) costs nothing and needs no worker: its images are drawn
by the server itself, and marked as tests. A prompt that begins with `test:` has something else happen; words can be
combined, each kind once.

{table()}
"""
#: The status of every error, and what it means at nearly all addresses.
REFUSALS = {
    400: "Bad parameters, body or headers, or an input image that can't be used",
    401: "Missing, unknown, revoked or expired key",
    403: "The key may not do this",
    404: "Unknown, expired or another account's",
    406: "Out of credits",
    413: "Body too large",
    415: "Neither JSON nor a form, or compressed",
    422: "This Idempotency-Key was sent with another body",
    429: "Too many requests, or the queue is full; Retry-After says when to send it again",
    500: UNFORESEEN,
    503: "The database, or the storage of pictures, can't be reached",
}
WAITING = {
    409: "The request sent with this Idempotency-Key is still running",
    502: "No worker is running; the request stays queued: request_id, status_url and response_url say where",
    503: "The database or the storage can't be reached, or this server is being restarted; nothing was charged",
    504: "The wait timed out, or this server is being restarted; the request is still running, where 502's fields say",
    507: "The model and an image of this size don't fit into this server's memory",
}
REFUSED_CONTENT = "The safety check refused the content, or this Idempotency-Key was sent with another body"
#: Of any call with a body, in addition to those of every call.
WITH_BODY = (400, 403, 413, 415, 429)


def errors(*statuses: int, words: Mapping[int, str] = MappingProxyType({})) -> dict[int | str, Any]:
    """The `responses` of an operation for these errors and for those of the server itself.

    words: what a status means at this operation, where that isn't what it means at nearly all.
    """
    known = sorted({*statuses, 500, 503, *words})
    return {
        status: refusal(words[status]) if status in words else {"$ref": RESPONSES + str(status)} for status in known
    }


def refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": SCHEMAS + Error.__name__}}}}


def describe_model(
    spec: ModelSpec, verb: str, summary: str, words: Mapping[int, str] = MappingProxyType({})
) -> dict[str, Any]:
    """What a model's operation says of itself, as arguments of a router. words: its errors beyond those of each."""
    body = {
        "schema": {"$ref": SCHEMAS + spec.slug},
        "examples": {"example": {"value": dict(spec.example)}},
    }
    content = {"application/json": body, "multipart/form-data": {"schema": body["schema"]}}
    # It exists: there is no 404.
    return {
        "summary": summary,
        "description": spec.description,
        "operation_id": f"{verb}-{spec.slug}",
        "responses": errors(401, 406, *WITH_BODY, words={422: REFUSED_CONTENT, **words}),
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def finish(schema: dict[str, Any], routes: Iterable[BaseRoute], catalogue: Catalogue) -> dict[str, Any]:
    """Add what the framework doesn't know: the bodies that it doesn't read, and the errors that all operations share.

    Its own errors, which are never sent, are removed.
    """
    shown = [route for route in routes if isinstance(route, APIRoute) and route.include_in_schema]
    declared = [(route, body) for route in shown for body in _bodies(route)]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(body.model, "validation") for _, body in declared]
    _, found = models_json_schema([*models, (Error, "serialization")], ref_template=SCHEMAS + "{model}")
    components = schema.setdefault("components", {})
    shapes = components.setdefault("schemas", {})
    shapes |= found["$defs"] | {slug: spec.json_schema() for slug, spec in catalogue.items()}
    components["responses"] = {str(status): refusal(words) for status, words in REFUSALS.items()}
    for route, body in declared:
        content = {"schema": {"$ref": SCHEMAS + body.model.__name__}, "example": dict(body.example)}
        for method in route.methods or ():
            schema["paths"][route.path][method.lower()]["requestBody"] = {
                "required": True,
                "content": {"application/json": content},
            }
    components["securitySchemes"] = SCHEMES
    for route in shown:
        if _needs_key(route.dependant):
            for method in route.methods or ():
                schema["paths"][route.path][method.lower()]["security"] = [{name: []} for name in SCHEMES]
    for name in ("HTTPValidationError", "ValidationError"):
        shapes.pop(name, None)
    for operation in (operation for methods in schema["paths"].values() for operation in methods.values()):
        responses = operation["responses"]
        if "HTTPValidationError" in str(responses.get("422")):
            del responses["422"]
        for status, response in responses.items():
            if "$ref" in response:  # the framework adds a description of its own
                responses[status] = {"$ref": response["$ref"]}
    return schema


def _bodies(route: APIRoute) -> list[DeclaredBody]:
    return [one.call for one in route.dependant.dependencies if isinstance(one.call, DeclaredBody)]


def _needs_key(dependant: Dependant) -> bool:
    return any(one.call is caller or _needs_key(one) for one in dependant.dependencies)
