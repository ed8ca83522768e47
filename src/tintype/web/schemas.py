"""The shapes of answers, as `/openapi.json` has them."""

from __future__ import annotations

from typing import Any

from tintype.catalog.builtin import BUILTIN
from tintype.store.db.records import PreloadState

Schema = dict[str, Any]

ID: Schema = {"type": "string", "format": "uuid"}
URL: Schema = {"type": "string", "format": "uri"}
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}


def shape(optional: dict[str, Schema] | None = None, **required: Schema) -> Schema:
    """An object with these properties, and perhaps others."""
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def or_null(schema: Schema) -> Schema:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


#: The states of a request, and what each means to its caller.
STATES = {
    "QUEUED": "Accepted, waiting for a worker",
    "PROCESSING": "Running on a worker",
    "COMPLETED": "Done: the pictures are ready, and paid",
    "FAILED": "Failed, refused or cancelled: the error says why, and nothing was charged",
}
STATE: Schema = {"enum": list(STATES), "description": "; ".join(": ".join(state) for state in STATES.items())}

ERROR = shape(error=TEXT, error_description=TEXT, status_code=WHOLE)
SUBMITTED = shape(request_id=ID, status=STATE, poll_url=URL, status_url=URL, response_url=URL)
FAILED = shape(
    status={"const": "FAILED"}, request_id=ID, error=TEXT, error_description=TEXT, metrics={"type": "object"}
)
PROGRESS = {"progress": {"type": "number", "minimum": 0, "maximum": 1}, "step": WHOLE, "steps": WHOLE}
RUNNING = shape(
    {"metrics": {"type": "object"}},
    status={"enum": ["QUEUED", "PROCESSING"]},
    request_id=ID,
    status_url=URL,
    response_url=URL,
    queue_position=or_null(WHOLE),
    eta=or_null(NUMBER),
    **PROGRESS,
)
DONE = shape(status={"const": "COMPLETED"}, request_id=ID, metrics=shape(inference_time=NUMBER), **PROGRESS)
IMAGE = shape(url=URL, content_type=TEXT, file_name=TEXT, file_size=TEXT, seed=TEXT)
COSTS = shape(cost=NUMBER, remaining_credits=NUMBER, inference_time=NUMBER, queue_time=NUMBER, total_time=NUMBER)
RESULT = shape(
    {
        "prompt": TEXT,
        "error": {"type": "null"},
        "recipe": {"type": "object"},
        "warnings": {"type": "array", "items": TEXT},
    },
    status={"const": "COMPLETED"},
    request_id=ID,
    output=TEXT,
    images={"type": "array", "items": IMAGE, "minItems": 1},
    seed=TEXT,
    metrics=COSTS,
)
WARMTH = shape(
    {"mode": TEXT},
    slug=TEXT,
    state={"enum": list(map(str, PreloadState)), "description": "WARM once every worker has loaded it"},
    workers={
        "type": "array",
        "items": shape(
            device=TEXT, state={"enum": list(map(str, PreloadState))}, seconds=or_null(NUMBER), error=or_null(TEXT)
        ),
    },
)
READINESS = shape(
    {"error": TEXT, "error_description": TEXT, "status_code": WHOLE},
    ready=FLAG,
    worker=or_null(FLAG),
    database=FLAG,
    storage=FLAG,
    stopping=FLAG,
    paused=or_null(FLAG),
)
PAUSED = shape(paused={"type": "boolean"}, paused_at=or_null(TEXT))
SERVER = shape(
    id=TEXT,
    version=TEXT,
    state={"enum": ["serving", "silent", "stopped"]},
    started_at=TEXT,
    seen_at=TEXT,
)
WORKER = shape(
    id=TEXT,
    version=TEXT,
    device=TEXT,
    state={"enum": ["working", "idle", "paused", "draining", "drained", "silent"]},
    paused=or_null(TEXT),
    runs={"type": "array", "items": shape(request_id=TEXT, model=TEXT, pictures=WHOLE, step=WHOLE, steps=WHOLE)},
    models={"type": "array", "items": TEXT},
    memory={"type": "object", "additionalProperties": WHOLE},
    rows=or_null(NUMBER),
    max_rows=WHOLE,
    step_seconds=or_null(NUMBER),
)
QUEUE = shape(
    paused={"type": "boolean"}, paused_at=or_null(TEXT), queued=WHOLE, running=WHOLE, oldest_seconds=or_null(NUMBER)
)
OVERVIEW = shape(
    at=TEXT,
    queue=QUEUE,
    fleet=or_null(shape(wanted=WHOLE, waits=or_null(TEXT))),
    servers={"type": "array", "items": SERVER},
    workers={"type": "array", "items": WORKER},
)
SAMPLE = shape(
    at=TEXT,
    **dict.fromkeys(("queued", "running", "workers", "memory", "device_memory"), or_null(WHOLE)),
    **dict.fromkeys(("fill", "step_seconds", "error_rate"), or_null(NUMBER)),
    **dict.fromkeys(("completed", "failed", "refused", "cancelled", "cold_starts"), WHOLE),
    cold_seconds=NUMBER,
)
SAMPLES = shape(at=TEXT, seconds=WHOLE, samples={"type": "array", "items": SAMPLE})
PAGED = dict.fromkeys(("page", "per_page", "total", "total_pages"), WHOLE)
DEED = shape(
    at=TEXT,
    last_at=TEXT,
    times=WHOLE,
    **dict.fromkeys(("act", "who", "via", "target"), TEXT),
    **dict.fromkeys(("address", "by_account", "by_key", "account"), or_null(TEXT)),
    details={"type": "object"},
)
AUDIT = shape(data={"type": "array", "items": DEED}, **PAGED)
USE = shape(
    account=TEXT,
    name=TEXT,
    mode={"enum": ["live", "test"]},
    part=or_null(TEXT),
    key=or_null(TEXT),
    charged=WHOLE,
    cost=NUMBER,
    uncharged=WHOLE,
    **dict.fromkeys(("completed", "failed"), or_null(WHOLE)),
)
TOTALS = {"total_charged": WHOLE, "total_cost": NUMBER, "total_uncharged": WHOLE}
USED = shape(**{"from": TEXT, "to": TEXT}, data={"type": "array", "items": USE}, **TOTALS, **PAGED)
#: Of answers with pictures in them; the others are set where they are.
WEIGHED = {
    "x-weights": {
        "description": "built-in, where the weights that tintype brings along drew the picture; else absent",
        "schema": {"type": "string", "enum": [BUILTIN]},
    },
    "x-cold-start": {
        "description": "Seconds spent on loading the model for this request, never charged; absent where it was there",
        "schema": NUMBER,
    },
    "x-warning": {
        "description": "What may disappoint, and what the safety check found without blocking it; else absent",
        "schema": {"type": "string"},
    },
    "x-mode": {
        "description": "test, where a test key sent the call; else absent",
        "schema": {"type": "string", "enum": ["test"]},
    },
}
