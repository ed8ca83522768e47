"""What receivers are told: the messages that go into the outbox in the transaction that ends their request."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import Connection, insert, select

from tintype.store.billing.money import dollars
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import deliveries, webhooks
from tintype.store.webhooks.links import file_url, links
from tintype.store.webhooks.records import DISABLED, EVENTS, Delivered, Hook


def announce(tx: Connection, request: Request, moment: float) -> None:
    """Write what is to be sent about a request that has just ended, in the same transaction."""
    event = EVENTS[request.status]
    hooks = tx.execute(select(webhooks).where(webhooks.c.account_id == request.account_id, ~webhooks.c.removed))
    told = [
        (hook, url, hook.base_url or request.base_url or "")
        for hook in map(Hook.of, hooks)
        if (url := _address(hook, request, event))
    ]
    if told:
        bodies = {base: json.dumps(message(request, event, moment, base), ensure_ascii=False) for _, _, base in told}
        tx.execute(
            insert(deliveries), [_fresh(hook, request, event, url, bodies[base], moment) for hook, url, base in told]
        )


def message(request: Request, event: str, moment: float, base: str) -> dict[str, Any]:
    """What a receiver reads: the Standard Webhooks form, with the request's end as data and links below `base`."""
    made = request.result or {}
    images = [{"url": file_url(one, base), "seed": str(one["seed"])} for one in made.get("pictures", ())]
    ended: dict[str, Any] = {"request_id": request.id, "model": request.slug, "status": request.status}
    if request.status is Status.COMPLETED:
        metrics = {"cost": dollars(request.price if request.cost is None else request.cost)}
        metrics["inference_time"] = made.get("inference_time", 0.0)
        ended |= {"output": images[0]["url"] if images else None, "images": images, "metrics": metrics}
        ended |= {"warnings": request.warnings} if request.warnings else {}
    data = ended | {"error": request.error} | links(request, base) | request.mode
    return {"type": event, "timestamp": datetime.fromtimestamp(moment, UTC).isoformat(), "data": data}


def receiver(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _address(hook: Hook, request: Request, event: str) -> str | None:
    """Where a webhook is told of the event; one that was disabled is too, so that nothing is lost unseen."""
    if hook.url is None:
        return request.webhook_url
    return hook.url if event in hook.events else None


def _fresh(hook: Hook, request: Request, event: str, url: str, body: str, moment: float) -> dict[str, Any]:
    """A delivery's first row; of a disabled webhook it has failed already, and can be replayed."""
    whose = {"webhook_id": hook.id, "account_id": hook.account_id, "request_id": request.id}
    what = {"event": event, "url": url, "receiver": receiver(url), "body": body}
    state = {"status": Delivered.PENDING, "attempt": 0, "earlier": 0, "due_at": moment, "created_at": moment}
    state |= {"ended_at": None, "error": None, "traceparent": request.traceparent}
    if hook.disabled_at is not None:
        state |= {"status": Delivered.FAILED, "ended_at": moment, "error": DISABLED}
    return {"id": f"msg_{uuid4().hex}", **whose, **what, **state}
