"""Submitting a request: checked against its key's limits, its price held, queued; once per idempotency key.

The limits, of a key, an account and all together: requests per minute, concurrent requests and images, bytes of input
images; of a key also requests and dollars per day, and dollars in all.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Row,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from tintype.catalog.limits import DAILY_LIMITS, LIMITS, SHARED_LIMITS
from tintype.core import GenerationParams, Json, Size
from tintype.errors import Forbidden, IdempotencyMismatch, QueueFull, TooManyRequests
from tintype.settings.groups import Safety
from tintype.store.accounts.keys import Ceilings, Key
from tintype.store.billing import ledger
from tintype.store.db.conditions import kept
from tintype.store.db.database import now
from tintype.store.db.notify import Channel, notify
from tintype.store.db.records import DAY, Allowance, Billing, Lease, Request, RequestMetadata, Status, Timing, utc_day
from tintype.store.db.statements import Statement
from tintype.store.db.tables import accounts, api_keys, inputs, requests, unended
from tintype.store.queue.lifecycle import Rules

columns = requests.c

MINUTE = 60.0
#: Seconds after which it makes sense to retry where nothing was measured yet, or an account's quota is used up. No
#: longer wait than a minute is given: estimates so far ahead are worthless.
RETRY_AFTER = 2.0


@dataclass(frozen=True, slots=True)
class Input:
    """A request's input images, stored here until it ends: a file, the bytes that they take, the init image's pixels.

    Those that came in the request's body have files of their own, which count against its account's quota and are
    deleted when the request ends. Uploads and outputs are only referred to: 0 bytes.
    """

    name: str
    bytes: int
    #: None where the init image isn't among them.
    size: Size | None
    #: The files of the others.
    further: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.name, *self.further


@dataclass(frozen=True, slots=True)
class NewRequest:
    """What is to be queued."""

    #: Whose it is.
    key: Key
    #: The model's.
    slug: str
    #: What was sent, validated, in the model's own words.
    params: Json
    #: Micro-dollars to hold: its cost or, with a rate, the maximum of that. A test key's request is free.
    price: int
    _: KW_ONLY
    generation: GenerationParams | None = None
    #: Micro-dollars per second of the model's work; None where the price is per image.
    rate: int | None = None
    images: int = 1
    #: Higher runs first.
    priority: int = 0
    #: Model evaluations, as far as is known.
    steps: int = 0
    #: What the speed of its steps is filed under.
    speed_key: str | None = None
    safety: Safety = "off"
    #: Seconds until it is cancelled.
    cancel_after: float | None = None
    #: Seconds in which it isn't claimable.
    start_after: float = 0.0
    #: Its input images, where any of them is stored here.
    input: Input | None = None
    metadata: RequestMetadata = field(default_factory=RequestMetadata)
    id: str = field(default_factory=lambda: str(uuid4()))


class Repeated(Exception):
    """The API key has sent the idempotency key before: `submit_again` finds what with."""


def submit(tx: Connection, new: NewRequest, rules: Rules) -> Request:
    """Queue a request and hold its price, in as few statements as there are rows to write.

    What they return is checked, so that a refusal comes after the fact. Raises OutOfCredits, TooManyRequests,
    Forbidden, `Repeated`, and `Full`, whose `refusal` is for the caller: then the transaction must be rolled back.
    """
    try:
        request = _insert(tx, new)
    except IntegrityError as error:
        # No look before: nearly every idempotency key is new.
        if new.metadata.idempotency_key and new.metadata.fingerprint:
            raise Repeated from error
        raise
    return _admit(tx, request, new, rules)


def submit_again(tx: Connection, new: NewRequest, rules: Rules) -> Request:
    """The same for an idempotency key that is `Repeated`: the request that was sent with it, or a new one.

    Raises IdempotencyMismatch too.
    """
    key_id, once, fingerprint = new.key.id, new.metadata.idempotency_key, new.metadata.fingerprint
    if once and fingerprint and (before := repeated(tx, key_id, once, fingerprint)):
        return before
    # An expired record keeps the key until it is removed.
    expired = update(requests).where(_sent_with(key_id, once or ""), columns.expires_at <= now())
    tx.execute(expired.values(idempotency_key=None))
    return _admit(tx, _insert(tx, new), new, rules)


def repeated(view: Connection, key_id: str, idempotency_key: str, fingerprint: str) -> Request | None:
    """The request that the API key sent with this idempotency key, if it did; raises IdempotencyMismatch.

    fingerprint: a hash of what is sent with it now.
    """
    same = select(requests).where(_sent_with(key_id, idempotency_key), kept(now()))
    row = view.execute(same).one_or_none()
    if row is not None and row.fingerprint != fingerprint:
        raise IdempotencyMismatch(headers={"x-request-id": row.id})
    return None if row is None else Request.of(row)


def _sent_with(key_id: str, idempotency_key: str) -> ColumnElement[bool]:
    return and_(columns.key_id == key_id, columns.idempotency_key == idempotency_key)


# Statements, built once: that takes longer than running them

LAST = select(func.coalesce(func.max(columns.seq), 0)).scalar_subquery()
INSERT = Statement(
    insert(requests)
    .values(
        seq=LAST + 1,
        submitted_at=now(),
        due_at=now() + bindparam("start_after", type_=Double()),
        cancel_at=now() + bindparam("cancel_after", type_=Double()),
    )
    .returning(columns.seq, columns.submitted_at, columns.due_at, columns.cancel_at)
)
IN_INPUTS = Statement(insert(inputs))
NEW = {"status": Status.QUEUED, "attempt": 0, "hand_backs": 0, "cancel_requested": False, "step": 0}


def _insert(tx: Connection, new: NewRequest) -> Request:
    key, metadata, price = new.key, new.metadata, 0 if new.key.test else new.price
    generation = None if new.generation is None else new.generation.to_json()
    row = {
        **NEW,
        "id": new.id,
        "account_id": key.account_id,
        "key_id": key.id,
        "slug": new.slug,
        "params": new.params,
        "generation": generation,
        "price": price,
        "rate": new.rate,
        "priority": new.priority,
        "steps": new.steps,
        "start_after": new.start_after or None,
        "cancel_after": new.cancel_after,
        "pictures": new.images,
        "pace": new.speed_key,
        "test": key.test,
        "safety": new.safety,
        "base_url": metadata.base_url,
        "webhook_url": metadata.webhook_url,
        "idempotency_key": metadata.idempotency_key,
        "fingerprint": metadata.fingerprint,
        "reply": metadata.reply,
        "traceparent": metadata.traceparent,
        "dialect": metadata.dialect,
        "asked": metadata.asked,
        "callback": metadata.callback and metadata.callback.to_json(),
    }
    made = INSERT.one(tx, row)
    return Request(
        id=new.id,
        seq=made.seq,
        account_id=key.account_id,
        key_id=key.id,
        slug=new.slug,
        params=new.params,
        stored_generation=generation,
        status=Status.QUEUED,
        attempt=0,
        step=0,
        steps=new.steps,
        images=new.images,
        priority=new.priority,
        test=key.test,
        safety=new.safety,
        speed_key=new.speed_key,
        timing=Timing(made.submitted_at, due_at=made.due_at, cancel_at=made.cancel_at),
        lease=Lease(),
        billing=Billing(price, new.rate),
        metadata=metadata,
    )


def _token_taken(full_at: ColumnElement[float], per_minute: ColumnElement[int]) -> ColumnElement[float]:
    """A token bucket that fills within a minute, stored as the moment at which it will be full again; less a token.

    That is no later than in a minute, unless the clock was set back since. per_minute: its size; 0 or NULL for none.
    """
    now_at: BindParameter[float] = bindparam("taken_at", type_=Double())
    latest = now_at + MINUTE
    before = case((full_at > latest, latest), (full_at < now_at, now_at), else_=full_at)
    return case((per_minute > 0, before + literal(MINUTE, Double()) / cast(per_minute, Double())), else_=full_at)


TAKE_FROM_KEY = Statement(
    update(api_keys)
    .where(api_keys.c.id == bindparam("whose"))
    .values(**ledger.HELD_BY_KEY, bucket_full_at=_token_taken(api_keys.c.bucket_full_at, api_keys.c.rpm))
    .returning(*(api_keys.c[name] for name in ("id", "account_id", *SHARED_LIMITS, "self_made")))
    .returning(*(api_keys.c[name] for name in ("spend_cap", "spent", "bucket_full_at")))
    .returning(*(api_keys.c[name] for limit in DAILY_LIMITS for name in (limit.name, limit.used)))
)


class Needed(NamedTuple):
    """Which sums over what has not ended the limits of a request are about; that request is in them."""

    #: Images of the whole queue, and of the account.
    queue: bool
    #: Requests and images of the key.
    own: bool
    #: Requests, and images, of the keys that share the account's limit.
    requests: bool
    images: bool
    #: Bytes of the account's input images.
    inputs: bool


@lru_cache(32)
def _take_from_account(needed: Needed) -> Statement:
    """Test and live requests have limits apart from each other."""
    whose: BindParameter[str] = bindparam("whose", type_=String())
    u = unended.c
    alike = u.test == bindparam("is_test", type_=Boolean())
    mine, own = and_(alike, u.account_id == whose), u.key_id == bindparam("own_key", type_=String())
    sums = {
        "queue": (needed.queue, select(func.sum(u.images)).where(alike)),
        "account": (needed.queue, select(func.sum(u.images)).where(mine)),
        "own_requests": (needed.own, select(func.sum(u.requests)).where(own)),
        "own_images": (needed.own, select(func.sum(u.images)).where(own)),
        "shared_requests": (needed.requests, select(func.sum(u.requests)).where(mine, _sharing("concurrency"))),
        "shared_images": (needed.images, select(func.sum(u.images)).where(mine, _sharing("max_queued"))),
        "inputs": (needed.inputs, select(func.sum(inputs.c.size)).where(inputs.c.account_id == whose)),
    }
    given = [(one.scalar_subquery() if need else null()).label(name) for name, (need, one) in sums.items()]
    taken = _token_taken(accounts.c.bucket_full_at, bindparam("per_minute", type_=Integer()))
    row = accounts.c.balance, accounts.c.held, accounts.c.bucket_full_at
    changed = update(accounts).where(accounts.c.id == whose).values(**ledger.HELD_BY_ACCOUNT, bucket_full_at=taken)
    return Statement(changed.returning(*row, *given))


def _sharing(name: str) -> ColumnElement[bool]:
    """Sums of the keys that share the account's limit of that name."""
    return unended.c.key_id.in_(select(api_keys.c.id).where(_shares(name)))


def _shares(name: str) -> ColumnElement[bool]:
    return or_(api_keys.c[name].is_(None), api_keys.c.self_made)


def _shared(key: Row[Any], name: str, ceilings: Ceilings) -> int:
    """The server's maximum of that name, where the key shares it with others of its account; else 0."""
    own: int | None = getattr(key, name)
    shared: int = 0 if own is not None and not key.self_made else getattr(ceilings, name)
    return shared


# The limits


def _admit(tx: Connection, request: Request, new: NewRequest, rules: Rules) -> Request:
    """Take a new request's price and tokens from its key and its account, and check what is left."""
    taken = {"taken_at": request.timing.submitted_at, "hold_price": request.billing.price}
    today = utc_day(request.timing.submitted_at)
    key = TAKE_FROM_KEY.one(tx, {**taken, "whose": request.key_id, "today": today})
    shared = {name: _shared(key, name, rules.ceilings) for name in SHARED_LIMITS}
    needed = Needed(
        queue=bool(rules.ceilings.queue),
        own=bool(key.concurrency or key.max_queued),
        requests=bool(shared["concurrency"]),
        images=bool(shared["max_queued"]),
        inputs=bool(new.input and new.input.bytes),
    )
    about = {"whose": key.account_id, "own_key": key.id, "is_test": request.test, "per_minute": shared["rpm"]}
    ledger.hold(tx, request)
    account = _take_from_account(needed).one_with_waiting(tx, {**taken, **about})
    allowance = _check(request, key, account, rules.ceilings)
    if new.input:
        _admit_input(tx, request, new.input, int(account.inputs or 0), rules.input_quota)
    ledger.check_hold(request, key, account)
    notify(tx, Channel.claimable(test=request.test))
    return replace(request, allowance=allowance, remaining=account.balance - account.held)


class Full(Exception):
    """There is no room until one of the requests `which` ends."""

    def __init__(
        self, words: str, which: ColumnElement[bool], request: Request, kind: type[TooManyRequests] = TooManyRequests
    ) -> None:
        super().__init__(words)
        self.words, self.which, self.moment, self.kind = words, which, request.timing.submitted_at, kind

    def refusal(self, left: float | None) -> TooManyRequests:
        """For the caller. left: the seconds until one of them ends, as far as is known."""
        return self.kind(self.words, min(MINUTE, RETRY_AFTER if left is None else left), self.moment)


class Maximum(NamedTuple):
    """A maximum of a name in SHARED_LIMITS, and the keys that share it."""

    name: str
    max: int
    #: The row of the key that it is checked for.
    key: Row[Any]
    #: Whether its account's keys share it, or it has it for itself.
    shared: bool

    @property
    def words(self) -> str:
        """The beginning of its refusal."""
        whose = ("the API keys of this account together",) if self.shared else ()
        return LIMITS[self.name].refuses(self.max, *whose)

    @property
    def which(self) -> ColumnElement[bool]:
        """Condition on requests: those of the keys."""
        # Keys that no longer work are among them.
        theirs = select(api_keys.c.id).where(api_keys.c.account_id == self.key.account_id, _shares(self.name))
        return columns.key_id.in_(theirs if self.shared else [self.key.id])


def _check(request: Request, key: Row[Any], account: Row[Any], ceilings: Ceilings) -> Allowance | None:
    """Check a new request by the rows that it has changed; raises Full, TooManyRequests, Forbidden if no wait helps.

    Returns what is left of its requests per day, in the key's own token bucket or in its account's, the least of them;
    None without a limit.
    """
    left = _check_day(request, key)  # first, since that wait is the longest
    if ceilings.queue:
        _check_queue(request, account, ceilings)
    for limit in _limits(key, "concurrency", ceilings):
        _check_requests(request, limit, account.shared_requests if limit.shared else account.own_requests)
    for limit in _limits(key, "max_queued", ceilings):
        _check_images(request, limit, account.shared_images if limit.shared else account.own_images)
    moment = request.timing.submitted_at
    left += [
        _allowance((account if limit.shared else key).bucket_full_at, limit, moment)
        for limit in _limits(key, "rpm", ceilings)
    ]
    return min(left, default=None)


def _check_day(request: Request, key: Row[Any]) -> list[Allowance]:
    """The key's limits of a UTC day: that on which the request was submitted, which is counted in them already."""
    moment, price = request.timing.submitted_at, request.billing.price
    midnight = (utc_day(moment) + 1) * float(DAY)
    again = f"Retry after midnight UTC, in {ceil(midnight - moment)} s."
    if key.daily_requests is not None and key.daily_requests_used > key.daily_requests:
        words = LIMITS["daily_requests"].refuses(key.daily_requests)
        raise TooManyRequests(f"{words}. {again}", midnight - moment, moment)
    if key.daily_spend is not None and price and key.daily_spend_used > key.daily_spend:
        words, needs = LIMITS["daily_spend"].refuses(ledger.shown(key.daily_spend)), ledger.shown(price)
        if price > key.daily_spend:  # no wait would help
            raise Forbidden(f"{words}; this request alone needs {needs}", reason="limit")
        left = ledger.shown(max(0, key.daily_spend - key.daily_spend_used + price))
        words = f"{words}, of which {left} is left, but this request needs {needs}"
        raise TooManyRequests(f"{words}. {again}", midnight - moment, moment)
    return [] if key.daily_requests is None else [Allowance(key.daily_requests - key.daily_requests_used, midnight)]


def _check_queue(request: Request, account: Row[Any], ceilings: Ceilings) -> None:
    """The whole queue's size, and one account's share of it."""
    limit = ceilings.of_queue
    if request.images > limit:
        words = f"One account may have {limit} images in the queue; this request asks for {request.images}"
        raise Forbidden(words, reason="limit")
    if account.queue > ceilings.queue:
        raise Full(f"The queue is full: it holds {ceilings.queue} images", true(), request, QueueFull)
    if account.account > limit:
        words = f"One account may have {limit} of the {ceilings.queue} images that the queue holds"
        own = columns.key_id.in_(select(api_keys.c.id).where(api_keys.c.account_id == request.account_id))
        raise Full(f"{words}; with this request it would have {account.account}", own, request, QueueFull)


def _check_requests(request: Request, limit: Maximum, concurrent: int) -> None:
    if concurrent > limit.max:
        raise Full(limit.words, limit.which, request)


def _check_images(request: Request, limit: Maximum, images: int) -> None:
    if request.images > limit.max:  # no wait would help
        raise Forbidden(f"{limit.words}; this request alone asks for {request.images}", reason="limit")
    if images > limit.max:
        words = f"{limit.words}; with this request {'they' if limit.shared else 'it'} would have {images}"
        raise Full(words, limit.which, request)


def _allowance(full_at: float, limit: Maximum, moment: float) -> Allowance:
    """What is left in a token bucket, of which one has been taken."""
    spare = moment + MINUTE + 1e-6 - full_at  # rounding errors
    if spare < 0:
        wait = full_at - moment - MINUTE
        raise TooManyRequests(f"{limit.words}. Retry in {max(1, ceil(wait))} s.", wait, moment)
    return Allowance(int(spare * limit.max / MINUTE), full_at)


def _limits(key: Row[Any], name: str, ceilings: Ceilings) -> list[Maximum]:
    """The key's own maximum of that name, and the server's, which it shares with others of its account."""
    own, shared = getattr(key, name), _shared(key, name, ceilings)
    both = (Maximum(name, own or 0, key, shared=False), Maximum(name, shared, key, shared=True))
    return [limit for limit in both if limit.max]


def _admit_input(tx: Connection, request: Request, image: Input, taken: int, quota: int) -> None:
    """Note a new request's images; those of one account that came in bodies may take `quota` bytes together.

    taken: bytes of those before it.
    Raises TooManyRequests, and Forbidden for what alone takes more.
    """
    if taken + image.bytes > quota:
        words = f"The input images of an account's requests may take {quota} bytes together until those end"
        if not taken:
            raise Forbidden(f"{words}; this one alone takes {image.bytes}", reason="limit")
        raise TooManyRequests(f"{words}: {taken} are taken, and this one takes {image.bytes}", RETRY_AFTER)
    width, height = image.size or (None, None)
    further = " ".join(image.further) or None
    row = {"name": image.name, "size": image.bytes, "width": width, "height": height, "further": further}
    IN_INPUTS.later(tx, {"request_id": request.id, "account_id": request.account_id, **row})
