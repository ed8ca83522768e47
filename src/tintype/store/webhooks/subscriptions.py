"""Webhooks: an account's receivers, what each is told of, and the secrets that sign it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import Connection, func, insert, select, update

from tintype.errors import BadRequest, NotFound
from tintype.store.db.audit import record
from tintype.store.db.database import Database, read_clock
from tintype.store.db.tables import deliveries, webhooks
from tintype.store.webhooks.events import receiver
from tintype.store.webhooks.outbox import PENDING
from tintype.store.webhooks.records import Delivered, Event, Hook, draw_secret

w = webhooks.c

#: Receivers that one account may have: each costs a row per request.
MOST = 20


class Webhooks:
    """An account's webhooks; those that their owner removed are kept for their logs.

    overlap: seconds that the old secret signs too after a rotation.
    """

    def __init__(self, db: Database, *, overlap: float) -> None:
        self._db = db
        self._overlap = overlap

    def list(self, account_id: str | None = None) -> list[Hook]:
        """An account's webhooks, or everybody's, the oldest first."""
        kept = select(webhooks).where(~w.removed, *([w.account_id == account_id] if account_id else []))
        with self._db.read() as view:
            return [*map(Hook.of, view.execute(kept.order_by(w.created_at, w.id)))]

    def find(self, id: str, account_id: str) -> Hook:
        """The account's webhook, a removed one too; raises NotFound."""
        with self._db.read() as view:
            return _find(view, id, account_id)

    def add(self, account_id: str, url: str, events: Iterable[Event], base_url: str | None = None) -> Hook:
        """A new webhook, with links below `base_url`; raises BadRequest when the account has as many as it may."""
        with self._db.write() as tx:
            _check_room(tx, account_id)
            return _insert(tx, account_id, url, events, base_url)

    def own(self, account_id: str) -> Hook:
        """The one that signs what X-Webhook-URL asks for, made when it is first needed."""
        mine = select(webhooks).where(w.account_id == account_id, w.url.is_(None))
        with self._db.read() as view:
            row = view.execute(mine).one_or_none()
        if row is not None:
            return Hook.of(row)
        with self._db.write() as tx:
            row = tx.execute(mine).one_or_none()
            return _insert(tx, account_id, None, Event) if row is None else Hook.of(row)

    def update(self, id: str, account_id: str, url: str, events: Iterable[Event], base_url: str | None = None) -> Hook:
        """Change a webhook and make it active again; what waits goes to the new address.

        base_url: None leaves it as it is.
        Raises NotFound, and BadRequest when it was removed and the account has by now as many as it may.
        """
        with self._db.write() as tx:
            before = _editable(tx, id, account_id)
            if before.removed:
                _check_room(tx, account_id)
            moved = update(deliveries).where(deliveries.c.webhook_id == id, deliveries.c.status != Delivered.DELIVERED)
            tx.execute(moved.values(url=url, receiver=receiver(url)))
            active = {"disabled_at": None, "disabled_reason": None, "removed": False}
            below = {} if base_url is None else {"base_url": base_url}
            hook = _change(tx, id, url=url, events=[*events], **active, **below)
            was = None if before.url == url else _site(before.url)
            record(tx, "webhook.update", id, account_id, receiver=_site(url), was=was, events=[*hook.events])
            return hook

    def forget_bases(self) -> None:
        """The operator has said what the server's address is: what webhooks were added by counts no more."""
        with self._db.write() as tx:
            based = update(webhooks).where(w.base_url.is_not(None)).values(base_url=None)
            if count := tx.execute(based).rowcount:
                record(tx, "webhook.rebase", "all", webhooks=count)

    def remove(self, id: str, account_id: str) -> Hook:
        """Make a webhook inactive; what still waits for it is not sent. Raises NotFound."""
        with self._db.write() as tx:
            hook = _editable(tx, id, account_id)
            if not hook.removed:
                record(tx, "webhook.remove", id, account_id, receiver=_site(hook.url))
            waiting = update(deliveries).where(deliveries.c.webhook_id == id, PENDING)
            over = {"status": Delivered.FAILED, "ended_at": read_clock(tx), "lease_until": None}
            tx.execute(waiting.values(**over, error="the webhook was made inactive"))
            return _change(tx, id, removed=True)

    def rotate(self, id: str, account_id: str) -> Hook:
        """Draw a new secret; the old one signs too for a while, so that receivers can change over. Raises NotFound."""
        with self._db.write() as tx:
            hook = _find(tx, id, account_id)
            record(tx, "webhook.rotate", id, account_id, receiver=_site(hook.url), overlap=self._overlap)
            until = read_clock(tx) + self._overlap
            return _change(tx, id, secret=draw_secret(), old_secret=hook.secret, old_until=until)


def _find(view: Connection, id: str, account_id: str) -> Hook:
    row = view.execute(select(webhooks).where(w.id == id, w.account_id == account_id)).one_or_none()
    if row is None:
        raise NotFound(f"Webhook {id[:80]} not found")
    return Hook.of(row)


def _check_room(tx: Connection, account_id: str) -> None:
    count = select(func.count()).where(w.account_id == account_id, ~w.removed, w.url.is_not(None))
    if (tx.scalar(count) or 0) >= MOST:
        raise BadRequest(f"An account may have {MOST} webhooks: make one inactive first")


def _editable(tx: Connection, id: str, account_id: str) -> Hook:
    hook = _find(tx, id, account_id)
    if hook.url is None:
        raise BadRequest("This webhook has no address of its own: requests name theirs with X-Webhook-URL")
    return hook


def _insert(
    tx: Connection, account_id: str, url: str | None, events: Iterable[Event], base_url: str | None = None
) -> Hook:
    asked: dict[str, Any] = {"id": str(uuid4()), "account_id": account_id, "url": url, "events": [*events]}
    asked |= {"secret": draw_secret(), "base_url": base_url}
    fresh = insert(webhooks).values(**asked, created_at=read_clock(tx), removed=False)
    record(tx, "webhook.add", asked["id"], account_id, receiver=_site(url), events=asked["events"])
    return Hook.of(tx.execute(fresh.returning(webhooks)).one())


def _change(tx: Connection, id: str, **values: Any) -> Hook:
    return Hook.of(tx.execute(update(webhooks).where(w.id == id).values(values).returning(webhooks)).one())


def _site(url: str | None) -> str:
    """What of an address can be told: paths, queries and names before an @ may be secrets of the receiver's."""
    if url is None:
        return "as X-Webhook-URL says"
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if parts.port is None else f":{parts.port}")
