"""A claimed request's way: renewed, ended, retried or handed back; `end` is the only place where a request ends.

Every function that names an attempt is fenced: a late worker changes nothing. A lease that ran out stays its holder's
until another worker claims the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, or_, select, update

from tintype.core import Result
from tintype.errors import KINDS, gave_up
from tintype.store.accounts.keys import NO_CEILINGS, Ceilings, Key
from tintype.store.billing import ledger
from tintype.store.billing.money import dollars
from tintype.store.db import measurements
from tintype.store.db.conditions import ATTEMPTS, MOMENT, PROCESSING, QUEUED, UNENDED, lapsed
from tintype.store.db.database import after, notify, now, read_clock
from tintype.store.db.records import CANCELLED, Failure, LeaseStatus, Progress, Request, Status
from tintype.store.db.tables import requests
from tintype.store.queue import inputs
from tintype.store.webhooks.events import enqueue_deliveries

log = structlog.get_logger()

columns = requests.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How this server runs its queue; each is a setting, but for `discard`."""

    #: Seconds that a claim lasts unless renewed.
    lease: float
    #: Seconds that a record is kept after its end.
    retention: float
    #: Attempts after which a request is given up, those handed back not counted.
    max_attempts: int = 3
    #: Seconds for which a new request is left to a worker that has its model loaded, and room.
    warm_wait: float = 0.0
    ceilings: Ceilings = NO_CEILINGS
    #: Bytes that input images from the bodies of one account's requests may take until those end.
    input_quota: int = 2**30
    #: Called with the name of an input file whose request has ended; what it can't delete, a cleanup does later.
    discard: Callable[[str], None] = lambda _name: None


#: A request and its attempt's number.
Held = tuple[str, int]
#: Progress and lease of one request; executed for all of a worker's in one call.
RENEW = update(requests).where(columns.id == bindparam("own")).values(step=bindparam("at"), steps=bindparam("of"))


def renew(tx: Connection, progress: Sequence[Progress], rules: Rules) -> dict[str, LeaseStatus]:
    """Write the progress of all of a worker's requests and extend their leases; a status for each, by id."""
    moment = read_clock(tx)
    # Locked in one order, so that two workers that renew the same requests don't deadlock.
    fence = select(columns.id, columns.attempt, columns.cancel_requested, columns.cancel_at)
    held = fence.where(columns.id.in_([one.id for one in progress]), PROCESSING).order_by(columns.id).with_for_update()
    running = {row.id: row for row in tx.execute(held)}
    mine = [one for one in progress if one.id in running and running[one.id].attempt == one.attempt]
    if mine:
        rows = [{"own": one.id, "at": one.step, "of": one.steps} for one in mine]
        tx.execute(RENEW.values(lease_until=moment + rules.lease), rows)
    lost = {one.id: LeaseStatus.LOST for one in progress}
    return lost | {one.id: _lease_status(running[one.id], moment) for one in mine}


def _lease_status(row: Any, moment: float) -> LeaseStatus:
    overdue = row.cancel_at is not None and row.cancel_at <= moment
    return LeaseStatus.CANCEL if row.cancel_requested or overdue else LeaseStatus.KEEP


def cancelled(view: Connection, ids: Sequence[str]) -> set[str]:
    """Those of them that are cancelled or past their deadline: to learn of it before the next renewal."""
    left = or_(columns.cancel_requested, columns.cancel_at <= now())
    return set(view.scalars(select(columns.id).where(columns.id.in_(ids), left)))


def complete(tx: Connection, id: str, attempt: int, result: Result, rules: Rules, steps: int | None = None) -> bool:
    """End the request as COMPLETED and charge it; `steps` is how many there were, if that was not known.

    False when it is no longer this attempt's, or was cancelled meanwhile: then it ends FAILED, uncharged.
    """
    request = held_by(tx, id, attempt)
    if request is None:
        return False
    counted = request if steps is None else replace(request, steps=steps)
    end(tx, counted, CANCELLED if request.lease.cancel_requested else result, rules)
    return not request.lease.cancel_requested


def fail(tx: Connection, id: str, attempt: int, failure: Failure, rules: Rules) -> bool:
    """End the request as FAILED, uncharged; False when it is no longer this attempt's."""
    request = held_by(tx, id, attempt)
    if request is not None:
        end(tx, request, failure, rules)
    return request is not None


def retry(tx: Connection, id: str, attempt: int, error: str, rules: Rules) -> bool:
    """Queue the request again after a failure that may not repeat; FAILED with this error after the last attempt.

    False when it is no longer this attempt's.
    """
    request = held_by(tx, id, attempt)
    if request is None:
        return False
    if request.attempts.used_up(rules.max_attempts) and not request.lease.cancel_requested:
        end(tx, request, Failure(error, 500), rules)
    else:
        _requeue(tx, request, "it failed", rules)
    return True


def hand_back(tx: Connection, id: str, attempt: int, rules: Rules) -> bool:
    """Queue the request again without counting the attempt: its worker stops or has no room; nothing went wrong.

    False when it is no longer this attempt's.
    """
    request = held_by(tx, id, attempt)
    if request is not None:
        _requeue(tx, request, "handed back", rules, hand_backs=request.lease.hand_backs + 1)
    return request is not None


def cancel(tx: Connection, request: Request, rules: Rules) -> None:
    """End a queued request; have a running one's worker stop it, by its next renewal; leave an ended one."""
    if request.status is Status.QUEUED:
        end(tx, request, CANCELLED, rules)
    elif not request.ended:
        change(tx, request.id, cancel_requested=True)


def give_up(tx: Connection, moment: float, rules: Rules) -> None:
    """End the requests that no worker will finish."""
    failure = Failure(gave_up(rules.max_attempts), 500)
    rows = tx.execute(_lost(rules.max_attempts), {"moment": moment}).all()
    for request in (Request.of(row).at(moment) for row in rows):
        end(tx, request, CANCELLED if request.lease.cancel_requested else failure, rules)


def end(tx: Connection, request: Request, outcome: Result | Failure, rules: Rules) -> None:
    """End a request: its state, its account's money, its webhooks and the counters change together."""
    moment = read_clock(tx)
    values: dict[str, Any] = {"ended_at": moment, "expires_at": moment + rules.retention, "lease_until": None}
    if isinstance(outcome, Failure):
        ledger.release(tx, request)
        why = {"error": outcome.error, "error_status": outcome.status, "error_kind": outcome.kind}
        values |= {"status": Status.FAILED, **why}
    else:
        cost = ledger.settle(tx, request, outcome.inference_time)
        values |= {"status": Status.COMPLETED, "result": outcome.to_json(), "cost": cost}
        values |= {"step": request.steps, "steps": request.steps}
        inputs.note_outputs(tx, outcome, values["expires_at"])
    ended = change(tx, request.id, **values)
    if unneeded := inputs.release(tx, request.id):
        after(tx, partial(rules.discard, unneeded))
    enqueue_deliveries(tx, ended, moment)
    measurements.count_end(tx, ended, moment)
    _log_end(tx, ended)
    measurements.learn(tx, ended)


def change(tx: Connection, id: str, **values: Any) -> Request:
    """Write columns of a request; the request after that."""
    return Request.of(tx.execute(update(requests).where(columns.id == id).values(values).returning(requests)).one())


def held_by(tx: Connection, id: str, attempt: int) -> Request | None:
    """The fence: the request, if it is this attempt that runs it."""
    mine = select(requests).where(columns.id == id, columns.attempt == attempt, PROCESSING)
    row = tx.execute(mine).one_or_none()
    return None if row is None else Request.of(row).at(read_clock(tx))


def _requeue(tx: Connection, request: Request, why: str, rules: Rules, **changes: object) -> None:
    if request.lease.cancel_requested:
        end(tx, request, CANCELLED, rules)
        return
    free = {"status": Status.QUEUED, "worker": None, "lease_until": None, "started_at": None, "step": 0}
    change(tx, request.id, **free, **changes)
    _log_requeued(tx, request, why)
    notify(tx)


def overdue(view: Connection, rules: Rules) -> tuple[bool, bool]:
    """Whether there is anything for `give_up`, and whether there may be later: any request that has not ended."""
    lost, unended = view.execute(_any_lost(rules.max_attempts)).one()
    return lost, unended


@lru_cache(16)
def _lost(max_attempts: int) -> Select[Any]:
    """The requests that no worker will finish, at MOMENT."""
    return select(requests).where(_no_worker_will_finish(max_attempts, MOMENT)).order_by(columns.id)


@lru_cache(16)
def _any_lost(max_attempts: int) -> Select[bool, bool]:
    lost = _no_worker_will_finish(max_attempts, now())
    return select(exists().where(lost), exists().where(UNENDED))


def _no_worker_will_finish(max_attempts: int, moment: ColumnElement[float]) -> ColumnElement[bool]:
    """Queued or left by a dead worker, and cancelled, past its deadline or out of attempts."""
    overdue = columns.cancel_at <= moment
    # Apart, so that a long queue isn't read: a queued request is neither cancelled nor out of attempts, since `cancel`
    # and `retry` end it then.
    left_behind = and_(lapsed(moment), or_(columns.cancel_requested, ATTEMPTS.used_up(max_attempts), overdue))
    return or_(and_(QUEUED, overdue), left_behind)


# In the log: a line when a request is queued, claimed, queued again, ended; each once that is committed. It says whose
# the request is and what it cost, never what it asks for.


def log_queued(request: Request, key: Key, client: str, **private: str) -> None:
    """It is committed: a call from this address, with this key, asked for it."""
    log.info("queued", **_owner(request), key=key.begins, client=client, pictures=request.images, **private)


def log_claimed(tx: Connection, request: Request, lost_by: str | None) -> None:
    """lost_by: the worker whose lease on it ran out, where there was one."""
    lost = {"lost_by": lost_by} if lost_by else {}
    after(tx, partial(log.info, "claimed", **_owner(request), **_work(request), **lost))


def _log_requeued(tx: Connection, request: Request, why: str) -> None:
    """The request as it was when its worker did not end it."""
    after(tx, partial(log.info, "queued again", **_owner(request), **_work(request), why=why))


def _log_end(tx: Connection, request: Request) -> None:
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
