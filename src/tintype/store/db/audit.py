"""The audit log: a row per act, in the act's own transaction, so that there is no act without its row.

The actor is set once, where it is known (`web/auth.py`, `cli/__init__.py`), and read where something is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import structlog
from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from tintype.errors import TooManyRequests
from tintype.store.db.database import Database, after, now, read_clock
from tintype.store.db.tables import accounts, audit

log = structlog.get_logger()

a = audit.c

#: Every kind of act, as `thing.verb`.
ActName = Literal[
    "account.create",
    "account.credit",
    "database.migrate",
    "key.create",
    "key.revoke",
    "key.rotate",
    "key.safety",
    "key.update",
    "model.warm",
    "queue.pause",
    "queue.resume",
    "signer.create",
    "signer.distrust",
    "storage.adopt",
    "webhook.add",
    "webhook.rebase",
    "webhook.remove",
    "webhook.replay",
    "webhook.rotate",
    "webhook.update",
    "worker.drain",
    "worker.recall",
]
ACTS: tuple[ActName, ...] = get_args(ActName)
#: The ways of an act: over the API, at the command line, by a process of the server itself.
Via = Literal["api", "cli", "server"]
#: The things that they change; one of these selects all acts on it.
THINGS = sorted({act.partition(".")[0] for act in ACTS})
#: Acts that are never refused for their number: each ends what another act made, and a leaked key must be revocable.
ENDING = ("key.revoke", "webhook.remove")
#: Seconds for which repetitions of an act, each time alike, are counted in one row.
TOGETHER = 3_600.0
DAY = 86_400.0


@dataclass(frozen=True)
class Actor:
    """A key over the API, a person at the command line, or a process of the server itself."""

    via: Via
    #: A key's name and how it begins, or the operating system's user and host.
    who: str
    address: str | None = None
    account_id: str | None = None
    key_id: str | None = None
    #: Rows that its account may cause in a day; None for operators.
    max_per_day: int | None = None
    #: Whether its acts are logged too: commands have no log.
    logged: bool = True

    @property
    def is_operator(self) -> bool:
        """Whether its acts have no limit."""
        return self.max_per_day is None


#: The actor of a task or thread, and of those that it starts; the server itself where none was set.
current_actor = ContextVar("actor", default=Actor("server", "tintype"))  # noqa: B039 - frozen


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """The block acts as this actor."""
    token = current_actor.set(actor)
    try:
        yield
    finally:
        current_actor.reset(token)


def record(
    tx: Connection, act: ActName, target: str, account_id: str | None = None, *, repeats: bool = False, **details: Any
) -> None:
    """Write an act into the audit log, in the transaction that does it.

    target: id of what was changed. account_id: its account. details: without secrets, prompts or paths of addresses;
    None is left out. repeats: callers repeat it, each time alike.
    Raises TooManyRequests at the maximum of the actor's account per day.
    """
    moment, by = read_clock(tx), current_actor.get()
    row: dict[str, Any] = {
        "act": act,
        "target": target,
        "account_id": account_id,
        "via": by.via,
        "who": by.who,
        "address": by.address,
        "by_account": by.account_id,
        "by_key": by.key_id,
    }
    if not (repeats and _counted(tx, row, moment)):
        if by.max_per_day is not None and act not in ENDING:
            _check_room(tx, by.account_id, by.max_per_day, moment)
        said = {name: value for name, value in details.items() if value is not None}
        tx.execute(insert(audit).values(**row, details=said, at=moment, last_at=moment))
        row["details"] = said
    if by.logged:
        after(tx, partial(log.info, "audit", **{name: value for name, value in row.items() if value}))


@dataclass(frozen=True)
class AuditEntry:
    """One row of `audit`; times in unix seconds."""

    id: int
    at: float
    #: When it was repeated last, and how often it was done.
    last_at: float
    times: int
    act: ActName
    target: str
    #: The target's.
    account_id: str | None
    via: str
    who: str
    address: str | None
    by_account: str | None
    by_key: str | None
    details: Mapping[str, Any]


class Audit:
    """The audit log as operators read it. ttl: seconds until a row expires."""

    def __init__(self, db: Database, ttl: float) -> None:
        self._db = db
        self._ttl = ttl

    def page(
        self, *, size: int, page: int = 1, since: float | None = None, act: str = "", account_id: str = ""
    ) -> tuple[list[AuditEntry], int]:
        """One page of the acts, the newest first, and the number of all.

        act: its name, or its thing. account_id: the actor's or the target's; with its test keys.
        """
        meant = [*_meant(since, act, account_id)]
        wanted = select(audit).where(*meant).order_by(a.id.desc()).limit(size).offset((page - 1) * size)
        with self._db.read() as view:
            total = view.scalar(select(func.count()).select_from(audit).where(*meant)) or 0
            return [AuditEntry(**row._mapping) for row in view.execute(wanted)], total

    def expire(self) -> int:
        """Delete expired rows; how many."""
        with self._db.write() as tx:
            return tx.execute(delete(audit).where(a.last_at < now() - self._ttl)).rowcount


def _meant(since: float | None, act: str, account_id: str) -> Iterator[ColumnElement[bool]]:
    if since is not None:
        yield a.last_at >= since
    if act:
        yield a.act.in_([one for one in ACTS if act in (one, one.partition(".")[0])])
    if account_id:
        tests = select(accounts.c.id).where(accounts.c.test_of == account_id)
        yield or_(*(one.in_(tests) | (one == account_id) for one in (a.account_id, a.by_account)))


def _counted(tx: Connection, row: Mapping[str, Any], moment: float) -> bool:
    """Count the act in a row of the last hour that is alike, if there is one."""
    same = [a[name].is_(value) if value is None else a[name] == value for name, value in row.items()]
    lately = (a.at > moment - TOGETHER, a.at <= moment)
    return bool(tx.execute(update(audit).where(*same, *lately).values(times=a.times + 1, last_at=moment)).rowcount)


def _check_room(tx: Connection, account_id: str | None, limit: int, moment: float) -> None:
    """Else an account that changes its keys back and forth would fill the table."""
    lately = (a.by_account == account_id, a.at > moment - DAY, a.at <= moment)
    # The oldest of those that fill the day: when it is a day old, there is room again.
    filling = tx.scalar(select(a.at).where(*lately).order_by(a.at.desc()).offset(limit - 1).limit(1))
    if filling is not None:
        words = f"An account may make {limit} changes to its keys and webhooks a day; keys can still be revoked"
        raise TooManyRequests(words, filling + DAY - moment, moment)
