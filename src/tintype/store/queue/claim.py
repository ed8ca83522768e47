"""Claiming: which request a worker may take next, by the pause, due times and model affinity, in claim order.

Claim order: priority, then round-robin over accounts, then over an account's keys, then FIFO. So an account gets no
larger share of the workers by making keys, and its own programs share what it gets. A turn is a request, however many
images it asks for: `max_queued` bounds images.

All workers may run all requests. Affinity only avoids a second load of a model while a worker that has it loaded could
begin immediately; it is part of the query that a claim makes anyway. A worker that leaves a request to another one by
affinity takes the next in claim order, and the request keeps its place.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Exists,
    FromClause,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from tintype.store.db.audit import record
from tintype.store.db.conditions import ALIVE, ATTEMPTS, MEMORY_BUDGET, MOMENT, PROCESSING, QUEUED, TAKES, lapsed
from tintype.store.db.database import now, read_clock
from tintype.store.db.notify import Channel, notify
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import accounts, api_keys, controls, requests, warmups, workers
from tintype.store.queue.lifecycle import Rules, change, give_up, log_when_committed

columns = requests.c

#: Images in hand with which a worker has no room: a model with more demand than that is worth a second load.
BUSY = 2
PAUSE = controls.c.name == "pause"
#: Keys of the accounts that are passed over; the index of claims has no accounts.
PASSED = select(api_keys.c.id).where(api_keys.c.account_id.in_(bindparam("passed", expanding=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a worker asks for."""

    worker: str
    #: Whether it has nothing else in hand.
    idle: bool
    #: Slugs of the models that it has loaded.
    loaded: frozenset[str] = frozenset()
    #: Accounts that have their share of it already.
    passing_over: Collection[str] = ()
    #: Whether it is the fake worker, which takes the requests of test keys, and no others.
    test: bool = False


def is_claimable(view: Connection, asked: Claim, rules: Rules) -> bool:
    """Whether `claim` would find a request: an empty queue is polled many times a second, without the lock."""
    statement = _poll(asked.worker, asked.loaded, rules.warm_wait, asked.test)
    return bool(view.scalar(statement, {"passed": [*asked.passing_over]}))


def claim(tx: Connection, asked: Claim, rules: Rules) -> Request | None:
    """The next request in claim order, now this worker's; None when there is none, or all are left to others.

    A retry runs alone, so that a request which kills its worker takes no others down: while a retry is first in the
    queue, a worker that isn't idle gets None, and drains.
    """
    moment = read_clock(tx)
    give_up(tx, moment, rules)
    statement = _first(asked.worker, asked.loaded, rules.warm_wait, asked.test)
    row = tx.execute(statement, {"moment": moment, "passed": [*asked.passing_over]}).one_or_none()
    if row is None:
        return None
    found = Request.of(row)
    if found.attempts and not asked.idle:
        return None
    take_turn(tx, found.account_id, found.key_id)
    taken = {"status": Status.PROCESSING, "attempt": columns.attempt + 1, "worker": asked.worker, "step": 0}
    request = change(tx, found.id, **taken, started_at=moment, lease_until=moment + rules.lease)
    # The worker whose lease on it ran out, where there was one.
    lost = {"lost_by": found.lease.worker} if found.lease.worker else {}
    log_when_committed(tx, "claimed", request, **lost)
    return request


def idle_elsewhere(view: Connection, worker: str, needed: int) -> bool:
    """Whether another worker has nothing in hand, and `needed` bytes of memory for weights and activations."""
    running = select(columns.worker).where(PROCESSING)
    free = and_(_others(worker, now()), workers.c.id.not_in(running), float(needed) <= MEMORY_BUDGET)
    return bool(view.scalar(select(exists().where(free))))


# The pause: a row that outlives restarts, for all processes of one database. While it lasts no live request is
# claimable; running ones go on, new ones wait, and test keys' requests run.


def paused() -> Exists:
    """Whether the queue is paused, in SQL."""
    return exists().where(PAUSE)


def pause(tx: Connection) -> float:
    """Pause the queue, unless it is paused; since when it is, in unix seconds."""
    since: Any = tx.scalar(select(controls.c.since).where(PAUSE))
    if since is None:
        since = tx.scalar(insert(controls).values(name="pause", since=now()).returning(controls.c.since))
        record(tx, "queue.pause", "queue")
    return float(since)


def resume(tx: Connection) -> None:
    """Resume the queue, if it is paused."""
    if tx.execute(delete(controls).where(PAUSE)).rowcount:
        record(tx, "queue.resume", "queue")
    for channel in (Channel.QUEUED, Channel.TEST_QUEUED):
        notify(tx, channel)


def paused_since(view: Connection) -> float | None:
    """Since when the queue is paused, in unix seconds; None while it is not."""
    return view.scalar(select(controls.c.since).where(PAUSE))


# In SQL


def _claimable(
    worker: str, loaded: frozenset[str], wait: float, test: bool, moment: ColumnElement[float]
) -> ColumnElement[bool]:
    """The requests that this worker may claim at this moment, except for PASSED."""
    begun = or_(columns.due_at.is_(None), columns.due_at <= moment)
    waiting = or_(QUEUED, lapsed(moment))
    due = and_(waiting, columns.test.is_(test), begun, true() if test else ~paused(), columns.key_id.not_in(PASSED))
    return due if test or not wait else and_(due, ~_left_to_others(worker, loaded, wait, moment))


def _left_to_others(
    worker: str, loaded: Collection[str], wait: float, moment: ColumnElement[float]
) -> ColumnElement[bool]:
    """Requests whose model another worker has loaded, with room, while this one has not.

    wait: seconds after its arrival for which a request is left to others. A retry never is: it needs an idle worker,
    which is not likely to be the other one.
    """
    young = func.coalesce(columns.due_at, columns.submitted_at) > moment - wait
    with_workers = warmups.join(workers, workers.c.id == warmups.c.worker)
    ready = (warmups.c.loaded, _others(worker, moment), workers.c.id.not_in(_busy()))
    elsewhere = select(warmups.c.slug).select_from(with_workers).where(*ready)
    return and_(young, ATTEMPTS == 0, columns.slug.not_in(loaded), columns.slug.in_(elsewhere))


def _busy() -> Select[tuple[str]]:
    """Workers without room: they have enough in hand, or a retry, which runs alone."""
    enough = or_(func.sum(columns.pictures) >= BUSY, func.max(ATTEMPTS) > 1)
    return select(columns.worker).where(PROCESSING).group_by(columns.worker).having(enough)


def _others(worker: str, moment: ColumnElement[float]) -> ColumnElement[bool]:
    """Other workers that are alive and take requests."""
    return and_(workers.c.id != worker, workers.c.seen_at > moment - ALIVE, TAKES)


@lru_cache(16)
def _poll(worker: str, loaded: frozenset[str], wait: float, test: bool) -> Select[tuple[bool]]:
    """EXISTS: is anything claimable now?"""
    return select(exists().where(_claimable(worker, loaded, wait, test, now())))


@lru_cache(16)
def _first(worker: str, loaded: frozenset[str], wait: float, test: bool) -> Select[Any]:
    """The next claimable request, at MOMENT."""
    return head(_claimable(worker, loaded, wait, test, MOMENT))


# Claim order


def head(which: ColumnElement[bool]) -> Select[Any]:
    """The first of these requests in claim order."""
    order = columns.priority.desc(), accounts.c.last_turn, api_keys.c.last_turn, columns.seq
    first = select(columns.seq).select_from(_with_owners()).where(which).order_by(*order).limit(1)
    # By its number: the rows are large, and all queued ones are sorted.
    return select(requests).where(columns.seq == first.scalar_subquery())


def take_turn(tx: Connection, account_id: str, key_id: str) -> None:
    """Put the account behind all others, and the key behind all others of the account."""
    last = select(func.max(accounts.c.last_turn)).scalar_subquery()
    own = update(accounts).where(accounts.c.id == account_id).values(last_turn=last + 1)
    turn = tx.execute(own.returning(accounts.c.last_turn)).scalar_one()
    tx.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_turn=turn))


def _with_owners() -> FromClause:
    """Requests with their keys and accounts: so the index of claims suffices."""
    with_keys = requests.join(api_keys, api_keys.c.id == columns.key_id)
    return with_keys.join(accounts, accounts.c.id == api_keys.c.account_id)
