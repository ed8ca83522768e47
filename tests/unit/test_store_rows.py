"""Rows of `requests` are read by the places of their columns: each is what the table has there."""

from __future__ import annotations

from tintype.core import Callback, Result
from tintype.store.db.records import Billing, Failure, Lease, Request, RequestMetadata, Timing
from tintype.store.db.tables import requests

#: Where the attribute's name is not the column's.
RENAMED = {"stored_generation": "generation", "images": "pictures", "speed_key": "pace"}
CALLBACK = Callback("https://a.example/", ("start",), "v")
RESULT = {"pictures": [], "format": "png", "seed": 7, "inference_time": 1.5}


def test_each_column_is_where_it_belongs() -> None:
    row = {column.name: column.name for column in requests.c}
    row |= {"result": RESULT, "cancel_at": 9.0, "callback": CALLBACK.to_json()}
    request = Request.of([*row.values()])
    own = {name: getattr(request, name) for name in Request.__annotations__}
    records = {name: own.pop(name) for name in ("timing", "lease", "billing", "metadata", "result", "failure")}
    assert own.pop("allowance") is own.pop("remaining") is None
    assert own == {name: RENAMED.get(name, name) for name in own}
    assert records == {
        "timing": Timing("submitted_at", "started_at", "ended_at", "expires_at", "due_at", 9.0, "watched_until"),
        "lease": Lease("worker", "lease_until", "hand_backs", "cancel_requested"),
        "billing": Billing("price", "rate", "cost"),
        "metadata": RequestMetadata(
            **{name: name for name in RequestMetadata.__annotations__} | {"callback": CALLBACK}
        ),
        "result": Result.from_json(RESULT),
        "failure": Failure("error", "error_status", "error_kind"),
    }
    calm, late = (Request.of([*(row | {"cancel_requested": False}).values()], moment) for moment in (8.9, 9.0))
    assert (calm.lease.cancel_requested, late.lease.cancel_requested) == (False, True)
