"""Accounts, their credits and their API keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, exists, insert, select

from tintype.errors import BadRequest, NotFound
from tintype.store.accounts.keyring import Keyring, insert_key
from tintype.store.accounts.keys import check, draw, is_test
from tintype.store.billing import ledger
from tintype.store.billing.money import dollars, shown
from tintype.store.db.audit import record
from tintype.store.db.database import now
from tintype.store.db.tables import accounts, api_keys

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
    #: The account beside which this one is for test keys; None for an ordinary one.
    test_of: str | None = None

    @classmethod
    def of(cls, row: Row[Any]) -> Account:
        """The account of a whole row."""
        return cls(**{name: row._mapping[name] for name in cls.__annotations__})

    @property
    def remaining(self) -> int:
        """What it can still spend."""
        return self.balance - self.held


class Accounts(Keyring):
    """Who may ask, and with what money: accounts here, their keys in Keyring."""

    def create(self, name: str, credits_micro: int) -> Account:
        """A new account with this balance in micro-dollars."""
        with self._db.write() as tx:
            return _create(tx, name, credits_micro)

    def bootstrap(self, name: str, credits_micro: int, secret: str | None) -> str | None:
        """Give a server without any key its first one, in one transaction; its secret, or None where there are keys.

        It is the oldest account's, or else a new one's with this name and balance, and an operator's, unless it is a
        test key. secret: drawn unless given.
        Raises BadRequest when the given secret has the wrong format; nothing is written then.
        """
        with self._db.write() as tx:
            if tx.scalar(select(exists().select_from(api_keys))):
                return None
            secret = draw() if secret is None else secret
            check(secret)
            oldest = tx.scalar(select(accounts.c.id).where(accounts.c.test_of.is_(None)).order_by(*AGE).limit(1))
            asked = {"name": name, "operator": not is_test(secret)}
            insert_key(tx, oldest or _create(tx, name, credits_micro).id, secret, asked)
            return secret

    def list(self) -> tuple[Account, ...]:
        """All accounts, the oldest first."""
        with self._db.read() as view:
            return tuple(map(Account.of, view.execute(select(accounts).order_by(*AGE))))

    def account(self, account_id: str) -> Account:
        """The account; raises NotFound."""
        with self._db.read() as view:
            return _account(view, account_id)

    def remaining(self, account_id: str) -> int:
        """Micro-dollars that the account can still spend: its balance minus what running requests hold.

        Of an account for tests it is what the account beside it has: a test changes nothing about that.
        """
        with self._db.read() as view:
            account = _account(view, account_id)
            return (_account(view, account.test_of) if account.test_of else account).remaining

    def credit(self, account_id: str, credits_micro: int, note: str | None = None) -> Account:
        """Add micro-dollars to the balance; a negative amount takes them, but not what running requests hold.

        Raises NotFound, and BadRequest when there isn't as much to take.
        """
        with self._db.write() as tx:
            account = _account(tx, account_id)
            if credits_micro < 0 and account.remaining + credits_micro < 0:
                raise BadRequest(f"{shown(-credits_micro)} can't be taken: {shown(account.remaining)} is available")
            ledger.give(tx, account_id, credits_micro, note)
            after = _account(tx, account_id)
            if credits_micro:
                amounts: dict[str, Any] = {"dollars": dollars(credits_micro), "balance": dollars(after.balance)}
                record(tx, "account.credit", account_id, account_id, name=after.name, **amounts, note=note)
            return after

    def lines(self, account_id: str, most: int = 20) -> Sequence[ledger.Line]:
        """The last rows of the account's ledger, the newest first; raises NotFound."""
        with self._db.read() as view:
            _account(view, account_id)
            return ledger.lines(view, account_id, most)

    def imbalances(self) -> Sequence[ledger.Imbalance]:
        """Every kept sum that differs from its rows; there should be none."""
        with self._db.read() as view:
            return ledger.imbalances(view)


def _create(tx: Connection, name: str, credits_micro: int) -> Account:
    own = str(uuid4())
    tx.execute(insert(accounts).values(id=own, name=name, balance=0, held=0, created_at=now()))
    ledger.give(tx, own, credits_micro)
    record(tx, "account.create", own, own, name=name, dollars=dollars(credits_micro))
    return _account(tx, own)


def _account(view: Connection, account_id: str) -> Account:
    row = view.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    if row is None:
        raise NotFound(f"Account {account_id} not found")
    return Account.of(row)
