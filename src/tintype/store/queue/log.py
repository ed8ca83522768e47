"""A request in the log: a line when it is queued, claimed, queued again, ended; each once that is committed.

The log says whose a request is and what it cost, never what it asks for.
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

log = structlog.get_logger()


def queued(request: Request, key: Key, client: str, **private: str) -> None:
    """It is committed: a call from this address, with this key, asked for it."""
    log.info("queued", **_owner(request), key=key.begins, client=client, pictures=request.images, **private)


def claimed(tx: Connection, request: Request, lost_by: str | None) -> None:
    """lost_by: the worker whose lease on it ran out, where there was one."""
    lost = {"lost_by": lost_by} if lost_by else {}
    after(tx, partial(log.info, "claimed", **_owner(request), **_work(request), **lost))


def queued_again(tx: Connection, request: Request, why: str) -> None:
    """The request as it was when its worker did not end it."""
    after(tx, partial(log.info, "queued again", **_owner(request), **_work(request), why=why))


def ended(tx: Connection, request: Request) -> None:
    """Whatever its outcome: its cost or, by the names of errors.py, its failure; words of errors may repeat prompts."""
    if request.failure is None:
        loaded = 0.0 if request.result is None else request.result.cold_start
        end: dict[str, Any] = {"cost": dollars(request.billing.cost or 0)} | ({"cold_start": loaded} if loaded else {})
    else:
        kind = KINDS.get(request.failure.kind or "")
        end = {"status": request.failure.status} | ({"error": kind.__name__} if kind else {})
    if request.outcome == "cancelled":
        deadline, ended_at = request.timing.cancel_at, request.timing.ended_at or 0
        late = not request.lease.cancel_requested and deadline is not None and ended_at >= deadline
        end["by"] = "deadline" if late else "caller"
    after(tx, partial(log.info, "ended", **_owner(request), **_work(request), outcome=request.outcome, **end))


def _owner(request: Request) -> dict[str, Any]:
    owner = {"request": request.id, "account": request.account_id, "key_id": request.key_id, "model": request.slug}
    return owner | ({"test": True} if request.test else {})


def _work(request: Request) -> dict[str, Any]:
    """Its worker, and for how many seconds it waited and ran; of one that was never claimed, how long it waited."""
    timing = request.timing
    if timing.started_at is None:
        return {"waited": _seconds(timing.submitted_at, timing.ended_at)}
    claim = {"worker": request.lease.worker, "attempt": request.attempt}
    waited = _seconds(timing.submitted_at, timing.started_at)
    return {**claim, "waited": waited} | (
        {} if timing.ended_at is None else {"ran": _seconds(timing.started_at, timing.ended_at)}
    )


def _seconds(begin: float, end: float | None) -> float:
    return round(max(0.0, (begin if end is None else end) - begin), 3)
