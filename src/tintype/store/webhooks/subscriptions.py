"""Webhook subscriptions: an account's receivers, the events of each, and the secrets that sign them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import Connection, func, insert, select, update

from tintype.errors import BadRequest, NotFound
from tintype.store.db.audit import record
from tintype.store.db.conditions import find_owned
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import DeliveryStatus, Event, Subscription, draw_secret
from tintype.store.db.tables import deliveries, webhooks
from tintype.store.webhooks.events import receiver
from tintype.store.webhooks.outbox import PENDING, Outbox

w = webhooks.c

#: Subscriptions that one account may have: each costs a row per request.
MAX_SUBSCRIPTIONS = 20


class Webhooks:
    """An account's subscriptions; removed ones stay for their logs. `outbox` has their deliveries.

    overlap: seconds that the old secret signs too after a rotation.
    """

    def __init__(self, db: Database, outbox: Outbox, *, overlap: float) -> None:
        self._db = db
        self.outbox = outbox
        self._overlap = overlap

    def list(self, account_id: str | None = None) -> list[Subscription]:
        """An account's subscriptions, or all, the oldest first."""
        kept = select(webhooks).where(~w.removed, *([w.account_id == account_id] if account_id else []))
        with self._db.read() as view:
            return [*map(Subscription.of, view.execute(kept.order_by(w.created_at, w.id)))]

    def find(self, id: str, account_id: str) -> Subscription:
        """The account's subscription, a removed one too; raises NotFound."""
        with self._db.read() as view:
            return _find(view, id, account_id)

    def add(self, account_id: str, url: str, events: Iterable[Event], base_url: str | None = None) -> Subscription:
        """A new subscription, with links below `base_url`; raises BadRequest at the maximum of them."""
        with self._db.write() as tx:
            _check_room(tx, account_id)
            return _insert(tx, account_id, url, events, base_url)

    def own(self, account_id: str) -> Subscription:
        """The one that signs what X-Webhook-URL asks for, made when it is first needed."""
        mine = select(webhooks).where(w.account_id == account_id, w.url.is_(None))
        with self._db.read() as view:
            row = view.execute(mine).one_or_none()
        if row is not None:
            return Subscription.of(row)
        with self._db.write() as tx:
            row = tx.execute(mine).one_or_none()
            return _insert(tx, account_id, None, Event) if row is None else Subscription.of(row)

    def update(
        self, id: str, account_id: str, url: str, events: Iterable[Event], base_url: str | None = None
    ) -> Subscription:
        """Change a subscription and make it active again; pending deliveries go to the new address.

        base_url: None leaves it as it is.
        Raises NotFound, and BadRequest when it was removed and the account has by now as many as it may.
        """
        with self._db.write() as tx:
            before = _editable(tx, id, account_id)
            if before.removed:
                _check_room(tx, account_id)
            moved = update(deliveries).where(
                deliveries.c.webhook_id == id, deliveries.c.status != DeliveryStatus.DELIVERED
            )
            tx.execute(moved.values(url=url, receiver=receiver(url)))
            active = {"disabled_at": None, "disabled_reason": None, "removed": False}
            below = {} if base_url is None else {"base_url": base_url}
            subscription = _change(tx, id, url=url, events=[*events], **active, **below)
            was = None if before.url == url else _site(before.url)
            record(tx, "webhook.update", id, account_id, receiver=_site(url), was=was, events=[*subscription.events])
            return subscription

    def drop_base_urls(self) -> None:
        """The operator has set the server's address: drop the addresses by which subscriptions were added."""
        with self._db.write() as tx:
            based = update(webhooks).where(w.base_url.is_not(None)).values(base_url=None)
            if count := tx.execute(based).rowcount:
                record(tx, "webhook.rebase", "all", webhooks=count)

    def remove(self, id: str, account_id: str) -> Subscription:
        """Make a subscription inactive; its pending deliveries are not sent. Raises NotFound."""
        with self._db.write() as tx:
            subscription = _editable(tx, id, account_id)
            if not subscription.removed:
                record(tx, "webhook.remove", id, account_id, receiver=_site(subscription.url))
            waiting = update(deliveries).where(deliveries.c.webhook_id == id, PENDING)
            over = {"status": DeliveryStatus.FAILED, "ended_at": read_clock(tx), "lease_until": None}
            tx.execute(waiting.values(**over, error="the webhook was made inactive"))
            return _change(tx, id, removed=True)

    def rotate(self, id: str, account_id: str) -> Subscription:
        """Draw a new secret; the old one signs too for `overlap` seconds, so that receivers can change over.

        Raises NotFound.
        """
        with self._db.write() as tx:
            subscription = _find(tx, id, account_id)
            record(tx, "webhook.rotate", id, account_id, receiver=_site(subscription.url), overlap=self._overlap)
            until = read_clock(tx) + self._overlap
            return _change(tx, id, secret=draw_secret(), old_secret=subscription.secret, old_until=until)


def _find(view: Connection, id: str, account_id: str) -> Subscription:
    return Subscription.of(find_owned(view, webhooks, id, account_id, NotFound(f"Webhook {id[:80]} not found")))


def _check_room(tx: Connection, account_id: str) -> None:
    count = select(func.count()).where(w.account_id == account_id, ~w.removed, w.url.is_not(None))
    if (tx.scalar(count) or 0) >= MAX_SUBSCRIPTIONS:
        raise BadRequest(f"An account may have {MAX_SUBSCRIPTIONS} webhooks: make one inactive first")


def _editable(tx: Connection, id: str, account_id: str) -> Subscription:
    subscription = _find(tx, id, account_id)
    if subscription.url is None:
        raise BadRequest("This webhook has no address of its own: requests name theirs with X-Webhook-URL")
    return subscription


def _insert(
    tx: Connection, account_id: str, url: str | None, events: Iterable[Event], base_url: str | None = None
) -> Subscription:
    asked: dict[str, Any] = {"id": str(uuid4()), "account_id": account_id, "url": url, "events": [*events]}
    asked |= {"secret": draw_secret(), "base_url": base_url}
    fresh = insert(webhooks).values(**asked, created_at=read_clock(tx), removed=False)
    record(tx, "webhook.add", asked["id"], account_id, receiver=_site(url), events=asked["events"])
    return Subscription.of(tx.execute(fresh.returning(webhooks)).one())


def _change(tx: Connection, id: str, **values: Any) -> Subscription:
    return Subscription.of(tx.execute(update(webhooks).where(w.id == id).values(values).returning(webhooks)).one())


def _site(url: str | None) -> str:
    """What of an address may be logged: paths, queries and names before an @ may be secrets of the receiver's."""
    if url is None:
        return "as X-Webhook-URL says"
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if parts.port is None else f":{parts.port}")
