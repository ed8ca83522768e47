"""Submitting a request: checked against its key's limits, its price held, queued; once per idempotency key.

The limits, of a key, an account and all together: requests per minute, concurrent requests and images, bytes of input
images.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from math import ceil
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, or_, select, true, update

from tintype.core import GenerationParams, Json, Size
from tintype.errors import Forbidden, IdempotencyMismatch, TooManyRequests
from tintype.settings.groups import Safety
from tintype.store.accounts.keys import Ceilings, Key
from tintype.store.billing import ledger
from tintype.store.db.conditions import UNENDED, kept
from tintype.store.db.database import now
from tintype.store.db.notify import Channel, notify
from tintype.store.db.records import Allowance, Request, RequestMetadata, Status
from tintype.store.db.tables import accounts, api_keys, inputs, requests
from tintype.store.queue import eta
from tintype.store.queue.lifecycle import Rules

columns = requests.c

MINUTE = 60.0
#: Seconds after which it makes sense to retry where nothing was measured yet, or an account's quota is used up. No
#: longer wait than a minute is given: estimates so far ahead are worthless.
RETRY_AFTER = 2.0


@dataclass(frozen=True, slots=True)
class Input:
    """A request's input image, stored here until its request ends: its file, the bytes that this takes, its pixels.

    One that came in the request's body has a file of its own, which counts against its account's quota and is deleted
    when the request ends. An upload or an output is only referred to: 0 bytes.
    """

    name: str
    bytes: int
    size: Size


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
    #: Its input image, where that is stored here.
    input: Input | None = None
    metadata: RequestMetadata = field(default_factory=RequestMetadata)
    id: str = field(default_factory=lambda: str(uuid4()))


def submit(tx: Connection, new: NewRequest, rules: Rules) -> Request:
    """Queue a request and hold its price; or return the one that its idempotency key was sent with before.

    Raises OutOfCredits, TooManyRequests, Forbidden, IdempotencyMismatch, and `Full`, whose `refusal` is for the
    caller: then the transaction must be rolled back.
    """
    key, metadata = new.key, new.metadata
    if metadata.idempotency_key and metadata.fingerprint:
        if before := repeated(tx, key.id, metadata.idempotency_key, metadata.fingerprint):
            return before
        # An expired record keeps the key until it is removed.
        mine = _sent_with(key.id, metadata.idempotency_key)
        tx.execute(update(requests).where(mine, columns.expires_at <= now()).values(idempotency_key=None))
    last = select(func.coalesce(func.max(columns.seq), 0)).scalar_subquery()
    row = insert(requests).values(
        id=new.id,
        seq=last + 1,
        account_id=key.account_id,
        key_id=key.id,
        slug=new.slug,
        params=new.params,
        generation=None if new.generation is None else new.generation.to_json(),
        price=0 if key.test else new.price,
        rate=new.rate,
        priority=new.priority,
        status=Status.QUEUED,
        attempt=0,
        hand_backs=0,
        cancel_requested=False,
        step=0,
        steps=new.steps,
        submitted_at=now(),
        due_at=now() + new.start_after if new.start_after else None,
        cancel_at=None if new.cancel_after is None else now() + new.cancel_after,
        pictures=new.images,
        pace=new.speed_key,
        test=key.test,
        safety=new.safety,
        base_url=metadata.base_url,
        webhook_url=metadata.webhook_url,
        idempotency_key=metadata.idempotency_key,
        fingerprint=metadata.fingerprint,
        reply=metadata.reply,
        traceparent=metadata.traceparent,
    )
    request = Request.of(tx.execute(row.returning(requests)).one())
    allowance = _admit(tx, request, rules.ceilings)
    if new.input:
        _admit_input(tx, request, new.input, rules.input_quota)
    ledger.hold(tx, request)
    notify(tx, Channel.claimable(test=request.test))
    return replace(request, allowance=allowance)


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


# The limits


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


class Limit(NamedTuple):
    """A maximum, and the keys that share it."""

    max: int
    #: For messages: the keys as subject, and with `would`.
    words: str
    would: str
    #: Condition on requests: those of the keys.
    requests: ColumnElement[bool]
    #: Whether an account's keys share it, or one key has it for itself.
    shared: bool


def _admit(tx: Connection, request: Request, ceilings: Ceilings) -> Allowance | None:
    """Admit a new request and take a token; raises Full, TooManyRequests, and Forbidden where no wait would help.

    Returns what is left in the key's own token bucket or its account's, the smaller of the two; None without a limit.
    """
    bucket = accounts.c.bucket_full_at.label("account_full_at")
    with_bucket = select(api_keys, bucket).join(accounts, accounts.c.id == api_keys.c.account_id)
    key = tx.execute(with_bucket.where(api_keys.c.id == request.key_id)).one()
    # Test and live requests have limits apart from each other.
    unended = and_(UNENDED, columns.test.is_(request.test))
    if ceilings.queue:
        _check_queue(tx, request, ceilings, unended)
    for limit in _limits(key, "concurrency", ceilings):
        _check_requests(tx, request, limit, unended)
    for limit in _limits(key, "max_queued", ceilings):
        _check_images(tx, request, limit, unended)
    left = []
    for limit in _limits(key, "rpm", ceilings):  # where one is empty, none is taken
        owner, id = (accounts, key.account_id) if limit.shared else (api_keys, key.id)
        full_at = key.account_full_at if limit.shared else key.bucket_full_at
        left.append(_take_token(full_at, limit, request.timing.submitted_at))
        tx.execute(update(owner).where(owner.c.id == id).values(bucket_full_at=left[-1].full_at))
    return min(left, default=None)


def _check_queue(tx: Connection, request: Request, ceilings: Ceilings, unended: ColumnElement[bool]) -> None:
    """The whole queue's size, and one account's share of it."""
    limit = ceilings.of_queue
    if request.images > limit:
        words = f"One account may have {limit} images in the queue; this request asks for {request.images}"
        raise Forbidden(words, reason="limit")
    own = columns.key_id.in_(select(api_keys.c.id).where(api_keys.c.account_id == request.account_id))
    counted = select(func.sum(columns.pictures), func.sum(columns.pictures).filter(own))
    all_images, mine = tx.execute(counted.where(unended)).one()
    if all_images > ceilings.queue:
        raise Full(f"The queue is full: it holds {ceilings.queue} images", true(), request)
    if mine > limit:
        words = f"One account may have {limit} of the {ceilings.queue} images that the queue holds"
        raise Full(f"{words}; with this request it would have {mine}", own, request)


def _check_requests(tx: Connection, request: Request, limit: Limit, unended: ColumnElement[bool]) -> None:
    concurrent = tx.scalar(select(func.count()).where(unended, limit.requests)) or 0
    if concurrent > limit.max:
        words = f"Too many requests: {limit.words} may have {limit.max} at the same time"
        raise Full(words, limit.requests, request)


def _check_images(tx: Connection, request: Request, limit: Limit, unended: ColumnElement[bool]) -> None:
    words = f"Too many images: {limit.words} may have {limit.max} at the same time"
    if request.images > limit.max:  # no wait would help
        raise Forbidden(f"{words}; this request alone asks for {request.images}", reason="limit")
    images = tx.scalar(select(func.sum(columns.pictures)).where(unended, limit.requests)) or 0
    if images > limit.max:
        words = f"{words}; with this request {limit.would} have {images}"
        raise Full(words, limit.requests, request)


def _take_token(full_at: float, limit: Limit, moment: float) -> Allowance:
    """A token bucket that fills within a minute, stored as the moment at which it will be full again.

    That is no later than in a minute, unless the clock was set back since.
    """
    full_at = max(min(full_at, moment + MINUTE), moment) + MINUTE / limit.max
    spare = moment + MINUTE + 1e-6 - full_at  # rounding errors
    if spare < 0:
        wait = full_at - moment - MINUTE
        words = f"Too many requests: {limit.words} may send {limit.max} per minute"
        raise TooManyRequests(f"{words}. Retry in {max(1, ceil(wait))} s.", wait, moment)
    return Allowance(int(spare * limit.max / MINUTE), full_at)


def _limits(key: Row[Any], name: str, ceilings: Ceilings) -> list[Limit]:
    """The key's own maximum of that name, and the server's, which it shares with others of its account."""
    own: int | None = key._mapping[name]
    shared: int = 0 if own is not None and not key.self_made else getattr(ceilings, name)
    limits = []
    if own:
        limits.append(Limit(own, "this API key", "it would", columns.key_id == key.id, shared=False))
    if shared:
        # Keys that no longer work are among them.
        of_account = api_keys.c.account_id == key.account_id, or_(api_keys.c[name].is_(None), api_keys.c.self_made)
        theirs = columns.key_id.in_(select(api_keys.c.id).where(*of_account))
        words = "the API keys of this account together"
        limits.append(Limit(shared, words, "they would", theirs, shared=True))
    return limits


def _admit_input(tx: Connection, request: Request, image: Input, quota: int) -> None:
    """Note a new request's image; those of one account that came in bodies may take `quota` bytes together.

    Raises TooManyRequests, and Forbidden for an image that alone takes more.
    """
    mine = select(func.coalesce(func.sum(inputs.c.size), 0)).where(inputs.c.account_id == request.account_id)
    taken = int(tx.execute(mine).scalar_one()) if image.bytes else 0
    if taken + image.bytes > quota:
        words = f"The input images of an account's requests may take {quota} bytes together until those end"
        if not taken:
            raise Forbidden(f"{words}; this one alone takes {image.bytes}", reason="limit")
        raise TooManyRequests(f"{words}: {taken} are taken, and this one takes {image.bytes}", RETRY_AFTER)
    width, height = image.size
    row = {"name": image.name, "size": image.bytes, "width": width, "height": height}
    tx.execute(insert(inputs).values(request_id=request.id, account_id=request.account_id, **row))
