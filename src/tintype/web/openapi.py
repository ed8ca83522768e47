"""What `/openapi.json` says of a model's operations, from the catalogue."""

from __future__ import annotations

from typing import Any

from tintype.catalog.builtin import BUILTIN
from tintype.catalog.spec import ModelSpec

ERROR = {
    "type": "object",
    "required": ["error", "error_description", "status_code"],
    "properties": {
        "error": {"type": "string"},
        "error_description": {"type": "string"},
        "status_code": {"type": "integer"},
    },
}
#: For operations that need no list of their refusals; without it FastAPI documents a 422 that never goes out.
REFUSED: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Refused", "content": {"application/json": {"schema": ERROR}}}
}
REFUSALS = {
    400: "Bad parameters or body, or an input picture that can't be used",
    401: "Missing, unknown, revoked or expired key",
    403: "The key may not run this model",
    406: "Out of credits",
    413: "Body too large",
    415: "Neither JSON nor a form",
    422: "This Idempotency-Key was sent with another body",
    429: "Too many requests per minute or at once, or the queue is full",
    500: "Something went wrong on this server",
    503: "The database can't be reached",
}
WAITING = {
    409: "The request sent with this Idempotency-Key still runs",
    422: "The safety check refused the content, or this Idempotency-Key was sent with another body",
    502: "No worker is running; the request stays queued",
    504: "The wait ran out; the request goes on",
}
#: The states of a request, and what each means to its caller.
STATES = {
    "QUEUED": "Accepted, waiting for a worker",
    "PROCESSING": "Running on a worker",
    "COMPLETED": "Done: the pictures are ready, and paid",
    "FAILED": "Failed, refused or cancelled: the error says why, and nothing was charged",
}
SUBMITTED = {
    "type": "object",
    "required": ["request_id", "status", "poll_url", "status_url", "response_url"],
    "properties": {
        "request_id": {"type": "string", "format": "uuid"},
        "status": {
            "enum": list(STATES),
            "description": "; ".join(f"{name}: {words}" for name, words in STATES.items()),
        },
        "poll_url": {"type": "string", "format": "uri"},
        "status_url": {"type": "string", "format": "uri"},
        "response_url": {"type": "string", "format": "uri"},
    },
}


FAILED = {
    "type": "object",
    "required": ["status", "request_id", "error", "metrics"],
    "properties": {
        "status": {"const": "FAILED"},
        "request_id": {"type": "string", "format": "uuid"},
        "error": {"type": "string"},
        "metrics": {"type": "object"},
    },
}
#: Of answers with pictures in them; the others are set where they are.
WEIGHED = {
    "x-weights": {
        "description": "built-in, where the weights that tintype brings along drew the picture; else absent",
        "schema": {"type": "string", "enum": [BUILTIN]},
    }
}
#: Headers that a model's operations understand, and what they are for.
HEADERS = {
    "Idempotency-Key": "Makes it safe to send the call again: it is run and charged once, and answered alike",
    "Cancel-After": "Seconds after which the request is cancelled, unless it has completed",
    "X-Webhook-URL": "An address that is told when the request has ended",
}
SECURITY: list[dict[str, list[str]]] = [{"key": []}, {"bearer": []}]


def describe_call(summary: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that needs a key and no body."""
    return {"summary": summary, "responses": REFUSED, "openapi_extra": {"security": SECURITY}}


def describe_body(summary: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that needs a key and a JSON object with all these properties."""
    words = describe_call(summary)
    schema = {"type": "object", "required": list(properties), "properties": properties}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return words | {"openapi_extra": {**words["openapi_extra"], "requestBody": body}}


def describe_found(summary: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that shows a request."""
    failed = {
        "description": "The request FAILED, which is not an error of this call",
        "content": {"application/json": {"schema": FAILED}},
    }
    return describe_call(summary) | {"responses": {422: failed, **REFUSED}}


def describe_result(summary: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that shows a request with its pictures."""
    words = describe_found(summary)
    return words | {"responses": {200: {"description": "The result", "headers": WEIGHED}, **words["responses"]}}


def describe_v1(spec: ModelSpec) -> dict[str, Any]:
    """Arguments of FastAPI's `add_api_route` for a model's blocking operation."""
    pictures = {f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in ("jpeg", "png", "webp")}
    content = pictures | {"application/json": {"schema": {"type": "object"}}}
    answer = {"description": "The picture, or JSON with base64 or addresses", "content": content, "headers": WEIGHED}
    return _describe(spec, "run", f"{spec.title}: run and wait", answer, REFUSALS | WAITING)


def describe_v2(spec: ModelSpec) -> dict[str, Any]:
    """Arguments of FastAPI's `add_api_route` for a model's queued operation."""
    answer = {"description": "The request is queued", "content": {"application/json": {"schema": SUBMITTED}}}
    return _describe(spec, "submit", f"{spec.title}: submit to the queue", answer, REFUSALS)


def _describe(
    spec: ModelSpec, verb: str, summary: str, answer: dict[str, Any], refusals: dict[int, str]
) -> dict[str, Any]:
    schema = spec.json_schema()
    body = {"schema": schema, "examples": {"example": {"value": dict(spec.example)}}}
    error = {"application/json": {"schema": ERROR}}
    responses = {status: {"description": text, "content": error} for status, text in sorted(refusals.items())}
    return {
        "summary": summary,
        "description": spec.description,
        "operation_id": f"{verb}-{spec.slug}",
        "responses": {200: answer, **responses},
        "openapi_extra": {
            "parameters": [
                {"name": name, "in": "header", "required": False, "description": words, "schema": {"type": "string"}}
                for name, words in HEADERS.items()
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": body, "multipart/form-data": {"schema": schema}},
            },
            "security": SECURITY,
        },
    }


def add_security(schema: dict[str, Any]) -> dict[str, Any]:
    """Name the two ways to send a key."""
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    schema.setdefault("components", {})["securitySchemes"] = schemes
    return schema
