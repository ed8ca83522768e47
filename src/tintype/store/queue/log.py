"""A request's life in the log: a line when it is queued, claimed, queued again, ended; each once that is committed.

Who may read the log learns whose a request is and what it cost, never what it asks for.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from tintype.errors import KINDS
from tintype.store.accounts.keys import Key
from tintype.store.billing.money import dollars
from tintype.store.db.database import after
from tintype.store.db.records import Request
from tintype.store.ops.time_series import outcome

log = structlog.get_logger()


def queued(request: Request, key: Key, client: str, **private: str) -> None:
    """It is committed: a call from this address, with this key, asked for it."""
    log.info("queued", **_whose(request), key=key.begins, client=client, pictures=request.pictures, **private)


def claimed(tx: Connection, request: Request, lost_by: str | None) -> None:
    """lost_by: the worker whose lease on it ran out, where there was one."""
    lost = {"lost_by": lost_by} if lost_by else {}
    _tell(tx, "claimed", request, **_work(request), **lost)


def queued_again(tx: Connection, request: Request, why: str) -> None:
    """The request as it was in the hands of the worker that did not end it."""
    _tell(tx, "queued again", request, **_work(request), why=why)


def ended(tx: Connection, request: Request) -> None:
    """However it did: drawn, failed, refused, cancelled."""
    _tell(tx, "ended", request, **_work(request), outcome=outcome(request), **_end(request))


def _tell(tx: Connection, event: str, request: Request, **about: Any) -> None:
    after(tx, partial(log.info, event, **_whose(request), **about))


def _whose(request: Request) -> dict[str, Any]:
    whose = {"request": request.id, "account": request.account_id, "key_id": request.key_id, "model": request.slug}
    return whose | ({"test": True} if request.test else {})


def _work(request: Request) -> dict[str, Any]:
    """Who has or had it, and for how many seconds it waited and ran; of what nobody claimed, that it waited."""
    if request.started_at is None:
        return {"waited": _seconds(request.submitted_at, request.ended_at)}
    hands = {"worker": request.worker, "attempt": request.attempt}
    waited = _seconds(request.submitted_at, request.started_at)
    ran = {} if request.ended_at is None else {"ran": _seconds(request.started_at, request.ended_at)}
    return {**hands, "waited": waited, **ran}


def _end(request: Request) -> dict[str, Any]:
    """What it cost or, by the names of errors.py, why it failed; words of errors may repeat what was sent."""
    if request.error_status is None:
        loaded = (request.result or {}).get("cold_start")
        return {"cost": dollars(request.cost or 0)} | ({"cold_start": loaded} if loaded else {})
    kind = KINDS.get(request.error_kind or "")
    return {"status": request.error_status} | ({"error": kind.__name__} if kind else {}) | _cancelled_by(request)


def _cancelled_by(request: Request) -> dict[str, str]:
    if outcome(request) != "cancelled":
        return {}
    overdue = not request.cancel_requested and request.cancel_at is not None
    return {"by": "deadline" if overdue and (request.ended_at or 0) >= (request.cancel_at or 0) else "caller"}


def _seconds(begin: float, end: float | None) -> float:
    return round(max(0.0, (begin if end is None else end) - begin), 3)
