"""The position of every queued request: the order that claims would make one by one, worked out in one go.

For polls, which are many more than claims: one read of the queue answers all of a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, select

from tintype.store.db.conditions import QUEUED
from tintype.store.db.tables import accounts, api_keys, requests

columns = requests.c

# The index of claims has all of it: the rows, which are large, aren't read.
WAITING = (
    select(columns.test, columns.priority, columns.key_id, columns.seq)
    .where(QUEUED)
    .order_by(columns.test, columns.key_id, columns.priority, columns.seq)
)
OWNERS = (
    select(api_keys.c.id, api_keys.c.last_turn, accounts.c.id, accounts.c.last_turn)
    .join(accounts, accounts.c.id == api_keys.c.account_id)
    .where(api_keys.c.id.in_(select(columns.key_id).where(QUEUED)))
)

#: Of an account or a key: the priority's rank, the round, and the place in the round of its last turn.
Turn = tuple[int, int, int]
#: The queued requests of one kind: priority → key's id → their `seq`, in order of arrival.
Waiting = Mapping[int, Mapping[str, Sequence[int]]]


def positions(view: Connection) -> dict[int, int]:
    """The `seq` of each queued request → its position, 1 for the next; those of test keys have their own."""
    rows = view.execute(WAITING).all()
    if not rows:
        return {}
    accounts_of: dict[str, str] = {}
    turns: dict[str, Turn] = {}
    for key_id, key_turn, account_id, account_turn in view.execute(OWNERS):
        accounts_of[key_id] = account_id
        turns |= {key_id: (0, 0, key_turn), account_id: (0, 0, account_turn)}
    found: dict[int, int] = {}
    for _, of_kind in groupby(rows, itemgetter(0)):
        waiting: dict[int, dict[str, list[int]]] = {}
        for (priority, key_id), mine in groupby(of_kind, itemgetter(1, 2)):
            waiting.setdefault(priority, {})[key_id] = [row[3] for row in mine]
        order = claim_order(waiting, accounts_of, dict(turns))
        found.update(zip(order, range(1, len(order) + 1), strict=True))
    return found


def claim_order(waiting: Waiting, accounts_of: Mapping[str, str], turns: dict[str, Turn]) -> list[int]:
    """The `seq` of each, the next one first: by priority, then round-robin over accounts, then over an account's keys.

    accounts_of: by key. turns: of accounts and keys, the last ones; claims in a priority come after those in all higher
    ones, and go on from their turns, which this writes.
    """
    order: list[int] = []
    for rank, priority in enumerate(sorted(waiting, reverse=True), start=1):
        shares: dict[str, dict[str, Sequence[int]]] = {}
        for key_id, mine in waiting[priority].items():
            shares.setdefault(accounts_of[key_id], {})[key_id] = mine
        of_accounts = {account: _round_robin(keys, turns, rank) for account, keys in shares.items()}
        order += _round_robin(of_accounts, turns, rank)
    return order


def _round_robin(shares: Mapping[str, Sequence[int]], turns: dict[str, Turn], rank: int) -> list[int]:
    """One of each holder's in each round, the holder first whose last turn is longest ago, or else who came first."""
    holders = sorted(shares, key=lambda holder: (turns[holder], min(shares[holder])))
    turns |= {holder: (rank, len(shares[holder]), index) for index, holder in enumerate(holders)}
    order: list[int] = []
    left, done = [shares[holder] for holder in holders], 0
    while left:
        order += [share[done] for share in left]
        done += 1
        left = [share for share in left if len(share) > done]
    return order
