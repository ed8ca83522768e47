"""What `/openapi.json` says of a model's two operations, run and submit, from its entry in the catalogue."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from tintype.catalog.formats import FORMATS
from tintype.catalog.spec import Catalogue, ModelSpec, Param
from tintype.web.errors import StillRunningError
from tintype.web.generate.submit import takes
from tintype.web.openapi import BINARY, OF_RATE, REFUSALS, SCHEMAS, WITH_BODY, Schema, errors, headers, refusal

#: Headers of answers to submits, and of v1's to finished ones.
SUBMITTED = ("x-request-id", "x-warning", "x-ignored-parameters", "Idempotent-Replayed")
MADE = ("x-cost", "x-generation-time", "x-seed-value", "x-output-metadata", "x-weights", "x-cold-start")

REFUSED = "The safety check refused the content, or this Idempotency-Key was sent with another body"
RUNNING = {
    502: "No worker is running; the request stays queued: don't send it again",
    504: "The wait ended, or this server is being restarted; the request is still running: don't send it again",
}
#: What else v1 answers about its request.
ENDED = {
    400: REFUSALS[400],
    409: "The request sent with this Idempotency-Key is still running",
    422: REFUSED,
    500: "The model failed on the request, or it was cancelled; or something went wrong on this server",
    503: "The database or the storage can't be reached, or this server is being restarted; nothing was charged",
    507: "The model and an image of this size don't fit into this server's memory",
}
#: After it, the database may have the request or not.
LOST = "The database can't be reached; with an x-request-id, that request may have been queued"


def names(catalogue: Catalogue) -> dict[str, str]:
    """What the operations and schemas of each slug are called, such as Sd15Img2img of sd1.5-img2img; each once."""
    found: dict[str, str] = {}
    for slug in catalogue:
        name = _pascal(slug.replace(".", "").replace("-", "_"))
        while name in found.values():
            name += "X"
        found[slug] = name
    return found


def run(spec: ModelSpec, name: str, shape: Any) -> dict[str, Any]:
    """Arguments of a route for v1's operation. shape: of its JSON."""
    told = {status: refusal(status, words, "x-request-id") for status, words in ENDED.items()}
    told |= {
        status: refusal(status, words, "x-request-id", shape=StillRunningError) for status, words in RUNNING.items()
    }
    answer = {
        "description": "The image; with base64, or of several, JSON",
        "model": shape,
        "content": {FORMATS[name].content_type: BINARY for name in spec.formats},
        "headers": headers(*SUBMITTED, *OF_RATE, *MADE),
    }
    return {
        "operation_id": f"run{name}",
        "tags": ["images"],
        "summary": f"{spec.title}: run and wait",
        "description": f"{spec.description}\n\nClients whose generator takes JSON where an answer may be an image or "
        "JSON send `base64: true`.",
        "response_class": Response,
        "responses": {200: answer, **errors(401, 403, 406, 413, 415, 429), **told},
        "openapi_extra": _asked(spec, name),
    }


def submit(spec: ModelSpec, name: str) -> dict[str, Any]:
    """Arguments of a route for v2's operation."""
    answer = {"description": "The request is queued", "headers": headers(*SUBMITTED, *OF_RATE)}
    told = {422: refusal(422, REFUSED), 503: refusal(503, LOST, "x-request-id")}
    return {
        "operation_id": f"submit{name}",
        "tags": ["images"],
        "summary": f"{spec.title}: submit to the queue",
        "description": spec.description,
        "responses": {200: answer, **errors(401, 406, *WITH_BODY), **told},
        "openapi_extra": _asked(spec, name),
    }


def _asked(spec: ModelSpec, name: str) -> Schema:
    kinds = {
        "application/json": "Params",
        "multipart/form-data": "Form",
        "application/x-www-form-urlencoded": "Urlencoded",
    }
    content: Schema = {kind: {"schema": {"$ref": f"{SCHEMAS}{name}{ending}"}} for kind, ending in kinds.items()}
    content["application/json"]["examples"] = {"example": {"value": dict(spec.example)}}
    return takes(content)


def bodies(catalogue: Catalogue) -> dict[str, Schema]:
    """The schemas of all models' bodies as JSON and as forms, and of the parameters that are one of a few values."""
    found: dict[str, Schema] = {}
    for slug, name in names(catalogue).items():
        found |= _bodies(catalogue[slug], name)
    return found


def _bodies(spec: ModelSpec, name: str) -> dict[str, Schema]:
    said = spec.json_schema()
    shown = {param.name: _parameter(param, said["properties"][param.name], name) for param in spec.parameters}
    files = {
        param.name: shown[param.name] | {"format": "binary", "description": f"A file, or text: {param.help}"}
        for param in spec.parameters
        if param.kind == "picture"
    }
    body = {"type": "object", "description": spec.title, "required": said.get("required", []), "properties": shown}
    chosen = {
        name + _pascal(param.name): {"type": param.kind, "enum": [*param.accepted], "description": param.help}
        for param in spec.parameters
        if param.choices
    }
    return {
        f"{name}Params": body,
        f"{name}Form": body | {"properties": shown | files},
        f"{name}Urlencoded": body,
        **chosen,
    }


def _parameter(param: Param, said: Schema, name: str) -> Schema:
    """A parameter's schema without what forms on pages read of it.

    The default of a required one, which is never applied, is an example.
    """
    left_out = ("title", "format", *(("type", "enum", "description") if param.choices else ()))
    shown = {word: value for word, value in said.items() if not word.startswith("x-") and word not in left_out}
    if param.choices:
        shown["$ref"] = f"{SCHEMAS}{name}{_pascal(param.name)}"
    if param.required and "default" in shown:
        shown["examples"] = [shown.pop("default")]
    return shown


def _pascal(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
