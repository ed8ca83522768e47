"""Accounts, their credits and their API keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, exists, insert, or_, select, update

from tintype.errors import BadRequest, NotFound, Unauthorized
from tintype.store.database import Database, now, read_clock
from tintype.store.keys import HINT, KEY_COLUMNS, Key, check, digest, draw
from tintype.store.money import dollars, micro, shown
from tintype.store.tables import accounts, api_keys

__all__ = ["Account", "Accounts", "Key", "dollars", "micro"]

#: Fewer characters than this name no key: `SG_` begins them all.
SHORTEST_PREFIX = 4
#: The oldest account first.
AGE = (accounts.c.created_at, accounts.c.id)


@dataclass(frozen=True)
class Account:
    """One row of `accounts`: money in micro-dollars."""

    id: str
    name: str
    balance: int
    held: int
    created_at: float

    @classmethod
    def of(cls, row: Row[Any]) -> Account:
        """The account of a whole row."""
        return cls(**row._mapping)

    @property
    def remaining(self) -> int:
        """What it can still spend."""
        return self.balance - self.held


class Accounts:
    """Who may ask, and with what money."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, name: str, credits_micro: int) -> Account:
        """A new account with this balance in micro-dollars."""
        with self._db.write() as tx:
            return _create(tx, name, credits_micro)

    def bootstrap(self, name: str, credits_micro: int, secret: str | None) -> str | None:
        """Give a server without any key its first one, in one transaction; its secret, or None where there are keys.

        It is the oldest account's, or else a new one's with this name and balance. secret: drawn unless given.
        Raises BadRequest when the given secret has the wrong format; nothing is written then.
        """
        with self._db.write() as tx:
            if tx.scalar(select(exists().select_from(api_keys))):
                return None
            secret = draw() if secret is None else secret
            check(secret)
            oldest = tx.scalar(select(accounts.c.id).order_by(*AGE).limit(1))
            _create_key(tx, oldest or _create(tx, name, credits_micro).id, secret, {"name": name})
            return secret

    def list(self) -> tuple[Account, ...]:
        """All accounts, the oldest first."""
        with self._db.read() as view:
            return tuple(map(Account.of, view.execute(select(accounts).order_by(*AGE))))

    def is_empty(self) -> bool:
        """Whether there is no account yet."""
        with self._db.read() as view:
            return not view.scalar(select(exists().select_from(accounts)))

    def account(self, account_id: str) -> Account:
        """The account; raises NotFound."""
        with self._db.read() as view:
            return _account(view, account_id)

    def remaining(self, account_id: str) -> int:
        """Micro-dollars that the account can still spend: its balance minus what running requests hold."""
        return self.account(account_id).remaining

    def credit(self, account_id: str, credits_micro: int) -> Account:
        """Add micro-dollars to the balance; a negative amount takes them, but not what running requests hold.

        Raises NotFound, and BadRequest when there isn't as much to take.
        """
        with self._db.write() as tx:
            account = _account(tx, account_id)
            if credits_micro < 0 and account.remaining + credits_micro < 0:
                raise BadRequest(f"{shown(-credits_micro)} can't be taken: {shown(account.remaining)} is available")
            changed = update(accounts).where(accounts.c.id == account_id)
            changed = changed.values(balance=accounts.c.balance + credits_micro)
            return Account.of(tx.execute(changed.returning(accounts)).one())

    def create_key(
        self,
        account_id: str,
        name: str,
        models: Iterable[str] | None = None,
        read_only: bool = False,
        expires_in: float | None = None,
        secret: str | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which can't be read again.

        models: slugs it may run, None for all. expires_in: seconds. secret: drawn unless given.
        Raises NotFound for the account; BadRequest when the given secret has the wrong format or is a key already.
        """
        secret = draw() if secret is None else secret
        check(secret)
        with self._db.write() as tx:
            _account(tx, account_id)
            if tx.scalar(select(exists().where(api_keys.c.digest == digest(secret)))):
                raise BadRequest("This API key exists already")
            asked = {
                "name": name,
                "models": None if models is None else [*models],
                "read_only": read_only,
                "expires_at": None if expires_in is None else read_clock(tx) + expires_in,
            }
            return _create_key(tx, account_id, secret, asked), secret

    def list_keys(self) -> tuple[Key, ...]:
        """All keys, the oldest first, with those revoked and expired."""
        with self._db.read() as view:
            return _keys(view)

    def revoke(self, which: str) -> Key:
        """Revoke the key with this secret or id, or whose hint or id begins with these 4 or more characters.

        Raises NotFound when no key in force is meant, BadRequest when several are; neither repeats a secret.
        """
        shown = which if len(which) <= HINT else f"{which[:HINT]}…"
        with self._db.write() as tx:
            owner = tx.scalar(select(api_keys.c.id).where(api_keys.c.digest == digest(which)))
            meant = [key for key in _keys(tx) if key.revoked_at is None and (key.id == owner or _is_meant(key, which))]
            if not meant:
                raise NotFound(f"No API key {shown} is in force")
            if len(meant) > 1:
                raise BadRequest(f"{shown} begins several API keys: name one by its id")
            changed = update(api_keys).where(api_keys.c.id == meant[0].id).values(revoked_at=now())
            return Key.of(tx.execute(changed.returning(*KEY_COLUMNS)).one())

    def authenticate(self, secret: str) -> Key:
        """The key in force with this secret; raises Unauthorized in the same words whatever is wrong with it."""
        unexpired = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now())
        in_force = (api_keys.c.revoked_at.is_(None), unexpired)
        with self._db.read() as view:
            found = select(*KEY_COLUMNS).where(api_keys.c.digest == digest(secret), *in_force)
            row = view.execute(found).one_or_none()
        if row is None:
            raise Unauthorized
        return Key.of(row)


def _create(tx: Connection, name: str, credits_micro: int) -> Account:
    fresh = {"id": str(uuid4()), "name": name, "balance": credits_micro, "held": 0, "created_at": now()}
    return Account.of(tx.execute(insert(accounts).values(fresh).returning(accounts)).one())


def _create_key(tx: Connection, account_id: str, secret: str, asked: Mapping[str, Any]) -> Key:
    own = {"id": str(uuid4()), "account_id": account_id, "digest": digest(secret), "hint": secret[:HINT]}
    fresh = insert(api_keys).values({"read_only": False, **asked, **own, "created_at": now(), "last_turn": 0})
    return Key.of(tx.execute(fresh.returning(*KEY_COLUMNS)).one())


def _account(view: Connection, account_id: str) -> Account:
    row = view.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    if row is None:
        raise NotFound(f"Account {account_id} not found")
    return Account.of(row)


def _keys(view: Connection) -> tuple[Key, ...]:
    return tuple(map(Key.of, view.execute(select(*KEY_COLUMNS).order_by(api_keys.c.created_at, api_keys.c.id))))


def _is_meant(key: Key, which: str) -> bool:
    return len(which) >= SHORTEST_PREFIX and (key.hint.startswith(which) or key.id.startswith(which))
