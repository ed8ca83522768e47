"""Key delegation: a key makes, rotates and revokes keys of its account, without privilege escalation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, or_, select

from tintype.catalog.limits import LIMITS, SHARED_LIMITS
from tintype.errors import BadRequest, Forbidden, NotFound, TooManyRequests, Unauthorized
from tintype.store.accounts.accounts import insert_key, renew_secret, revoke_key
from tintype.store.accounts.keys import KEY_COLUMNS, Ceilings, Key, draw
from tintype.store.db.database import Database, after, now, read_clock
from tintype.store.db.tables import accounts, api_keys, requests

k = api_keys.c

#: What a new key inherits from the key that makes it, where nothing is said.
INHERITED = ("models", "expires_at", "safety", *(name for name, limit in LIMITS.items() if limit.scope == "request"))
DAY = 86_400.0
#: Seconds for which a key that a key made is shown after it has stopped working.
SHOWN = 7 * DAY


class KeyDelegation:
    """The keys of an account and its test keys, as one of them manages them.

    max_keys: keys in force that an account may have, made here; 0 disables it. daily: keys that it may make in a day.
    ceilings: the server's own limits, above which no key may set its own. forget: called when a key has been changed.
    """

    def __init__(
        self,
        db: Database,
        *,
        max_keys: int,
        daily: int,
        ceilings: Ceilings,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._max_keys = max_keys
        self._daily = daily
        self._ceilings = ceilings
        self._forget = forget

    def list(self, caller: Key) -> list[Key]:
        """All keys that the caller's account has, the oldest first; a test key sees test keys only."""
        seen = select(*KEY_COLUMNS).where(_family(caller)).order_by(k.created_at, k.id)
        with self._db.read() as view:
            return [*map(Key.of, view.execute(seen))]

    def create(self, caller: Key, asked: Mapping[str, Any], expires_in: float | None = None) -> tuple[Key, str]:
        """A new key and its secret, which can't be read again.

        asked: columns of the key: name, models, read_only, test and limits; those of INHERITED that are left out are
        the caller's. expires_in: seconds. Raises Forbidden for more than the caller may do itself, BadRequest at the
        maximum of keys, and TooManyRequests at the maximum of new keys per day.
        """
        with self._db.write() as tx:
            caller = _fresh(tx, caller)
            _check_alone(caller)
            self._check_room(tx, caller)
            self._check_day(tx, caller)
            wanted = {name: getattr(caller, name) for name in INHERITED} | dict(asked) | {"self_made": True}
            if expires_in is not None:
                wanted["expires_at"] = read_clock(tx) + expires_in
            test = caller.test or bool(wanted.pop("test", False))
            key = insert_key(tx, caller.account_id, secret := draw(test=test), wanted)
            self._check_rights(caller, key)
            return key, secret

    def rotate(self, caller: Key, id: str, overlap: float) -> tuple[Key, str]:
        """A new secret for a key; the one before works for `overlap` more seconds. Raises NotFound, Forbidden."""
        with self._db.write() as tx:
            after(tx, self._forget)
            return renew_secret(tx, self._governed(tx, caller, id), overlap)

    def revoke(self, caller: Key, id: str) -> Key:
        """Stop a key from working; raises NotFound, Forbidden."""
        with self._db.write() as tx:
            after(tx, self._forget)
            return revoke_key(tx, self._governed(tx, caller, id))

    def expire(self) -> int:
        """Delete keys that keys made and that stopped working long ago, once no request is theirs; how many."""
        with self._db.write() as tx:
            ended = func.coalesce(k.revoked_at, k.expires_at) < now() - SHOWN
            asked = exists().where(requests.c.key_id == k.id)
            return tx.execute(delete(api_keys).where(k.self_made, ended, ~asked)).rowcount

    def makes(self, caller: Key) -> bool:
        """Whether the caller may make keys at all."""
        return self._max_keys > 0 and not caller.read_only and not multiplied_limits(caller)

    def governs(self, caller: Key, key: Key) -> bool:
        """Whether the caller may rotate and revoke the key."""
        may = caller.id == key.id or (not multiplied_limits(caller) and not self._escalation(caller, key))
        return may and not caller.read_only and key.revoked_at is None

    def _governed(self, tx: Connection, caller: Key, id: str) -> Key:
        caller = _fresh(tx, caller)
        row = tx.execute(select(*KEY_COLUMNS).where(k.id == id, _family(caller), k.revoked_at.is_(None))).one_or_none()
        if row is None:
            raise NotFound(f"No API key {id[:80]} is in force here")
        key = Key.of(row)
        if key.id != caller.id:
            _check_alone(caller)
            self._check_rights(caller, key)
        return key

    def _check_rights(self, caller: Key, key: Key) -> None:
        if more := self._escalation(caller, key):
            raise Forbidden(f"A key makes and changes none that may do more than itself: {more}", reason="keys")

    def _escalation(self, caller: Key, key: Key) -> str:
        return next(privilege_escalation(key, caller, self._ceilings), "")

    def _check_room(self, tx: Connection, caller: Key) -> None:
        if not self._max_keys:
            raise Forbidden("On this server the operator makes the keys: `tintype keys create`", reason="keys")
        alive = (_family(caller), k.revoked_at.is_(None), or_(k.expires_at.is_(None), k.expires_at > now()))
        if (tx.scalar(select(func.count()).select_from(api_keys).where(*alive)) or 0) >= self._max_keys:
            raise BadRequest(f"An account may have {self._max_keys} API keys: revoke one first")

    def _check_day(self, tx: Connection, caller: Key) -> None:
        """Revoked keys count too: else making and revoking in turn would fill the table."""
        moment = read_clock(tx)
        lately = (_family(caller), k.self_made, k.created_at > moment - DAY, k.created_at <= moment)
        made = tx.scalars(select(k.created_at).where(*lately).order_by(k.created_at.desc()).limit(self._daily)).all()
        if len(made) >= self._daily:
            raise TooManyRequests(f"An account may make {self._daily} API keys a day", made[-1] + DAY - moment, moment)


def _check_alone(caller: Key) -> None:
    if limits := multiplied_limits(caller):
        words = f"This API key has {limits[0]}, which another key would multiply: it manages only itself"
        raise Forbidden(words, reason="keys")


def _fresh(tx: Connection, caller: Key) -> Key:
    """The caller's key as it is under the lock: it may have been revoked since the call came in."""
    key = Key.of(tx.execute(select(*KEY_COLUMNS).where(k.id == caller.id)).one())
    if key.state(read_clock(tx)) != "in force":
        raise Unauthorized("This API key is no longer in force", reason="revoked")
    return key


def _family(caller: Key) -> ColumnElement[bool]:
    """Keys of the caller's account; of a live one also its test keys."""
    tests = select(accounts.c.id).where(accounts.c.test_of == caller.account_id)
    return or_(k.account_id == caller.account_id, k.account_id.in_(tests))


def multiplied_limits(key: Key) -> list[str]:
    """Those of its limits, in words, for which it manages no key but itself."""
    multiplied = (limit for limit in LIMITS.values() if limit.scope != "request")
    return [limit.own for limit in multiplied if getattr(key, limit.name) is not None]


def privilege_escalation(key: Key, over: Key, ceilings: Ceilings) -> Iterator[str]:
    """What a key may do that `over` may not, or that exceeds this server's own limits, in words.

    Only an operator sets a key's own limits above the server's.
    """
    if over.test and not key.test:
        yield "it is no test key"
    if over.models is not None and (key.models is None or not {*key.models} <= {*over.models}):
        yield f"its models are not among {', '.join(over.models)}"
    for name, limit in LIMITS.items():
        own, theirs = getattr(key, name), getattr(over, name)
        if limit.scope == "request" and theirs is not None and (own is None or own > theirs):
            yield f"its {name} are not {theirs} or fewer"
    if over.expires_at is not None and (key.expires_at is None or key.expires_at > over.expires_at):
        yield "it works for longer"
    # Where the two differ, only the strictest is safe: the server's default, None, isn't known here.
    if key.safety not in (over.safety, "block"):
        yield "its safety check is another"
    if key.operator and not over.operator:
        yield "it is an operator's"
    for name in SHARED_LIMITS:
        own, ceiling = getattr(key, name), getattr(ceilings, name)
        if own is not None and ceiling and own > ceiling:
            yield f"its {name} is above this server's {ceiling}"
