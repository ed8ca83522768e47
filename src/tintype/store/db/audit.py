"""Who did what to the server, and when: a row in the act's own transaction, so that there is no act without its row.

Who acts is set once, where it is known (`web/auth.py`, `cli/__init__.py`), and read where something is changed.
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
Act = Literal[
    "account.create",
    "account.credit",
    "database.migrate",
    "key.create",
    "key.revoke",
    "key.rotate",
    "key.safety",
    "model.warm",
    "queue.pause",
    "queue.resume",
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
ACTS: tuple[Act, ...] = get_args(Act)
#: What they are about: by one of these, all acts about it are meant.
THINGS = sorted({act.partition(".")[0] for act in ACTS})
#: Acts that are never refused for their number: each ends something that another act made, and a leak must be ended.
ENDING = ("key.revoke", "webhook.remove")
#: Seconds for which an act that is done again and again, each time alike, is one row that counts.
TOGETHER = 3_600.0
DAY = 86_400.0


@dataclass(frozen=True)
class Actor:
    """Who acts: a key over the API, a person at the command line, or a process of the server by itself."""

    via: Literal["api", "cli", "server"]
    #: A key's name and how it begins, or the operating system's user and host.
    who: str
    address: str | None = None
    account_id: str | None = None
    key_id: str | None = None
    #: Rows that its account may cause in a day; None for operators.
    most: int | None = None
    #: Whether its acts are log lines too: a command has no log, its output is its answer.
    logged: bool = True

    @property
    def is_operator(self) -> bool:
        """Whether nobody counts what it does."""
        return self.most is None


_actor: ContextVar[Actor] = ContextVar("actor")
#: Who acts where nobody was named.
_NOBODY = Actor("server", "tintype")


def act_as(actor: Actor) -> None:
    """What this task or thread does from now on, and what it starts, is this actor's doing."""
    _actor.set(actor)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """What is done in the block is this actor's doing."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> Actor:
    """Who acts here."""
    return _actor.get(_NOBODY)


def record(
    tx: Connection, act: Act, target: str, account_id: str | None = None, *, repeats: bool = False, **details: Any
) -> None:
    """Note an act in the transaction that it is done in.

    target: id of what was changed. account_id: whose that is. details: what matters of it, without secrets, prompts or
    addresses' paths; None is left out. repeats: callers do it again and again, each time alike.
    Raises TooManyRequests when the actor's account has done as much in a day as it may.
    """
    moment, by = read_clock(tx), actor()
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
        if by.most is not None and act not in ENDING:
            _check_room(tx, by.account_id, by.most, moment)
        said = {name: value for name, value in details.items() if value is not None}
        tx.execute(insert(audit).values(**row, details=said, at=moment, last_at=moment))
        row["details"] = said
    if by.logged:
        after(tx, partial(log.info, "audit", **{name: value for name, value in row.items() if value}))


@dataclass(frozen=True)
class Deed:
    """One row of `audit`; times in unix seconds."""

    id: int
    at: float
    #: When it was done last, and how often in all.
    last_at: float
    times: int
    act: Act
    target: str
    #: Whose the target is.
    account_id: str | None
    via: str
    who: str
    address: str | None
    by_account: str | None
    by_key: str | None
    details: Mapping[str, Any]


class Audit:
    """The log of acts as operators read it. life: seconds that a row is kept."""

    def __init__(self, db: Database, life: float) -> None:
        self._db = db
        self._life = life

    def page(
        self, *, size: int, page: int = 1, since: float | None = None, act: str = "", account_id: str = ""
    ) -> tuple[list[Deed], int]:
        """One page of the acts, the newest first, and the number of all.

        act: its name, or what stands before the dot. account_id: who did it, or whose was changed; with its test keys.
        """
        meant = [*_meant(since, act, account_id)]
        wanted = select(audit).where(*meant).order_by(a.id.desc()).limit(size).offset((page - 1) * size)
        with self._db.read() as view:
            total = view.scalar(select(func.count()).select_from(audit).where(*meant)) or 0
            return [Deed(**row._mapping) for row in view.execute(wanted)], total

    def expire(self) -> int:
        """Forget what was done too long ago; how many rows."""
        with self._db.write() as tx:
            return tx.execute(delete(audit).where(a.last_at < now() - self._life)).rowcount


def _meant(since: float | None, act: str, account_id: str) -> Iterator[ColumnElement[bool]]:
    if since is not None:
        yield a.last_at >= since
    if act:
        yield a.act.in_([one for one in ACTS if act in (one, one.partition(".")[0])])
    if account_id:
        beside = select(accounts.c.id).where(accounts.c.test_of == account_id)
        yield or_(*(whose.in_(beside) | (whose == account_id) for whose in (a.account_id, a.by_account)))


def _counted(tx: Connection, row: Mapping[str, Any], moment: float) -> bool:
    """Count the act in a row of the last hour that says the same, if there is one."""
    same = [a[name].is_(value) if value is None else a[name] == value for name, value in row.items()]
    lately = (a.at > moment - TOGETHER, a.at <= moment)
    return bool(tx.execute(update(audit).where(*same, *lately).values(times=a.times + 1, last_at=moment)).rowcount)


def _check_room(tx: Connection, account_id: str | None, most: int, moment: float) -> None:
    """One account's keys and webhooks, changed back and forth, shall not fill the table."""
    lately = (a.by_account == account_id, a.at > moment - DAY, a.at <= moment)
    # The oldest of those that fill the day: when it is a day old, there is room again.
    filling = tx.scalar(select(a.at).where(*lately).order_by(a.at.desc()).offset(most - 1).limit(1))
    if filling is not None:
        words = f"An account may make {most} changes to its keys and webhooks a day; keys can still be revoked"
        raise TooManyRequests(words, filling + DAY - moment, moment)
