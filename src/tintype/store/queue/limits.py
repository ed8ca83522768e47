"""Admission: rate limits and limits of concurrent requests and images, of a key, an account, and all together."""

from __future__ import annotations

from math import ceil
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select, true, update

from tintype.errors import Forbidden, TooManyRequests
from tintype.store.accounts.keys import Ceilings
from tintype.store.db.conditions import UNENDED
from tintype.store.db.records import Allowance, Request
from tintype.store.db.tables import accounts, api_keys, requests
from tintype.store.queue import eta

MINUTE = 60.0
#: Seconds after which it makes sense to retry where nothing was measured yet. No longer wait than a minute is given:
#: estimates so far ahead are worthless.
RETRY_AFTER = 2.0


class Group(NamedTuple):
    """The keys that share a limit."""

    #: For messages: as subject, and with `would`.
    words: str
    would: str
    #: Condition on requests.
    keys: ColumnElement[bool]


class Limit(NamedTuple):
    """A maximum, and the keys that share it."""

    max: int
    group: Group


def admit(tx: Connection, request: Request, ceilings: Ceilings) -> Allowance | None:
    """Admit a new request and take a token; raises Full, TooManyRequests, and Forbidden where no wait would help.

    Returns what is left in the key's own token bucket or its account's, the smaller of the two; None without a limit.
    """
    bucket = accounts.c.bucket_full_at.label("account_full_at")
    with_bucket = select(api_keys, bucket).join(accounts, accounts.c.id == api_keys.c.account_id)
    key = tx.execute(with_bucket.where(api_keys.c.id == request.key_id)).one()
    if ceilings.queue:
        _check_queue(tx, request, ceilings)
    for limit in _limits(key, "concurrency", ceilings):
        _check_requests(tx, request, limit)
    for limit in _limits(key, "max_queued", ceilings):
        _check_images(tx, request, limit)
    return _take_tokens(tx, key, ceilings, request.timing.submitted_at)


def _check_queue(tx: Connection, request: Request, ceilings: Ceilings) -> None:
    """The whole queue's size, and one account's share of it."""
    limit = ceilings.of_queue
    if request.images > limit:
        words = f"One account may have {limit} pictures in the queue; this request asks for {request.images}"
        raise Forbidden(words, reason="limit")
    own = _account(request.account_id)
    counted = select(func.sum(_IMAGES), func.sum(_IMAGES).filter(requests.c.key_id.in_(own)))
    all_images, mine = tx.execute(counted.where(*_unended(request))).one()
    if all_images > ceilings.queue:
        raise Full(f"The queue is full: it holds {ceilings.queue} pictures", true(), request)
    if mine > limit:
        words = f"One account may have {limit} of the {ceilings.queue} pictures that the queue holds"
        raise Full(f"{words}; with this request it would have {mine}", requests.c.key_id.in_(own), request)


def _check_requests(tx: Connection, request: Request, limit: Limit) -> None:
    concurrent = tx.scalar(select(func.count()).where(*_unended(request), limit.group.keys)) or 0
    if concurrent > limit.max:
        words = f"Too many requests: {limit.group.words} may have {limit.max} at the same time"
        raise Full(words, limit.group.keys, request)


def _check_images(tx: Connection, request: Request, limit: Limit) -> None:
    words = f"Too many pictures: {limit.group.words} may have {limit.max} at the same time"
    if request.images > limit.max:  # no wait would help
        raise Forbidden(f"{words}; this request alone asks for {request.images}", reason="limit")
    images = tx.scalar(select(func.sum(_IMAGES)).where(*_unended(request), limit.group.keys)) or 0
    if images > limit.max:
        words = f"{words}; with this request {limit.group.would} have {images}"
        raise Full(words, limit.group.keys, request)


class Full(Exception):
    """There is no room until one of the requests `which` ends."""

    def __init__(self, words: str, which: ColumnElement[bool], request: Request) -> None:
        super().__init__(words)
        self.words, self.which, self.moment = words, which, request.timing.submitted_at

    def refusal(self, view: Connection) -> TooManyRequests:
        """For the caller, with how long to wait by this server's measured speeds, where there are any.

        It reads the whole queue, which needs no lock.
        """
        left = eta.first_end(view, self.which)
        return TooManyRequests(self.words, min(MINUTE, RETRY_AFTER if left is None else left), self.moment)


def _take_tokens(tx: Connection, key: Row[Any], ceilings: Ceilings, moment: float) -> Allowance | None:
    """A token of the key's own bucket and one of its account's, where there are such; of neither if one is empty."""
    own, shared = _numbers(key, "rpm", ceilings)
    left = []
    if own:
        left.append(_one_token(key.bucket_full_at, Limit(own, _own(key)), moment))
        tx.execute(update(api_keys).where(api_keys.c.id == key.id).values(bucket_full_at=left[-1].full_at))
    if shared:
        left.append(_one_token(key.account_full_at, Limit(shared, _sharing(key, "rpm")), moment))
        tx.execute(update(accounts).where(accounts.c.id == key.account_id).values(bucket_full_at=left[-1].full_at))
    return min(left, default=None)


def _one_token(full_at: float, limit: Limit, moment: float) -> Allowance:
    """A token bucket that fills within a minute, stored as the moment at which it will be full again.

    That is no later than in a minute, unless the clock was set back since.
    """
    full_at = max(min(full_at, moment + MINUTE), moment) + MINUTE / limit.max
    spare = moment + MINUTE + 1e-6 - full_at  # rounding errors
    if spare < 0:
        wait = full_at - moment - MINUTE
        words = f"Too many requests: {limit.group.words} may send {limit.max} per minute"
        raise TooManyRequests(f"{words}. Retry in {max(1, ceil(wait))} s.", wait, moment)
    return Allowance(int(spare * limit.max / MINUTE), full_at)


def _limits(key: Row[Any], name: str, ceilings: Ceilings) -> list[Limit]:
    own, shared = _numbers(key, name, ceilings)
    return [Limit(own, _own(key))] * bool(own) + [Limit(shared, _sharing(key, name))] * bool(shared)


def _numbers(key: Row[Any], name: str, ceilings: Ceilings) -> tuple[int, int]:
    """The key's own maximum, and the one that it shares with others of its account; 0 for none."""
    own: int | None = key._mapping[name]
    shared: int = 0 if own is not None and not key.self_made else getattr(ceilings, name)
    return own or 0, shared


def _own(key: Row[Any]) -> Group:
    return Group("this API key", "it would", requests.c.key_id == key.id)


def _sharing(key: Row[Any], name: str) -> Group:
    """The keys of an account that share the server's maximum, those that no longer work included."""
    sharing = _account(key.account_id).where(or_(api_keys.c[name].is_(None), api_keys.c.self_made))
    return Group("the API keys of this account together", "they would", requests.c.key_id.in_(sharing))


def _account(account_id: str) -> Any:
    return select(api_keys.c.id).where(api_keys.c.account_id == account_id)


_IMAGES = requests.c.pictures


def _unended(request: Request) -> tuple[ColumnElement[bool], ...]:
    """Requests of its mode: test and live ones have limits apart from each other."""
    return (UNENDED, requests.c.test.is_(request.test))
