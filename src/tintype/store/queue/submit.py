"""Submitting a request: checked against its key's limits, its price held, queued; once per idempotency key."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from tintype.core import GenerationParams
from tintype.errors import IdempotencyMismatch
from tintype.settings import Safety
from tintype.store.accounts.keys import Key
from tintype.store.billing import ledger
from tintype.store.db.conditions import kept
from tintype.store.db.database import notify, now
from tintype.store.db.records import Json, Request, RequestMetadata, Status
from tintype.store.db.tables import requests
from tintype.store.queue import inputs, limits
from tintype.store.queue.inputs import Input
from tintype.store.queue.lifecycle import Rules

columns = requests.c


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

    Raises OutOfCredits, TooManyRequests, Forbidden, IdempotencyMismatch, and `limits.Full`, whose `refusal` is for the
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
    allowance = limits.admit(tx, request, rules.ceilings)
    if new.input:
        inputs.admit(tx, request, new.input, rules.input_quota)
    ledger.hold(tx, request)
    notify(tx)
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
