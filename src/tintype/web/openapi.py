"""What `/openapi.json` says beyond what the framework makes of the routes: errors, headers, keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.routing import BaseRoute

from tintype.catalog.builtin import BUILTIN
from tintype.errors import UNFORESEEN
from tintype.testmode.scenario import table
from tintype.web.auth import KINDS
from tintype.web.declared import Answer
from tintype.web.errors import Error, StillRunningError
from tintype.web.json_body import DeclaredBody
from tintype.web.threads import asks_itself

Schema = dict[str, Any]
#: Of every document.
CONTACT = {"name": "The operator of this server"}
LICENSE = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
#: How a key may be sent: by a header of its own everywhere, else as an address's dialect has it.
OWN_HEADER = "key"
SCHEMES = {
    OWN_HEADER: {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password; any user name will do"},
}
#: Where a `$ref` to a component leads.
SCHEMAS, RESPONSES = "#/components/schemas/", "#/components/responses/"
HEADERS_AT = "#/components/headers/"

ID: Schema = {"type": "string", "format": "uuid"}
URL: Schema = {"type": "string", "format": "uri"}
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
#: The content of an answer that is an image.
BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}
MOMENT: Schema = {"type": "string", "format": "date-time"}


#: What operations are grouped by, in the order of the document.
TAGS = {
    "images": "Make images: run a model and wait (v1), or submit to the queue (v2)",
    "requests": "Submitted requests: status, result, events, cancellation",
    "models": "The models with their prices and parameters; loading one ahead",
    "files": "Uploads, and the images themselves",
    "history": "Requests of the last weeks, with their cost and outcome",
    "account": "Credits, the ledger, usage",
    "keys": "API keys of the account",
    "webhooks": "Who is told of the end of requests, and what was sent",
    "server": "What needs no key: health, readiness, who made an image",
    "operator": "The server's state, its queue and workers, for operators' keys",
}
ABOUT = f"""Image generation on your own machine, behind a commercial host's public API.

## Test mode

A key that begins with `SG_test` (`tintype keys create --test`) costs nothing and needs no worker: its images are drawn
by the server itself, and marked as tests. A prompt that begins with `test:` has something else happen; words can be
combined, each kind once.

{table()}
"""


def _header(words: str, schema: Schema) -> Schema:
    return {"description": words, "schema": schema}


#: Headers of answers; absent where what they say doesn't apply.
HEADERS: Mapping[str, Schema] = {
    "x-request-id": _header("The request's id, for /v2/requests/{request_id}", ID),
    "x-remaining-credits": _header("To a valid key: dollars neither spent nor held, or unlimited", TEXT),
    "x-mode": _header("To a test key: test", TEXT | {"enum": ["test"]}),
    "x-cost": _header("Dollars that were charged", NUMBER),
    "x-generation-time": _header("Seconds of the model's work", NUMBER),
    "x-seed-value": _header("The first image's seed", TEXT | {"pattern": "^[0-9]+$"}),
    "x-output-metadata": _header("The first image's size in pixels, as JSON with width and height", TEXT),
    "x-weights": _header("built-in: made with the small weights that tintype ships", TEXT | {"enum": [BUILTIN]}),
    "x-cold-start": _header("Seconds spent on loading the model for this request, never charged", NUMBER),
    "x-warning": _header("Warnings about parameters, and what the safety check found and let pass", TEXT),
    "x-ignored-parameters": _header("Names that the model doesn't know, separated by commas", TEXT),
    "Idempotent-Replayed": _header("This Idempotency-Key was sent before, and this is its answer", FLAG),
    "Retry-After": _header("Seconds after which the same call may succeed", WHOLE),
    "x-should-retry": _header("Whether to send the same call again", FLAG),
    "x-rate-limit-remaining": _header("Requests that the key may send now", WHOLE),
    "x-rate-limit-reset-at-utc": _header(
        "When it may send all of a minute's again; on a 429, the next one", TEXT | {"format": "date-time"}
    ),
    "WWW-Authenticate": _header("How a key may be sent", TEXT),
    "Accept-Encoding": _header("For a compressed body: identity", TEXT | {"enum": ["identity"]}),
    "ETag": _header("For If-None-Match", TEXT),
    "Location": _header("The image's address in the storage, for some minutes", URL),
}
#: Of every answer to a valid key; of those after which a call can be sent again; of a key with a limit per minute.
OF_KEY = ("x-remaining-credits", "x-mode")
OF_RETRY = ("Retry-After", "x-should-retry")
OF_RATE = ("x-rate-limit-remaining", "x-rate-limit-reset-at-utc")
#: Of errors by their status.
OF_STATUS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    415: ("Accept-Encoding",),
    429: (*OF_RETRY, *OF_RATE),
    **dict.fromkeys((409, 502, 503, 504), OF_RETRY),
    **dict.fromkeys((500, 507), ("x-should-retry",)),
}
#: Statuses of calls whose key isn't valid, or wasn't read.
KEYLESS = (401, 431)
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
    431: "The call's headers are larger than 32 kB",
    500: UNFORESEEN,
    503: "The database, or the storage of pictures, can't be reached; or too many connections are open",
}
#: What stands in paths, where a route does not say it itself.
IN_PATHS = {
    "request_id": "A request's id",
    "slug": "A model's slug",
    "name": "A file's name, as in its address",
    "key_id": "A key's id",
    "worker_id": "A worker's id, or how it begins or ends",
}
#: Of any call with a body, in addition to those of every call.
WITH_BODY = (400, 403, 413, 415, 429)


def errors(*statuses: int, words: Mapping[int, str] = MappingProxyType({})) -> dict[int | str, Any]:
    """The `responses` of an operation for these errors and for those of the server itself.

    words: what a status means at this operation, where that isn't what it means at nearly all.
    """
    known = sorted({*statuses, 500, 503, *words})
    return {
        status: refusal(status, words[status]) if status in words else {"$ref": RESPONSES + str(status)}
        for status in known
    }


def refusal(status: int, words: str, *more: str, shape: type[Error] = Error) -> Schema:
    """An error's response. more: headers in addition to those that every answer of this status may have."""
    known = (*(OF_KEY if status not in KEYLESS else ()), *OF_STATUS.get(status, ()), *more)
    content = {"application/json": {"schema": {"$ref": SCHEMAS + shape.__name__}}}
    return {"description": words, "headers": headers(*known), "content": content}


def headers(*names: str) -> Schema:
    """The `headers` of a response."""
    return {name: {"$ref": HEADERS_AT + name} for name in names}


def finish(
    document: Schema,
    routes: Iterable[BaseRoute],
    schemas: Mapping[str, Schema],
    *answers: type[Answer],
    authorization: Callable[[str], Collection[str]],
) -> Schema:
    """Add what the framework doesn't know: who needs a key, bodies that it doesn't read, errors and headers that many
    operations share. Its own errors, which are never sent, are removed.

    schemas, answers: what operations refer to, and the framework doesn't know of. authorization: schemes by the path.
    """
    found = document.setdefault("components", {})
    known = {name: schema for name, schema in found.get("schemas", {}).items() if not name.endswith("ValidationError")}
    shared: tuple[type[Answer], ...] = (Error, StillRunningError, *answers)
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(one, "serialization") for one in shared]
    for route in (one for one in routes if isinstance(one, APIRoute) and one.include_in_schema):
        read = [one.call for one in route.dependant.dependencies if isinstance(one.call, DeclaredBody)]
        models += [(body.model, "validation") for body in read]
        for method in route.methods or ():
            operation = document["paths"][route.path][method.lower()]
            ways = [name for name in SCHEMES if name == OWN_HEADER or name in authorization(route.path)]
            operation["security"] = [{name: []} for name in ways] if _needs_key(route.dependant) else []
            for body in read:
                operation["requestBody"] = _body(body)
            _complete(operation)
    for operations in document.get("webhooks", {}).values():
        operations["post"]["security"] = []
        operations["post"]["responses"].pop("422", None)
    _, declared = models_json_schema(models, ref_template=SCHEMAS + "{model}")
    found |= {"schemas": {**known, **declared["$defs"], **schemas}, "securitySchemes": SCHEMES}
    found["responses"] = _used(RESPONSES, {str(one): refusal(one, words) for one, words in REFUSALS.items()}, document)
    found["headers"] = _used(HEADERS_AT, HEADERS, document)
    return document


def _needs_key(dependant: Dependant) -> bool:
    return dependant.call in KINDS or asks_itself(dependant.call) or any(map(_needs_key, dependant.dependencies))


def _body(body: DeclaredBody) -> Schema:
    content = {"schema": {"$ref": SCHEMAS + body.model.__name__}, "example": dict(body.example)}
    form = {"type": "object", "properties": {body.file: BINARY["schema"]}, "required": [body.file]}
    forms = {"multipart/form-data": {"schema": form}} if body.file else {}
    return {"required": True, "content": {"application/json": content} | forms}


def _complete(operation: Schema) -> None:
    """The words for what stands in the path, the headers of answers, and the error that any call may get."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and "description" not in parameter:
            parameter["description"] = IN_PATHS[parameter["name"]]
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    responses.setdefault("431", {"$ref": RESPONSES + "431"})
    operation["responses"] = dict(sorted(responses.items()))
    for status, response in responses.items():
        if "$ref" in response:  # the framework adds a description of its own
            operation["responses"][status] = {"$ref": response["$ref"]}
        elif operation["security"]:
            response["headers"] = headers(*OF_KEY) | response.get("headers", {})


def _used(at: str, shared: Mapping[str, Schema], document: Schema) -> dict[str, Schema]:
    """Those that the document refers to."""
    text = json.dumps(document)
    return {name: one for name, one in shared.items() if f'"{at}{name}"' in text}
