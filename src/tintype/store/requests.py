"""The caller's side of a request: submit it, follow it, cancel it; its record expires."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from tintype.errors import OutOfCredits, RequestUnknown
from tintype.store import turns
from tintype.store.database import now, read_clock
from tintype.store.keys import Key
from tintype.store.leases import Leases
from tintype.store.money import shown
from tintype.store.records import CANCELLED, Json, Mark, Request, Status, Verdict
from tintype.store.tables import accounts, requests, workers
from tintype.store.turns import columns

__all__ = ["Mark", "Request", "Requests", "Status", "Verdict"]

#: Seconds after which a worker that went without a word is forgotten.
WORKER_MEMORY = 3600.0


class Requests(Leases):
    """The request row is the record, the queue entry and the lease: callers' methods here, workers' in Leases."""

    def submit(self, key: Key, slug: str, params: Json, price: int, priority: int = 0, steps: int = 0) -> Request:
        """Queue a request and hold its price, in micro-dollars; raises OutOfCredits, with nothing queued.

        priority: higher runs first. steps: how many there will be, as far as is known.
        """
        with self._db.write() as tx:
            _hold(tx, key.account_id, price)
            last = select(func.coalesce(func.max(columns.seq), 0)).scalar_subquery()
            asked = {"slug": slug, "params": params, "price": price, "priority": priority, "steps": steps}
            asker = {"id": str(uuid4()), "seq": last + 1, "account_id": key.account_id, "key_id": key.id}
            fresh = {"status": Status.QUEUED, "attempt": 0, "hand_backs": 0, "cancel_requested": False, "step": 0}
            row = tx.execute(insert(requests).values(**asker, **asked, **fresh, submitted_at=now()).returning(requests))
            return Request.of(row.one())

    def find(self, id: str, account_id: str) -> Request:
        """The account's request; raises RequestUnknown when there is none, or no more, or it is another account's."""
        with self._db.read() as view:
            return _find(view, id, account_id)

    def ended(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that have ended."""
        if not ids:
            return set()
        over = columns.status.in_((Status.COMPLETED, Status.FAILED))
        with self._db.read() as view:
            return set(view.scalars(select(columns.id).where(columns.id.in_(ids), over)))

    def position(self, id: str) -> int | None:
        """1 for the request that is claimed next, and so on in the order of claims; None when it is not queued."""
        with self._db.read() as view:
            return turns.position(view, id)

    def cancel(self, id: str, account_id: str) -> Request:
        """End a queued request; have the worker of a running one stop it at its next renewal; leave an ended one.

        Returns the request after that; raises RequestUnknown as `find` does.
        """
        with self._db.write() as tx:
            request = _find(tx, id, account_id)
            if request.status is Status.QUEUED:
                self._end(tx, request, CANCELLED)
            elif not request.ended:
                self._change(tx, id, cancel_requested=True)
            return _find(tx, id, account_id)

    def expired(self) -> list[Json]:
        """The parameters of the records whose time is over, for whoever must clean up before `expire` removes them."""
        with self._db.read() as view:
            return list(view.scalars(select(columns.params).where(columns.expires_at <= now())))

    def expire(self) -> int:
        """Remove the records whose time is over, give up what no worker will claim, forget old workers.

        Returns the number of requests removed.
        """
        with self._db.write() as tx:
            moment = read_clock(tx)
            self._give_up(tx, moment)
            tx.execute(delete(workers).where(workers.c.seen_at < moment - WORKER_MEMORY))
            return tx.execute(delete(requests).where(columns.expires_at <= moment)).rowcount


def _find(view: Connection, id: str, account_id: str) -> Request:
    kept = or_(columns.expires_at.is_(None), columns.expires_at > now())
    row = view.execute(select(requests).where(columns.id == id, columns.account_id == account_id, kept)).one_or_none()
    if row is None:
        raise RequestUnknown(id)
    return Request.of(row)


def _hold(tx: Connection, account_id: str, price: int) -> None:
    account = tx.execute(select(accounts).where(accounts.c.id == account_id)).one()
    available = account.balance - account.held
    if available < price:
        raise OutOfCredits(f"The balance available is {shown(available)}, but this request needs {shown(price)}")
    tx.execute(update(accounts).where(accounts.c.id == account_id).values(held=accounts.c.held + price))
