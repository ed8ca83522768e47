"""A claimed request's way: renewed, ended, retried or handed back; `end` is the only place where a request ends.

Every function that names an attempt is fenced: a late worker changes nothing. A lease that ran out stays its holder's
until another worker claims the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    update,
)

from tintype.core import LoggedFile, Result
from tintype.errors import KINDS, gave_up
from tintype.store.accounts.keys import NO_CEILINGS, Ceilings, Key
from tintype.store.billing import ledger
from tintype.store.billing.ledger import dollars
from tintype.store.db import measurements
from tintype.store.db.conditions import ATTEMPTS, MOMENT, PROCESSING, QUEUED, lapsed
from tintype.store.db.database import after, now
from tintype.store.db.notify import Channel, notify
from tintype.store.db.records import CANCELLED, Failure, LeaseStatus, Progress, Request, Status
from tintype.store.db.statements import Statement
from tintype.store.db.tables import inputs, journal, requests, unended
from tintype.store.queue import image_log
from tintype.store.webhooks.events import HAS_WEBHOOKS, enqueue_deliveries

log = structlog.get_logger()

columns = requests.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How this server runs its queue; each is a setting, but for `discard`."""

    #: Seconds that a claim lasts unless renewed.
    lease: float
    #: Seconds until a record expires after its request's end.
    retention: float
    #: Seconds until a finished image's request is no longer found by the image's name.
    image_ttl: float = 0.0
    #: Attempts after which a request is given up, those handed back not counted.
    max_attempts: int = 3
    #: Seconds for which a new request is left to a worker that has its model loaded, and room.
    warm_wait: float = 0.0
    ceilings: Ceilings = NO_CEILINGS
    #: Bytes that input images from the bodies of one account's requests may take until those end.
    input_quota: int = 2**30
    #: Whether finished images are noted in the log of images.
    logs_images: bool = True
    #: Called with the name of an input file whose request has ended; what it can't delete, a cleanup does later.
    discard: Callable[[str], None] = lambda _name: None


#: This moment, once per statement: PostgreSQL would ask the clock for every row.
NOW = select(now()).scalar_subquery()
#: Whether the deadline of a queued request has passed: the next one is the first in its index.
LATE = func.coalesce(select(func.min(columns.cancel_at)).where(QUEUED).scalar_subquery() <= NOW, false())
#: A request and its attempt's number.
Held = tuple[str, int]


def is_cancelled(moment: ColumnElement[float] | float) -> ColumnElement[bool]:
    """Requests that are cancelled or past their deadline."""
    return or_(columns.cancel_requested, func.coalesce(columns.cancel_at <= moment, false()))


# Statements, built once: building one takes longer than running it.

OWN = columns.id == bindparam("own")
#: The fence: the request, if it is this attempt that runs it.
MINE = and_(OWN, columns.attempt == bindparam("held_as"), PROCESSING)
HELD = Statement(select(requests, now().label("moment")).where(MINE))
#: What a worker runs of these requests, as it was committed last.
RUNNING = select(columns.id, columns.attempt, is_cancelled(now()).label("cancelled")).where(
    columns.id.in_(bindparam("held", expanding=True)), PROCESSING
)
#: Those that no other transaction is about to change. Waiting for such a row with others in hand, while the changes of
#: a group lock one row after the other, would be a deadlock, and the next renewal comes soon.
RENEWABLE = RUNNING.order_by(columns.id).with_for_update(key_share=True, skip_locked=True)
#: Progress and lease of one request; executed for all of a worker's in one call.
RENEW = (
    update(requests)
    .where(OWN)
    .values(step=bindparam("at"), steps=bindparam("of"), lease_until=now() + bindparam("lease", type_=Double()))
)
REQUEUE = Statement(
    update(requests)
    .where(OWN)
    .values(status=Status.QUEUED, worker=None, lease_until=None, started_at=None, step=0, hand_backs=bindparam("backs"))
)
#: The end of a request that has not ended otherwise; it is returned, with what else has to change.
_END = (
    update(requests)
    .values(ended_at=now(), expires_at=now() + bindparam("kept_for", type_=Double()), lease_until=None)
    .returning(requests, exists().where(inputs.c.request_id == bindparam("own")), HAS_WEBHOOKS)
)
_STEPS = func.coalesce(bindparam("counted", type_=Integer()), columns.steps)
COMPLETE = Statement(
    _END.where(MINE, not_(is_cancelled(now()))).values(
        status=Status.COMPLETED,
        result=bindparam("made", type_=columns.result.type),
        cost=ledger.COST,
        step=_STEPS,
        steps=_STEPS,
    )
)
FAIL = Statement(
    _END.where(OWN, columns.attempt == bindparam("held_as"), columns.status == bindparam("was")).values(
        status=Status.FAILED, error=bindparam("why"), error_status=bindparam("answer"), error_kind=bindparam("kind")
    )
)
INPUT = Statement(
    delete(inputs)
    .where(inputs.c.request_id == bindparam("own"))
    .returning(inputs.c.name, inputs.c.further, inputs.c.size)
)


def renew(tx: Connection, progress: Sequence[Progress], rules: Rules) -> dict[str, LeaseStatus]:
    """Write the progress of all of a worker's requests and extend their leases; a status for each, by id.

    One that is being changed at this very moment is neither waited for nor renewed.
    """
    named = {one.id: one for one in progress}
    free = {row.id: row for row in tx.execute(RENEWABLE, {"held": [*named]})}
    mine = [one for one in progress if one.id in free and free[one.id].attempt == one.attempt]
    if mine:
        tx.execute(RENEW, [{"own": one.id, "at": one.step, "of": one.steps, "lease": rules.lease} for one in mine])
    others = [id for id in named if id not in free]
    known = [*free.values(), *(tx.execute(RUNNING, {"held": others}) if others else ())]
    lost = dict.fromkeys(named, LeaseStatus.LOST)
    kept = {
        row.id: LeaseStatus.CANCEL if row.cancelled else LeaseStatus.KEEP
        for row in known
        if row.attempt == named[row.id].attempt
    }
    return lost | kept


def complete(
    tx: Connection,
    id: str,
    attempt: int,
    result: Result,
    rules: Rules,
    steps: int | None = None,
    files: Sequence[LoggedFile] = (),
) -> bool:
    """End the request as COMPLETED and charge it; `steps` is how many there were, if that was not known.

    files: what is noted in the log of images.
    False when it is no longer this attempt's, or was cancelled meanwhile: then it ends FAILED, uncharged.
    """
    made = {"made": result.to_json(), "seconds": result.inference_time, "counted": steps}
    ended = _end(tx, COMPLETE, rules, own=id, held_as=attempt, **made)
    if ended is not None:
        if rules.logs_images:
            image_log.add(tx, ended, files)
        return True
    fail(tx, id, attempt, CANCELLED, rules)  # if it is still this attempt's
    return False


def fail(tx: Connection, id: str, attempt: int, failure: Failure, rules: Rules) -> bool:
    """End the request as FAILED, uncharged; False when it is no longer this attempt's."""
    return _fail(tx, id, attempt, Status.PROCESSING, failure, rules) is not None


def retry(tx: Connection, id: str, attempt: int, error: str, rules: Rules) -> bool:
    """Queue the request again after a failure that may not repeat; FAILED with this error after the last attempt.

    False when it is no longer this attempt's.
    """
    request = held_by(tx, id, attempt)
    if request is None:
        return False
    if request.attempts >= rules.max_attempts and not request.lease.cancel_requested:
        return fail(tx, id, attempt, Failure(error, 500), rules)
    _requeue(tx, request, "it failed", rules)
    return True


def hand_back(tx: Connection, id: str, attempt: int, rules: Rules) -> bool:
    """Queue the request again without counting the attempt: its worker stops or has no room; nothing went wrong.

    False when it is no longer this attempt's.
    """
    request = held_by(tx, id, attempt)
    if request is not None:
        _requeue(tx, request, "handed back", rules, hand_backs=1)
    return request is not None


def cancel(tx: Connection, request: Request, rules: Rules) -> Request:
    """End a queued request; have a running one's worker stop it, by its next renewal; leave an ended one.

    Returns the request after that.
    """
    if request.ended:
        return request
    if request.status is Status.PROCESSING:
        return change(tx, request.id, cancel_requested=True)
    return end(tx, request, CANCELLED, rules)


def give_up(tx: Connection, moment: float, rules: Rules) -> None:
    """End the requests that no worker will finish."""
    rows = tx.execute(_lost(rules.max_attempts), {"moment": moment}).all()
    for request in (Request.of(row, moment) for row in rows):
        lost = CANCELLED if request.lease.cancel_requested else Failure(gave_up(rules.max_attempts), 500)
        end(tx, request, lost, rules)


def end(tx: Connection, request: Request, failure: Failure, rules: Rules) -> Request:
    """End a request that was read in this transaction, and has not ended, as FAILED, uncharged; it after that."""
    ended = _fail(tx, request.id, request.attempt, request.status, failure, rules)
    return request if ended is None else ended


def _fail(tx: Connection, id: str, attempt: int, was: Status, failure: Failure, rules: Rules) -> Request | None:
    why = {"why": failure.error, "answer": failure.status, "kind": failure.kind}
    return _end(tx, FAIL, rules, own=id, held_as=attempt, was=was, **why)


def _end(tx: Connection, statement: Statement, rules: Rules, **which: object) -> Request | None:
    """Its state, its account's money, its webhooks and what is counted change together; None where nothing does."""
    row = statement.first(tx, {**which, "kept_for": rules.retention})
    if row is None:
        return None
    *values, has_input, has_webhooks = row
    ended = Request.of(values)
    if ended.failure is None:
        ledger.settle(tx, ended)
    else:
        ledger.release(tx, ended)
    if has_input:
        _release_input(tx, ended, rules)
    if has_webhooks:
        enqueue_deliveries(tx, ended, ended.timing.ended_at or 0.0)
    measurements.note_end(tx, ended, rules.image_ttl)
    notify(tx, Channel.ENDED, ended.id)
    log_when_committed(tx, "ended", ended, **_ended_facts(ended))
    return ended


def _release_input(tx: Connection, ended: Request, rules: Rules) -> None:
    row = INPUT.one(tx, {"own": ended.id})
    if row.size:  # of an upload or output among them, there is no such file
        for name in (row.name, *(row.further or "").split()):
            after(tx, partial(rules.discard, name))


def change(tx: Connection, id: str, **values: Any) -> Request:
    """Write columns of a request; the request after that."""
    return Request.of(tx.execute(update(requests).where(columns.id == id).values(values).returning(requests)).one())


def held_by(tx: Connection, id: str, attempt: int) -> Request | None:
    """The request, if it is this attempt that runs it."""
    row = HELD.first(tx, {"own": id, "held_as": attempt})
    return None if row is None else Request.of(row[:-1], row.moment)


def _requeue(tx: Connection, request: Request, why: str, rules: Rules, hand_backs: int = 0) -> None:
    if request.lease.cancel_requested:
        end(tx, request, CANCELLED, rules)
        return
    REQUEUE.run(tx, {"own": request.id, "backs": request.lease.hand_backs + hand_backs})
    log_when_committed(tx, "queued again", request, why=why)
    notify(tx, Channel.claimable(test=request.test))


def overdue(view: Connection, rules: Rules) -> tuple[bool, bool, bool]:
    """Whether there is anything for `give_up`; whether there may be later: any request that has not ended.

    And whether any end is in the journal.
    """
    lost, unended, unfolded = _any_lost(rules.max_attempts).one(view, {})
    return lost, unended, unfolded


@lru_cache(16)
def _lost(max_attempts: int) -> Select[Any]:
    """The requests that no worker will finish, at MOMENT."""
    return select(requests).where(_no_worker_will_finish(max_attempts, MOMENT)).order_by(columns.id)


@lru_cache(16)
def _any_lost(max_attempts: int) -> Statement:
    lost = or_(LATE, exists().where(_left_behind(max_attempts, NOW)))
    return Statement(select(lost, exists(select(unended.c.key_id)), exists().select_from(journal)))


def _no_worker_will_finish(max_attempts: int, moment: ColumnElement[float]) -> ColumnElement[bool]:
    """Queued or left by a dead worker, and cancelled, past its deadline or out of attempts."""
    # Apart, so that a long queue isn't read: a queued request is neither cancelled nor out of attempts, since `cancel`
    # and `retry` end it then.
    return or_(and_(QUEUED, columns.cancel_at <= moment), _left_behind(max_attempts, moment))


def _left_behind(max_attempts: int, moment: ColumnElement[float]) -> ColumnElement[bool]:
    return and_(lapsed(moment), or_(is_cancelled(moment), max_attempts <= ATTEMPTS))


# In the log: a line when a request is queued, claimed, queued again, ended; each once that is committed. It says whose
# the request is and what it cost, never what it asks for.


def log_queued(request: Request, key: Key, client: str, **private: str) -> None:
    """It is committed: a call from this address, with this key, asked for it."""
    log.info("queued", **_facts(request), key=key.begins, client=client, pictures=request.images, **private)


def log_when_committed(tx: Connection, event: str, request: Request, **more: Any) -> None:
    """Log what happened to a request, once the transaction is committed."""
    after(tx, partial(log.info, event, **_facts(request), **more))


def _facts(request: Request) -> dict[str, Any]:
    """Whose it is; its worker, and for how many seconds it waited and ran. One that was never claimed only waited."""
    facts = {"request": request.id, "account": request.account_id, "key_id": request.key_id, "model": request.slug}
    test = {"test": True} if request.test else {}
    timing = request.timing
    claimed = timing.started_at is not None
    claim = {"worker": request.lease.worker, "attempt": request.attempt} if claimed else {}
    moments = [one for one in (timing.submitted_at, timing.started_at, timing.ended_at) if one is not None]
    seconds = [round(max(0.0, end - begin), 3) for begin, end in pairwise(moments)]
    return facts | test | claim | dict(zip(("waited", "ran"), seconds, strict=False))


def _ended_facts(request: Request) -> dict[str, Any]:
    """Its cost or, by the names of errors.py, its failure; words of errors may repeat prompts."""
    facts: dict[str, Any] = {"outcome": request.outcome}
    if request.failure is None:
        facts["cost"] = dollars(request.billing.cost or 0)
        if request.result is not None and request.result.cold_start:
            facts["cold_start"] = request.result.cold_start
    else:
        facts["status"] = request.failure.status
        if kind := KINDS.get(request.failure.kind or ""):
            facts["error"] = kind.__name__
    if request.outcome == "cancelled":
        deadline, ended_at = request.timing.cancel_at, request.timing.ended_at or 0
        late = not request.lease.cancel_requested and deadline is not None and ended_at >= deadline
        facts["by"] = "deadline" if late else "caller"
    return facts
