"""How much may be asked at once: by one key, by an account, and by all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select, true, update

from tintype.errors import Forbidden, TooManyRequests
from tintype.store.db.records import Allowance, Request, Status
from tintype.store.db.tables import accounts, api_keys, requests
from tintype.store.queue import eta as outlook

MINUTE = 60.0
#: Seconds after which it makes sense to look again where nothing was measured yet; no wait is told above a minute, as
#: an estimate so far ahead is none.
PATIENCE = 2.0


@dataclass(frozen=True)
class Ceilings:
    """The server's limits, 0 for none.

    The first three hold for all keys of an account together, whoever made them and however often they are exchanged;
    but for a key to which an operator gave a number of its own: that has the number for itself, beside the others.
    """

    #: Requests per minute, of which as many can come at once as have been saved up.
    rpm: int = 0
    #: Requests, and pictures, that have not ended.
    concurrency: int = 0
    max_queued: int = 0
    #: Pictures of all accounts that have not ended, and how much of them one account's may be.
    queue: int = 0
    share: float = 1.0

    @property
    def of_queue(self) -> int:
        """Pictures that one account may have in the queue; 0 for any number."""
        return max(1, int(self.queue * self.share)) if self.queue else 0


NO_CEILINGS = Ceilings()


class Group(NamedTuple):
    """Whom a limit is for: in words, and as keys."""

    words: str
    would: str
    keys: ColumnElement[bool]


class Limit(NamedTuple):
    """A number, and whom it is for."""

    most: int
    group: Group


def admit(tx: Connection, request: Request, ceilings: Ceilings) -> Allowance | None:
    """Let a new request in and take a token for it; raises Full, TooManyRequests, Forbidden for what never gets in.

    Returns what is left of the key's own minute or of its account's, the smaller of the two; None without a limit.
    """
    bucket = accounts.c.bucket_full_at.label("account_full_at")
    with_bucket = select(api_keys, bucket).join(accounts, accounts.c.id == api_keys.c.account_id)
    key = tx.execute(with_bucket.where(api_keys.c.id == request.key_id)).one()
    if ceilings.queue:
        _check_queue(tx, request, ceilings)
    for limit in _limits(key, "concurrency", ceilings):
        _check_requests(tx, request, limit)
    for limit in _limits(key, "max_queued", ceilings):
        _check_pictures(tx, request, limit)
    return _take_tokens(tx, key, ceilings, request.submitted_at)


def _check_queue(tx: Connection, request: Request, ceilings: Ceilings) -> None:
    """Room for all, and enough of it for the others."""
    most = ceilings.of_queue
    if request.pictures > most:
        words = f"One account may have {most} pictures in the queue; this request asks for {request.pictures}"
        raise Forbidden(words, reason="limit")
    own = _account(request.account_id)
    counted = select(func.sum(_PICTURES), func.sum(_PICTURES).filter(requests.c.key_id.in_(own)))
    everybody, mine = tx.execute(counted.where(*_unended(request))).one()
    if everybody > ceilings.queue:
        raise Full(f"The queue is full: it holds {ceilings.queue} pictures", true(), request.submitted_at)
    if mine > most:
        words = f"One account may have {most} of the {ceilings.queue} pictures that the queue holds"
        words = f"{words}; with this request it would have {mine}"
        raise Full(words, requests.c.key_id.in_(own), request.submitted_at)


def _check_requests(tx: Connection, request: Request, limit: Limit) -> None:
    at_once = tx.scalar(select(func.count()).where(*_unended(request), limit.group.keys)) or 0
    if at_once > limit.most:
        words = f"{limit.group.words} may have {limit.most} requests at once"
        raise Full(words, limit.group.keys, request.submitted_at)


def _check_pictures(tx: Connection, request: Request, limit: Limit) -> None:
    words = f"{limit.group.words} may have {limit.most} pictures at once"
    if request.pictures > limit.most:  # no wait would help
        raise Forbidden(f"{words}; this request alone asks for {request.pictures}", reason="limit")
    pictures = tx.scalar(select(func.sum(_PICTURES)).where(*_unended(request), limit.group.keys)) or 0
    if pictures > limit.most:
        words = f"{words}; with this request {limit.group.would} have {pictures}"
        raise Full(words, limit.group.keys, request.submitted_at)


class Full(Exception):
    """There is no room; when one of the requests ends that are meant by `whose`, there is."""

    def __init__(self, words: str, whose: ColumnElement[bool], moment: float) -> None:
        super().__init__(words)
        self.words, self.whose, self.moment = words, whose, moment

    def refusal(self, view: Connection) -> TooManyRequests:
        """What the caller is told: how long to wait by this server's own paces, if they tell.

        It takes a look at the whole queue, for which the lock isn't needed.
        """
        left = outlook.first_end(view, self.whose)
        return TooManyRequests(self.words, min(MINUTE, PATIENCE if left is None else left), self.moment)


def _take_tokens(tx: Connection, key: Row[Any], ceilings: Ceilings, moment: float) -> Allowance | None:
    """One of the key's own bucket and one of its account's, where there are such; of neither if one is empty."""
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
    """A bucket of tokens that fills within a minute, kept as the moment at which it will be full again.

    None is full later than in a minute, unless the clock was set back since.
    """
    full_at = max(min(full_at, moment + MINUTE), moment) + MINUTE / limit.most
    spare = moment + MINUTE + 1e-6 - full_at  # what rounding can add up to
    if spare < 0:
        words = f"{limit.group.words} may send {limit.most} requests per minute"
        raise TooManyRequests(words, full_at - moment - MINUTE, moment)
    return Allowance(int(spare * limit.most / MINUTE), full_at)


def _limits(key: Row[Any], name: str, ceilings: Ceilings) -> list[Limit]:
    own, shared = _numbers(key, name, ceilings)
    return [Limit(own, _own(key))] * bool(own) + [Limit(shared, _sharing(key, name))] * bool(shared)


def _numbers(key: Row[Any], name: str, ceilings: Ceilings) -> tuple[int, int]:
    """The key's own number, and the one that it has together with others of its account; 0 for none."""
    own: int | None = key._mapping[name]
    shared: int = 0 if own is not None and not key.self_made else getattr(ceilings, name)
    return own or 0, shared


def _own(key: Row[Any]) -> Group:
    return Group("This API key", "it would", requests.c.key_id == key.id)


def _sharing(key: Row[Any], name: str) -> Group:
    """The keys of an account that have the server's number together, those that no longer work among them."""
    sharing = _account(key.account_id).where(or_(api_keys.c[name].is_(None), api_keys.c.self_made))
    return Group("The API keys of this account together", "they would", requests.c.key_id.in_(sharing))


def _account(account_id: str) -> Any:
    return select(api_keys.c.id).where(api_keys.c.account_id == account_id)


_PICTURES = requests.c.pictures


def _unended(request: Request) -> tuple[ColumnElement[bool], ...]:
    """Test requests take no room from live ones, nor the other way round."""
    return (requests.c.status.in_((Status.QUEUED, Status.PROCESSING)), requests.c.test.is_(request.test))
