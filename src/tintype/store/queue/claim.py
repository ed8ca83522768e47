"""Claiming: which request a worker may take next, by the pause, due times and model affinity, in claim order.

Claim order: priority, then round-robin over accounts, then over an account's keys, then FIFO. So an account gets no
larger share of the workers by making keys, and its own programs share what it gets. A turn is a request, however many
images it asks for: `max_queued` bounds images.

All workers may run all requests. Affinity only avoids a second load of a model while a worker that has it loaded could
begin immediately; it is part of the query that a claim makes anyway. A worker that leaves a request to another one by
affinity takes the next in claim order, and the request keeps its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Exists,
    FromClause,
    Integer,
    ScalarSelect,
    Select,
    Table,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    false,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from tintype.store.db.audit import record
from tintype.store.db.conditions import ALIVE, ATTEMPTS, MEMORY_BUDGET, PROCESSING, QUEUED, TAKES, lapsed
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.notify import Channel, notify
from tintype.store.db.records import Request, Status
from tintype.store.db.statements import Statement
from tintype.store.db.tables import accounts, api_keys, controls, requests, unended, warmups, workers
from tintype.store.queue.lifecycle import LATE, NOW, Rules, give_up, log_when_committed
from tintype.store.webhooks.events import enqueue_start

columns = requests.c

#: Images in hand with which a worker has no room: a model with more demand than that is worth a second load.
BUSY = 2
#: Requests of one bunch: the others under the lock wait while one is claimed after the other.
MAX_BUNCH = 16
PAUSE = controls.c.name == "pause"
#: Requests whose lease has lapsed, with its holder, whom no claim returns.
LAPSED = select(columns.id, columns.worker).where(lapsed(NOW))
#: Accounts that are passed over, and the max of what a poll counts.
PASSED: BindParameter[Sequence[str]] = bindparam("passed", expanding=True)
#: Their requests; the index of claims has no accounts.
PASSED_KEYS = columns.key_id.in_(select(api_keys.c.id).where(api_keys.c.account_id.in_(PASSED)))
LIMIT: BindParameter[int] = bindparam("limit", type_=Integer())
#: The worker that asks.
ME: BindParameter[str] = bindparam("me", type_=workers.c.id.type)


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


class Claimable(NamedTuple):
    """What a poll found."""

    #: Requests that the worker may claim, as far as they were counted.
    number: int
    #: Whether a lease has lapsed, or the deadline of a queued request.
    stale: bool
    #: Whether another worker with room has a model loaded that this one has not.
    others: bool


#: What to ask for next, after this request of the same bunch, or as the first; None for nothing more.
NextClaim = Callable[[Request | None], Claim | None]


def claimable(db: Database, asked: Claim, rules: Rules, limit: int) -> Claimable:
    """What `claim` would find: an empty queue is polled many times a second, without the lock."""
    wait = 0.0 if asked.test else rules.warm_wait
    statement = _poll(asked.loaded, wait, asked.test, bool(asked.passing_over))
    ((number, stale, others),) = db.ask(statement, {"limit": limit, **_whose(asked)})
    return Claimable(min(limit, number), stale, others)


def claim(tx: Connection, following: NextClaim, found: Claimable, rules: Rules) -> list[Request]:
    """The next requests in claim order, now this worker's, as many as were found and it asks for, one after the other.

    A retry runs alone, so that a request which kills its worker takes no others down: while a retry is first in the
    queue, a worker that isn't idle gets none, and drains.
    """
    lost_by = {}
    if found.stale:
        give_up(tx, read_clock(tx), rules)
        lost_by = {row.id: row.worker for row in tx.execute(LAPSED)}
    # What has just been given up may have filled a worker, which has room now.
    others = found.others or found.stale
    taken: list[Request] = []
    while len(taken) < found.number and (asked := following(taken[-1] if taken else None)):
        passing, wait = bool(asked.passing_over), rules.warm_wait if others and not asked.test else 0.0
        statement = _take(asked.loaded, wait, rules, asked.idle, asked.test, bool(lost_by), passing)
        row = statement.first(tx, _whose(asked))
        if row is None:
            break
        request = Request.of(row)
        take_turn(tx, request.account_id, request.key_id)
        if request.attempt == 1:
            enqueue_start(tx, request)
        # The worker whose lease on it ran out, where there was one.
        log_when_committed(tx, "claimed", request, **({"lost_by": lost} if (lost := lost_by.get(request.id)) else {}))
        taken.append(request)
    return taken


def _whose(asked: Claim) -> dict[str, Any]:
    passed = {"passed": [*asked.passing_over]} if asked.passing_over else {}
    return {"me": asked.worker, **passed}


def idle_elsewhere(view: Connection, worker: str, needed: int) -> bool:
    """Whether another worker has nothing in hand, and `needed` bytes of memory for weights and activations."""
    running = select(columns.worker).where(PROCESSING)
    free = and_(OTHERS, workers.c.id.not_in(running), float(needed) <= MEMORY_BUDGET)
    return bool(view.scalar(select(exists().where(free)), {"me": worker}))


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


def _claimable(elsewhere: CTE, wait: float) -> ColumnElement[bool]:
    """Of the requests that wait, those that this worker may claim now, but for the pause and PASSED.

    wait: seconds after its arrival for which a request of a model of `elsewhere` is left to others. A retry never is:
    it needs an idle worker, which is not likely to be one of those.
    """
    due = or_(columns.due_at.is_(None), columns.due_at <= NOW)
    young = func.coalesce(columns.due_at, columns.submitted_at) > NOW - wait
    left_to_others = and_(young, ATTEMPTS == 0, columns.slug.in_(select(elsewhere.c.slug)))
    return and_(due, ~left_to_others) if wait else due


def _elsewhere(loaded: frozenset[str]) -> CTE:
    """Slugs of the models that another worker with room has loaded while this one has not."""
    with_workers = warmups.join(workers, workers.c.id == warmups.c.worker)
    ready = warmups.c.loaded, OTHERS, workers.c.id.not_in(_busy())
    # Not with NOT IN, for which a statement would be written out at each execution.
    other = [warmups.c.slug != slug for slug in loaded]
    return select(warmups.c.slug).select_from(with_workers).where(*ready, *other).cte("elsewhere")


def _busy() -> Select[tuple[str]]:
    """Workers without room: they have enough in hand, or a retry, which runs alone."""
    enough = or_(func.sum(columns.pictures) >= BUSY, func.max(ATTEMPTS) > 1)
    return select(columns.worker).where(PROCESSING).group_by(columns.worker).having(enough)


#: Other workers that are alive and take requests.
OTHERS = and_(workers.c.id != ME, workers.c.seen_at > NOW - ALIVE, TAKES)


@lru_cache(16)
def _poll(loaded: frozenset[str], wait: float, test: bool, passing: bool) -> Statement:
    """A `Claimable`; of what is queued, at most LIMIT are counted."""
    elsewhere = _elsewhere(loaded)
    mine = [columns.test.is_(test), _claimable(elsewhere, wait), *_allowed(PASSED_KEYS, test, passing)]
    some = select(columns.seq).where(QUEUED, *mine).limit(LIMIT).subquery()
    queued = select(func.count()).select_from(some).scalar_subquery()
    left = select(func.count().label("number"), func.count().filter(*mine).label("mine")).where(lapsed(NOW)).subquery()
    others = exists(select(elsewhere.c.slug)) if wait else false()
    return Statement(select(queued + left.c.mine, or_(LATE, left.c.number > 0), others))


@lru_cache(16)
def _take(
    loaded: frozenset[str], wait: float, rules: Rules, idle: bool, test: bool, stale: bool, passing: bool
) -> Statement:
    """Claims the first request in claim order. Built once: that takes longer than running it."""
    # As if `give_up` had ended them already.
    in_time = or_(columns.cancel_at.is_(None), columns.cancel_at > NOW)
    wanted = and_(columns.test.is_(test), _claimable(_elsewhere(loaded), wait), in_time)
    queued = GROUPS.where(unended.c.test.is_(test), *_allowed(unended.c.account_id.in_(PASSED), test, passing))
    left = lapsed(NOW), ~columns.cancel_requested, rules.max_attempts > ATTEMPTS
    left_behind = ALONE.where(wanted, *left, *_allowed(PASSED_KEYS, test, passing))
    groups = (queued.union_all(left_behind) if stale else queued).cte("groups")
    mine = [columns.seq == head(groups, wanted)] + ([] if idle else [ATTEMPTS == 0])
    lease = {"worker": ME, "started_at": NOW, "lease_until": NOW + rules.lease}
    taken = {"status": Status.PROCESSING, "attempt": columns.attempt + 1, "step": 0, **lease}
    return Statement(update(requests).where(*mine).values(taken).returning(requests))


def _allowed(passed: ColumnElement[bool], test: bool, passing: bool) -> list[ColumnElement[bool]]:
    """Not of the accounts that are passed over; and no live requests while those are paused."""
    return ([] if test else [~paused()]) + ([~passed] if passing else [])


# Claim order


def _with_owners(rows: Table) -> FromClause:
    """Requests or their sums, with their keys and accounts."""
    return rows.join(api_keys, api_keys.c.id == rows.c.key_id).join(accounts, accounts.c.id == api_keys.c.account_id)


#: When an account, and a key of it, last had a turn.
TURNS = accounts.c.last_turn.label("account_turn"), api_keys.c.last_turn.label("key_turn")
#: Each key's requests of one priority, that haven't ended.
GROUPS = select(unended.c.key_id, unended.c.priority, *TURNS, cast(null(), BigInteger).label("seq"))
GROUPS = GROUPS.select_from(_with_owners(unended))
#: Each request as a group of its own.
ALONE = select(columns.key_id, columns.priority, *TURNS, columns.seq).select_from(_with_owners(requests))


def head(groups: CTE, wanted: ColumnElement[bool]) -> ScalarSelect[int]:
    """The `seq` of the first of the wanted requests in claim order; NULL where there is none.

    groups: GROUPS of which those in the queue are looked at, and what else is wanted, each ALONE.
    Sorting the groups reads no request. Then it is looked for the first of each, until there is one; and for those of
    the groups that have the same turn, as all keys have before their first. So one request is read of about one group,
    however many there are.
    """

    def first(group: FromClause) -> ColumnElement[int]:
        own = columns.key_id == group.c.key_id, columns.priority == group.c.priority
        queued = select(columns.seq).where(QUEUED, *own, wanted).order_by(columns.seq).limit(1)
        return func.coalesce(group.c.seq, queued.correlate(group).scalar_subquery())

    order = groups.c.priority.desc(), groups.c.account_turn, groups.c.key_turn
    # Without a limit, SQLite would look for the first of each group before it sorts them.
    in_order = select(groups).order_by(*order).limit(2**31 - 1).subquery()
    ahead = select(in_order).where(first(in_order).is_not(None)).limit(1).subquery()
    same = and_(*(groups.c[name] == ahead.c[name] for name in ("priority", "account_turn", "key_turn")))
    return select(func.min(first(groups))).select_from(groups.join(ahead, same)).scalar_subquery()


ACCOUNT_TURN = Statement(
    update(accounts)
    .where(accounts.c.id == bindparam("own"))
    .values(last_turn=select(func.max(accounts.c.last_turn)).scalar_subquery() + 1)
)
#: One more than its account's before this: at each of the account's claims, that is more than at the one before.
KEY_TURN = Statement(
    update(api_keys)
    .where(api_keys.c.id == bindparam("own"))
    .values(last_turn=select(accounts.c.last_turn).where(accounts.c.id == bindparam("of")).scalar_subquery() + 1)
)


def take_turn(tx: Connection, account_id: str, key_id: str) -> None:
    """Put the account behind all others, and the key behind all others of the account."""
    KEY_TURN.later(tx, {"own": key_id, "of": account_id})
    ACCOUNT_TURN.later(tx, {"own": account_id})
