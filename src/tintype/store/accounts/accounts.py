"""Accounts with their credits, and the API keys of all accounts: made, found by their secret, rotated, revoked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from tintype.catalog.limits import KeyLimits
from tintype.errors import BadRequest, NotFound, Unauthorized
from tintype.settings.groups import Safety
from tintype.store.accounts.key_cache import CHANGES, FoundKey, KeyCache
from tintype.store.accounts.keys import (
    HINT,
    KEY_COLUMNS,
    SECRET,
    Key,
    check,
    digest,
    draw,
    hint,
    is_test,
)
from tintype.store.accounts.options import Options
from tintype.store.billing import ledger
from tintype.store.billing.ledger import dollars, shown
from tintype.store.db.audit import record
from tintype.store.db.database import Database, after, now, read_clock
from tintype.store.db.measurements import add
from tintype.store.db.tables import accounts, api_keys, counters

#: How often keys have been changed.
VERSION = select(func.coalesce(func.max(counters.c.value), 0.0)).where(counters.c.key == CHANGES).scalar_subquery()
#: The oldest account first.
AGE = (accounts.c.created_at, accounts.c.id)
#: Of a text that is no key, and never was one.
UNKNOWN = "This API key is unknown to this server"
#: Fewer characters than this name no key: `SG_` begins them all.
SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class Account:
    """One row of `accounts`: money in micro-dollars."""

    id: str
    name: str
    balance: int
    held: int
    created_at: float
    #: The account whose test keys this one is for; None for an ordinary one.
    test_of: str | None = None

    @property
    def remaining(self) -> int:
        """What it can still spend."""
        return self.balance - self.held


ACCOUNT_COLUMNS = [accounts.c[name] for name in Account.__annotations__]


def remaining(account_id: ColumnElement[str]) -> ScalarSelect[int]:
    """`Account.remaining` in SQL; of an account for test keys, what its live account has."""
    own, live = accounts.alias(), accounts.alias()
    whose = select(func.coalesce(own.c.test_of, own.c.id)).where(own.c.id == account_id)
    return select(live.c.balance - live.c.held).where(live.c.id == whose.scalar_subquery()).scalar_subquery()


REMAINING = select(remaining(bindparam("whose", type_=accounts.c.id.type)))


class Accounts:
    """Accounts and their money. `keys` has their API keys, `options` what clients set for these."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.keys = Keys(db)
        self.options = Options(db)

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
            return tuple(Account(*row) for row in view.execute(select(*ACCOUNT_COLUMNS).order_by(*AGE)))

    def account(self, account_id: str) -> Account:
        """The account; raises NotFound."""
        with self._db.read() as view:
            return _account(view, account_id)

    def remaining(self, account_id: str) -> int:
        """Micro-dollars that the account can still spend: its balance minus what running requests hold.

        Of an account for test keys it is what its live account has: tests change nothing about that.
        """
        with self._db.read() as view:
            found: int | None = view.scalar(REMAINING, {"whose": account_id})
        if found is None:
            raise NotFound(f"Account {account_id} not found")
        return found

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

    def lines(self, account_id: str, limit: int = 20) -> Sequence[ledger.Line]:
        """The last rows of the account's ledger, the newest first; raises NotFound."""
        with self._db.read() as view:
            _account(view, account_id)
            return ledger.lines(view, account_id, limit)

    def imbalances(self) -> Sequence[ledger.Imbalance]:
        """Every stored sum that differs from its rows; there should be none."""
        with self._db.read() as view:
            return ledger.imbalances(view)


class Keys:
    """API keys; their secrets are shown once and stored as hashes. `cache` has those that were just used."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.cache = KeyCache()

    def create(
        self,
        account_id: str,
        name: str,
        models: Iterable[str] | None = None,
        read_only: bool = False,
        expires_in: float | None = None,
        secret: str | None = None,
        test: bool = False,
        operator: bool = False,
        safety: Safety | None = None,
        **limits: int | None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which can't be read again.

        models: slugs it may run, None for all. expires_in: seconds. secret: drawn unless given. test: draw a test
        key's; the key's account is then the account's one for test keys. operator: it controls the whole server.
        safety: how strict the safety filter is, None for the server's default. limits: attributes of `KeyLimits`.
        Raises NotFound for the account; BadRequest when the given secret has the wrong format or is a key already, or
        a test key is to be an operator's.
        """
        secret = draw(test=test) if secret is None else secret
        check(secret)
        with self._db.write() as tx:
            if not tx.scalar(select(exists().where(accounts.c.id == account_id))):
                raise NotFound(f"Account {account_id} not found")
            if tx.scalar(select(exists().where(_has(secret)))):
                raise BadRequest("This API key exists already")
            asked = {
                "name": name,
                "models": None if models is None else [*models],
                "read_only": read_only,
                "operator": operator,
                "safety": safety,
                "expires_at": None if expires_in is None else read_clock(tx) + expires_in,
            }
            return insert_key(tx, account_id, secret, asked | asdict(KeyLimits(**limits))), secret

    def list(self) -> tuple[Key, ...]:
        """All keys, the oldest first, revoked and expired ones included."""
        with self._db.read() as view:
            return _keys(view)

    def revoke(self, which: str) -> Key:
        """Revoke the key with this secret or id, or whose hint or id begins with these 4 or more characters.

        Raises NotFound when no key in force is meant, BadRequest when several are; neither repeats a secret.
        """
        with self._db.write() as tx:
            after(tx, self.cache.forget)
            return revoke_key(tx, _meant(tx, which))

    def set_safety(self, which: str, safety: Safety | None) -> Key:
        """Set how strict the safety filter is with a key, named as for `revoke`; None for the server's default."""
        with self._db.write() as tx:
            after(tx, self.cache.forget)
            key = _change(tx, _meant(tx, which).id, safety=safety)
            record(tx, "key.safety", key.id, key.account_id, **_about(key), safety=safety or "server's")
            return key

    def set_limits(self, which: str, **limits: int | None) -> Key:
        """Set some of the limits of a key, named as for `revoke`: attributes of `KeyLimits`, None for none of its own.

        What it has spent or submitted stays counted.
        """
        with self._db.write() as tx:
            after(tx, self.cache.forget)
            key = _change(tx, _meant(tx, which).id, **limits)
            own = key.limits
            changed: dict[str, Any] = {name: "none" if own[name] is None else own[name] for name in limits}
            record(tx, "key.update", key.id, key.account_id, **_about(key), **changed)
            return key

    def rotate(self, which: str, overlap: float) -> tuple[Key, str]:
        """Give the key, named as for `revoke`, a new secret; the one before works for `overlap` more seconds.

        Nothing else of it changes: its limits, what it has spent, its requests. Raises as `revoke` does.
        """
        with self._db.write() as tx:
            after(tx, self.cache.forget)
            return renew_secret(tx, _meant(tx, which), overlap)

    def cached(self, secret: str) -> Key | None:
        """The key in force with this secret, without a statement; None where `authenticate` must ask the database."""
        return self.cache.get(digest(secret)) if SECRET.fullmatch(secret) else None

    def left_of_cap(self, key: Key) -> int | None:
        """Micro-dollars that a key may still spend or hold; None where it has no cap. Read now, where it has one."""
        if key.spend_cap is None:
            return None
        with self._db.read() as view:
            row = view.execute(select(api_keys.c.spend_cap, api_keys.c.spent).where(api_keys.c.id == key.id)).one()
        return None if row.spend_cap is None else max(0, row.spend_cap - row.spent)

    def authenticate(self, secret: str) -> Key:
        """The key in force with this secret; raises Unauthorized, which says so where it is a key no longer in force.

        A text of another format is not looked up.
        """
        if not SECRET.fullmatch(secret):
            raise Unauthorized(UNKNOWN)
        began, found = self.cache.now(), select(api_keys, now().label("moment"), VERSION.label("version"))
        with self._db.read() as view:
            row = view.execute(found.where(_has(secret))).one_or_none()
        if row is None:
            raise Unauthorized(UNKNOWN)
        key, replaced = Key.of(row), row.digest != digest(secret)
        self.cache.put(digest(secret), FoundKey(key, replaced, row.moment, row.version), began)
        if row.revoked_at is not None:
            raise Unauthorized("This API key was revoked", reason="revoked")
        if row.expires_at is not None and row.expires_at <= row.moment:
            raise Unauthorized(f"This API key expired on {_date(row.expires_at)}", reason="expired")
        if replaced and row.old_until <= row.moment:
            words = f"This API key was replaced by a new one, and stopped working on {_date(row.old_until)}"
            raise Unauthorized(words, reason="replaced")
        return key


def _create(tx: Connection, name: str, credits_micro: int) -> Account:
    own = str(uuid4())
    tx.execute(insert(accounts).values(id=own, name=name, balance=0, held=0, created_at=now()))
    ledger.give(tx, own, credits_micro)
    record(tx, "account.create", own, own, name=name, dollars=dollars(credits_micro))
    return _account(tx, own)


def _account(view: Connection, account_id: str) -> Account:
    row = view.execute(select(*ACCOUNT_COLUMNS).where(accounts.c.id == account_id)).one_or_none()
    if row is None:
        raise NotFound(f"Account {account_id} not found")
    return Account(*row)


def insert_key(tx: Connection, account_id: str, secret: str, asked: Mapping[str, Any]) -> Key:
    """A key of the account with this secret, which is new and has the right format.

    A test key belongs to the account's one for test keys, without money: it sees and changes nothing that is live.
    """
    test = is_test(secret)
    if test and asked.get("operator"):
        raise BadRequest("A test key can't be an operator's: it changes nothing that is live")
    if not test and tx.scalar(select(exists().where(_is_for_tests(account_id)))):
        raise BadRequest("This account is for test keys only: make other keys for its live account")
    owner = _for_tests(tx, account_id) if test else account_id
    own = {"id": str(uuid4()), "account_id": owner, "digest": digest(secret), "hint": hint(secret), "test": test}
    fresh = insert(api_keys).values({"read_only": False, **asked, **own, "created_at": now(), "last_turn": 0})
    key = Key.of(tx.execute(fresh.returning(*KEY_COLUMNS)).one())
    record(tx, "key.create", key.id, owner, **_about(key), **_rights(key))
    return key


def renew_secret(tx: Connection, key: Key, overlap: float) -> tuple[Key, str]:
    """Give a key a new secret; the one before works for `overlap` more seconds."""
    secret = draw(test=key.test)
    old = {"old_digest": api_keys.c.digest, "old_until": read_clock(tx) + overlap}
    turned = _change(tx, key.id, **old, digest=digest(secret), hint=hint(secret))
    record(tx, "key.rotate", key.id, key.account_id, **_about(turned), was=f"{key.begins}…", overlap=overlap)
    return turned, secret


def revoke_key(tx: Connection, key: Key) -> Key:
    """Stop a key from working, both of its secrets."""
    record(tx, "key.revoke", key.id, key.account_id, **_about(key))
    return _change(tx, key.id, revoked_at=now())


def _about(key: Key) -> dict[str, Any]:
    """Its name, for the audit log, which outlives it."""
    return {"key": f"{key.begins}…", "name": key.name}


def _rights(key: Key) -> dict[str, Any]:
    """Its permissions and limits, where they differ from the default."""
    marks = {name: True for name in ("read_only", "test", "operator") if getattr(key, name)}
    models = None if key.models is None else [*key.models]
    return {**marks, "expires_at": key.expires_at, "safety": key.safety, "models": models, **key.limits}


def _change(tx: Connection, id: str, **values: Any) -> Key:
    """Change columns of a key, and have all processes see that within a second."""
    add(tx, {CHANGES: 1})
    changed = update(api_keys).where(api_keys.c.id == id).values(values)
    return Key.of(tx.execute(changed.returning(*KEY_COLUMNS)).one())


def _for_tests(tx: Connection, account_id: str) -> str:
    """The id of the account's one for test keys, made with its first test key; its own, if it is such a one."""
    known = select(accounts.c.id).where(or_(accounts.c.test_of == account_id, _is_for_tests(account_id)))
    if found := tx.scalar(known):
        return str(found)
    own: dict[str, Any] = {"id": str(uuid4()), "balance": 0, "held": 0, "created_at": now(), "test_of": account_id}
    name = tx.execute(select(accounts.c.name).where(accounts.c.id == account_id)).scalar_one()
    tx.execute(insert(accounts).values(**own, name=f"{name} (test)"))
    record(tx, "account.create", own["id"], own["id"], name=f"{name} (test)", test_of=account_id)
    return str(own["id"])


def _is_for_tests(account_id: str) -> ColumnElement[bool]:
    return and_(accounts.c.id == account_id, accounts.c.test_of.is_not(None))


def _has(secret: str) -> ColumnElement[bool]:
    return or_(api_keys.c.digest == digest(secret), api_keys.c.old_digest == digest(secret))


def _keys(view: Connection) -> tuple[Key, ...]:
    return tuple(map(Key.of, view.execute(select(*KEY_COLUMNS).order_by(api_keys.c.created_at, api_keys.c.id))))


def _meant(tx: Connection, which: str) -> Key:
    whole = len(which) <= HINT
    shown = which if whole else f"{which[:HINT]}…"
    owner = tx.scalar(select(api_keys.c.id).where(_has(which)))
    meant = [key for key in _keys(tx) if key.revoked_at is None and (key.id == owner or _is_meant(key, which))]
    if not meant:
        kept = "" if whole else f"; of a key only its first {HINT} characters are kept: name it by those or by its id"
        raise NotFound(f"No API key {shown} is in force{kept}")
    if len(meant) > 1:
        raise BadRequest(f"{shown} begins several API keys: name one by its id")
    return meant[0]


def _is_meant(key: Key, which: str) -> bool:
    return len(which) >= SHORTEST_PREFIX and (key.begins.startswith(which) or key.id.startswith(which))


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d at %H:%M UTC")
