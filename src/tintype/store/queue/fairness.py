"""Claim order: priority, then round-robin over accounts, then over an account's keys, then FIFO.

So an account gets no larger share of the workers by making keys, and its own programs share what it gets. A turn is a
request, however many images it asks for: `max_queued` bounds images. A worker that leaves a request to another one by
affinity (`claim.py`) takes the next in this order, and the request keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, Select, func, select, update

from tintype.store.db.conditions import QUEUED
from tintype.store.db.tables import accounts, api_keys, requests

columns = requests.c


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


class Waiting(NamedTuple):
    """The queued requests of one key with one priority."""

    priority: int
    account_id: str
    #: When the account, and when the key, last had a turn.
    account_turn: int
    key_id: str
    key_turn: int
    #: The lowest `seq` among them.
    first: int
    size: int


class Share(NamedTuple):
    """The queued requests of one holder, an account or a key of it, with one priority."""

    priority: int
    holder: str
    last_turn: int
    first: int
    size: int


def position(view: Connection, id: str) -> int | None:
    """The request's 1-based position in the queue; None when it is not queued."""
    return positions(view, [id]).get(id)


def positions(view: Connection, ids: Sequence[str]) -> dict[str, int]:
    """The same of several, by one read of the queue; those that are not queued are left out."""
    meant = select(columns.id, columns.seq, columns.account_id, columns.key_id, columns.priority, columns.test)
    asked = view.execute(meant.where(columns.id.in_(ids), QUEUED)).all()
    if not asked:
        return {}
    turns = _turns(view, asked)
    group = (columns.priority, accounts.c.id, accounts.c.last_turn, columns.key_id, api_keys.c.last_turn)
    counted = select(columns.test, *group, func.min(columns.seq), func.count()).select_from(_with_owners())
    every = view.execute(counted.where(QUEUED).group_by(columns.test, *group)).all()
    places = {}
    for one in asked:
        rivals = (Waiting(*row[1:]) for row in every if row.test == one.test and row.priority >= one.priority)
        places[one.id] = place([*rivals], one.account_id, one.key_id, turns[one.seq])
    return places


def _with_owners() -> FromClause:
    """Requests with their keys and accounts: so the index of claims suffices."""
    with_keys = requests.join(api_keys, api_keys.c.id == columns.key_id)
    return with_keys.join(accounts, accounts.c.id == api_keys.c.account_id)


def _turns(view: Connection, asked: Sequence[Any]) -> dict[int, int]:
    """The `seq` of each of these → its 1-based position among its key's queued requests of the same priority."""
    same = (columns.test, columns.priority, columns.key_id)
    own = func.row_number().over(partition_by=same, order_by=columns.seq).label("turn")
    theirs = columns.key_id.in_({one.key_id for one in asked})
    waiting = select(columns.seq, own).where(QUEUED, theirs).subquery()
    meant = select(waiting.c.seq, waiting.c.turn).where(waiting.c.seq.in_([one.seq for one in asked]))
    return {row.seq: row.turn for row in view.execute(meant)}


def place(ahead: Sequence[Waiting], account_id: str, key_id: str, turn: int) -> int:
    """The 1-based position of the key's `turn`-th request of the lowest priority in `ahead`, without sorting requests.

    First among its account's, round-robin over keys; then among all, round-robin over accounts.
    """
    keys = [one for one in ahead if one.account_id == account_id]
    shares = [Share(one.priority, one.key_id, one.key_turn, one.first, one.size) for one in keys]
    lowest = min(one.priority for one in ahead)
    above = sum(one.size for one in keys if one.priority > lowest)
    return _place(_of_accounts(ahead), account_id, _place(shares, key_id, turn) - above)


def _of_accounts(ahead: Iterable[Waiting]) -> list[Share]:
    """The sums over each account's keys."""
    together: dict[tuple[int, str], Share] = {}
    for one in ahead:
        known = together.get((one.priority, one.account_id))
        first, size = (min(known.first, one.first), known.size + one.size) if known else (one.first, one.size)
        share = Share(one.priority, one.account_id, one.account_turn, first, size)
        together[one.priority, one.account_id] = share
    return [*together.values()]


def _place(ahead: Iterable[Share], holder: str, turn: int) -> int:
    """The same with round-robin over holders, each of which has its own in order of arrival.

    The holders' order stays the same within a priority, as a claim puts its holder behind all others. Claims in higher
    priorities come before: so the last turn of each holder, (priority's rank, round, index in the round), is carried
    down.
    """
    turns: dict[str, tuple[int, int, int]] = {}
    passed = 0
    by_priority = groupby(sorted(ahead, reverse=True), key=lambda share: share.priority)
    for rank, (_, groups) in enumerate(by_priority, start=1):
        order = sorted(groups, key=lambda one: (turns.get(one.holder, (0, 0, one.last_turn)), one.first))
        before = passed
        passed += sum(one.size for one in order)
        turns |= {one.holder: (rank, one.size, index) for index, one in enumerate(order)}
    mine = next(index for index, one in enumerate(order) if one.holder == holder)
    return before + sum(min(one.size, turn - (index > mine)) for index, one in enumerate(order))
