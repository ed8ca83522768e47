"""Webhook events: the messages that go into the outbox in the transaction of what they tell of, and their links."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import Connection, bindparam, exists, insert, literal_column, select

from tintype.core import Callback
from tintype.store.billing.ledger import dollars
from tintype.store.db.records import DISABLED, EVENTS, STARTED, DeliveryStatus, Event, Request, Status, Subscription
from tintype.store.db.tables import deliveries, webhooks
from tintype.store.webhooks.predictions import prediction

#: In what a statement on a request returns: whether the request's account has webhooks. Its column is named in full,
#: since on SQLite SQLAlchemy leaves the table's name away there.
HAS_WEBHOOKS = exists().where(webhooks.c.account_id == literal_column("requests.account_id"), ~webhooks.c.removed)
OWNED = select(webhooks).where(webhooks.c.account_id == bindparam("whose"), ~webhooks.c.removed)
#: The account's own one, which signs what its requests ask for.
SIGNS = OWNED.where(webhooks.c.url.is_(None))
ENQUEUE = insert(deliveries)


def enqueue_deliveries(tx: Connection, request: Request, moment: float) -> None:
    """Write a delivery for every receiver that is told of a request's end, in the transaction that ends it.

    Those of a disabled subscription have failed already, and can be replayed.
    """
    event = EVENTS[request.status]
    bodies: dict[str, str] = {}
    rows = []
    for subscription in map(Subscription.of, tx.execute(OWNED, {"whose": request.account_id})):
        url = subscription.url if event in subscription.events else None
        if subscription.url is None:
            url = request.metadata.webhook_url
            rows += _to_callback(subscription, request, event, moment)
        if not url:
            continue
        base = subscription.base_url or request.metadata.base_url or ""
        if base not in bodies:
            bodies[base] = json.dumps(message(request, event, moment, base), ensure_ascii=False)
        rows.append(_delivery(subscription, request, event, url, bodies[base], moment))
    if rows:
        tx.execute(ENQUEUE, rows)


def enqueue_start(tx: Connection, request: Request) -> None:
    """Write the delivery that tells a request's callback of its first claim, in the transaction that claims it."""
    callback, moment = request.metadata.callback, request.timing.started_at or 0.0
    if callback is None or not _is_told(callback, STARTED):
        return
    for subscription in map(Subscription.of, tx.execute(SIGNS, {"whose": request.account_id})):
        if rows := _to_callback(subscription, request, STARTED, moment):
            tx.execute(ENQUEUE, rows)


def _is_told(callback: Callback, event: str) -> bool:
    """Whether a callback asks for an event. There are no outputs before it has completed, and logs are never sent."""
    if event == STARTED:
        return "start" in callback.events
    return "completed" in callback.events or ("output" in callback.events and event == Event.REQUEST_COMPLETED)


def _to_callback(subscription: Subscription, request: Request, event: str, moment: float) -> list[dict[str, Any]]:
    """The delivery to the request's callback, if it is told. subscription: the account's own, which signs it."""
    callback = request.metadata.callback
    if callback is None or not _is_told(callback, event):
        return []
    body = json.dumps(prediction(request, request.metadata.base_url or "", callback.version, moment))
    return [_delivery(subscription, request, event, callback.url, body, moment)]


def _delivery(
    subscription: Subscription, request: Request, event: str, url: str, body: str, moment: float
) -> dict[str, Any]:
    disabled = subscription.disabled_at is not None
    return {
        "id": f"msg_{uuid4().hex}",
        "webhook_id": subscription.id,
        "account_id": subscription.account_id,
        "request_id": request.id,
        "event": event,
        "url": url,
        "receiver": receiver(url),
        "body": body,
        "status": DeliveryStatus.FAILED if disabled else DeliveryStatus.PENDING,
        "attempt": 0,
        "earlier": 0,
        "due_at": moment,
        "created_at": moment,
        "ended_at": moment if disabled else None,
        "error": DISABLED if disabled else None,
        "traceparent": request.metadata.traceparent,
    }


def message(request: Request, event: str, moment: float, base: str) -> dict[str, Any]:
    """What a receiver reads: the Standard Webhooks form, with the request's end as data and links below `base`."""
    ended: dict[str, Any] = {"request_id": request.id, "model": request.slug, "status": request.status}
    if request.status is Status.COMPLETED and request.result is not None:
        images = [{"url": file_url(one.name, base), "seed": str(one.seed)} for one in request.result.outputs]
        billing = request.billing
        metrics = {"cost": dollars(billing.price if billing.cost is None else billing.cost)}
        metrics["inference_time"] = request.result.inference_time
        ended |= {"output": images[0]["url"] if images else None, "images": images, "metrics": metrics}
        ended |= {"warnings": [*request.warnings]} if request.warnings else {}
    data = ended | {"error": request.error} | links(request, base) | request.mode
    return {"type": event, "timestamp": datetime.fromtimestamp(moment, UTC).isoformat(), "data": data}


def links(request: Request, base: str) -> dict[str, str]:
    """Where a request's state and result are; `base` is the server's address without a slash at the end."""
    own = f"{base}/v2/requests/{request.id}"
    return {"status_url": f"{own}/status", "response_url": own}


def file_url(name: str, base: str) -> str:
    """A file's address."""
    return f"{base}/files/{name}"


def receiver(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
