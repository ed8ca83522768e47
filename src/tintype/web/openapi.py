"""What `/openapi.json` says of the operations; of a model's, from the catalogue."""

from __future__ import annotations

from typing import Any

from tintype.catalog.spec import ModelSpec
from tintype.errors import UNFORESEEN
from tintype.testmode.scenario import table
from tintype.web.schemas import DONE, ERROR, FAILED, RESULT, RUNNING, SUBMITTED, WARMTH, WEIGHED, Schema, shape

ABOUT = f"""Image generation on your own machine, behind a commercial host's public API.

## Test mode

A key that begins with `SG_test` (`tintype keys create --test`) costs nothing and needs no worker: a stand-in makes a
picture that is marked as a test. A prompt that begins with `test:` says what is to happen instead; words can be
combined, each kind once.

{table()}
"""
#: Every refusal's status, and what it means at most of the addresses.
REFUSALS = {
    400: "Bad parameters, body or headers, or an input picture that can't be used",
    401: "Missing, unknown, revoked or expired key",
    403: "The key may not do this",
    404: "Unknown, expired or another account's",
    406: "Out of credits",
    413: "Body too large",
    415: "Neither JSON nor a form, or compressed",
    422: "This Idempotency-Key was sent with another body",
    429: "Too many at once or per minute, or the queue is full; Retry-After says when to come back",
    500: UNFORESEEN,
    503: "The database can't be reached",
}
WAITING = {
    409: "The request sent with this Idempotency-Key still runs",
    502: "No worker is running; the request stays queued: request_id, status_url and response_url say where",
    503: "The database can't be reached, or this server is being restarted; nothing was charged",
    504: "The wait ran out, or this server is being restarted; the request goes on, where 502's fields say",
    507: "The model and a picture of this size don't fit into this server's memory",
}
REFUSED_CONTENT = "The safety check refused the content, or this Idempotency-Key was sent with another body"
#: A model's operations exist, so that nothing is unknown there.
ASKING = {status: text for status, text in REFUSALS.items() if status != 404} | {422: REFUSED_CONTENT}
#: Of any call with a body, beside those of every call.
WITH_BODY = (400, 403, 413, 415, 429)
#: Headers that a model's operations understand, and what they are for.
HEADERS = {
    "Idempotency-Key": "Makes it safe to send the call again: it is run and charged once, and answered alike",
    "Cancel-After": "Seconds after which the request is cancelled, unless it has completed",
    "X-Webhook-URL": "An address that is told when the request has ended",
}
SECURITY: list[dict[str, list[str]]] = [{"key": []}, {"bearer": []}]


def refusals(*statuses: int) -> dict[int | str, Any]:
    """The `responses` of an operation that is refused in these ways, or because this server is at fault."""
    return {status: _refusal(REFUSALS[status]) for status in sorted({*statuses, 500, 503})}


def describe_call(summary: str, *statuses: int) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that needs a key and no body, with how else it may be refused."""
    return {"summary": summary, "responses": refusals(401, *statuses), "openapi_extra": {"security": SECURITY}}


def describe_answer(schema: Schema, words: dict[str, Any]) -> dict[str, Any]:
    """The same arguments, with the shape of the good answer."""
    answer = {"description": "As asked", "content": {"application/json": {"schema": schema}}}
    return words | {"responses": {200: answer, **words["responses"]}}


def describe_query(summary: str, parameters: list[dict[str, Any]], *statuses: int) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that needs a key and reads these query parameters."""
    words = describe_call(summary, *statuses)
    return words | {"openapi_extra": {**words["openapi_extra"], "parameters": parameters}}


def describe_body(
    summary: str,
    properties: dict[str, Any],
    example: dict[str, Any],
    *statuses: int,
    optional: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that needs a key and a JSON object with all these properties."""
    words = describe_call(summary, *WITH_BODY, *statuses)
    content = {"schema": shape(optional, **properties), "example": example}
    body = {"required": True, "content": {"application/json": content}}
    return words | {"openapi_extra": {**words["openapi_extra"], "requestBody": body}}


def describe_warmth(summary: str, status: int, *statuses: int) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that answers `status` with how far a model's loading is."""
    found = {"description": "How far it is", "content": {"application/json": {"schema": WARMTH}}}
    words = describe_call(summary, 404, *statuses)
    return words | {"responses": {status: found, **words["responses"]}}


def describe_state(summary: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that shows how a request stands."""
    return _describe_found(summary, {"oneOf": [RUNNING, DONE]}, {})


def describe_result(summary: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for an operation that shows a request with its pictures."""
    return _describe_found(summary, {"oneOf": [RUNNING, RESULT]}, WEIGHED)


def _describe_found(summary: str, schema: Schema, headers: Schema) -> dict[str, Any]:
    found = {"description": "How it stands", "content": {"application/json": {"schema": schema}}, "headers": headers}
    failed = {
        "description": "The request FAILED, which is not an error of this call",
        "content": {"application/json": {"schema": FAILED}},
    }
    words = describe_call(summary, 400, 404)
    return words | {"responses": {200: found, 422: failed, **words["responses"]}}


def describe_v1(spec: ModelSpec) -> dict[str, Any]:
    """Arguments of FastAPI's `add_api_route` for a model's blocking operation."""
    pictures = {f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in ("jpeg", "png", "webp")}
    content = pictures | {"application/json": {"schema": {"type": "object"}}}
    answer = {"description": "The picture, or JSON with base64 or addresses", "content": content, "headers": WEIGHED}
    return _describe(spec, "run", f"{spec.title}: run and wait", answer, ASKING | WAITING)


def describe_v2(spec: ModelSpec) -> dict[str, Any]:
    """Arguments of FastAPI's `add_api_route` for a model's queued operation."""
    answer = {"description": "The request is queued", "content": {"application/json": {"schema": SUBMITTED}}}
    return _describe(spec, "submit", f"{spec.title}: submit to the queue", answer, ASKING)


def _describe(
    spec: ModelSpec, verb: str, summary: str, answer: dict[str, Any], refusals: dict[int, str]
) -> dict[str, Any]:
    schema = spec.json_schema()
    body = {"schema": schema, "examples": {"example": {"value": dict(spec.example)}}}
    responses = {status: _refusal(text) for status, text in sorted(refusals.items())}
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


def _refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": ERROR}}}


def finish(schema: dict[str, Any]) -> dict[str, Any]:
    """Name the two ways to send a key, and take out the framework's own refusals, which never go out."""
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    components = schema.setdefault("components", {})
    components["securitySchemes"] = schemes
    for name in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(name, None)
    for operation in (operation for methods in schema["paths"].values() for operation in methods.values()):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    return schema
