"""The caller's side of a request: submit it, follow it, cancel it; its record expires."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Unpack
from uuid import uuid4

from sqlalchemy import Connection, Select, delete, exists, func, insert, or_, select

from tintype.errors import PerhapsDone, PerhapsQueued, RequestUnknown
from tintype.store.accounts.keys import Key
from tintype.store.billing import ledger
from tintype.store.db import counters
from tintype.store.db.clock import set_back
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.notify import ring
from tintype.store.db.records import CANCELLED, Json, Request, RequestMetadata, Status
from tintype.store.db.tables import requests, workers
from tintype.store.queue import idempotency, inputs, limits
from tintype.store.queue.fairness import columns
from tintype.store.queue.history import archive
from tintype.store.queue.inputs import Input, Size
from tintype.store.queue.lifecycle import Leases, lost
from tintype.store.queue.limits import NO_CEILINGS, Ceilings
from tintype.telemetry.metrics import MISSED

#: Seconds after which a worker that went without a word is forgotten.
WORKER_MEMORY = 3600.0
#: Of so many calls of `end_overdue`, one looks while nothing waits or runs.
SPARING = 4


class Requests(Leases):
    """The request row is the record, the queue entry and the lease: callers' methods here, workers' in Leases."""

    def __init__(
        self,
        db: Database,
        *,
        lease: float,
        retention: float,
        max_attempts: int = 3,
        warm_wait: float = 0.0,
        discard: Callable[[str], None] = lambda _name: None,
        ceilings: Ceilings = NO_CEILINGS,
        input_quota: int = 2**30,
    ) -> None:
        """input_quota: bytes that pictures from the bodies of one account's requests may take until those end."""
        super().__init__(
            db, lease=lease, retention=retention, max_attempts=max_attempts, warm_wait=warm_wait, discard=discard
        )
        self._ceilings = ceilings
        self._input_quota = input_quota
        #: Whether anything waited or ran at the last look for what is overdue, or was queued here since; calls spared.
        self._expects, self._spared = True, 0

    def submit(
        self,
        key: Key,
        slug: str,
        params: Json,
        price: int,
        priority: int = 0,
        steps: int = 0,
        *,
        cancel_after: float | None = None,
        start_after: float = 0.0,
        picture: Input | None = None,
        **around: Unpack[RequestMetadata],
    ) -> Request:
        """Queue a request and hold its price, in micro-dollars; or find the one that its idempotency key was sent with.

        priority: higher runs first. steps: how many there will be, as far as is known. cancel_after: seconds until
        nobody wants it any more. start_after: seconds in which nobody claims it. picture: its input picture, where that
        is kept here. With a rate, the price is the most that it can come to. What a test key asks for is free.
        Raises OutOfCredits, TooManyRequests, Forbidden, IdempotencyMismatch, StoreUnavailable: then nothing is queued;
        and PerhapsQueued.
        """
        asked = {"slug": slug, "params": params, "priority": priority, "steps": steps}
        asked |= {"price": 0 if key.test else price, "due_at": now() + start_after if start_after else None}
        asked |= {"cancel_at": None if cancel_after is None else now() + cancel_after}
        asker = {"id": str(uuid4()), "account_id": key.account_id, "key_id": key.id, "test": key.test}
        try:
            return self._submit({**asker, **asked, **around}, picture)
        except limits.Full as full:
            with self._db.read() as view:
                raise full.refusal(view) from None
        finally:
            self._expects = True

    def _submit(self, asked: dict[str, Any], picture: Input | None) -> Request:
        once = asked.get("idempotency_key")
        try:
            with self._db.write() as tx:
                if once:
                    if before := idempotency.repeated(tx, asked["key_id"], once, asked["fingerprint"]):
                        return before
                    idempotency.free(tx, asked["key_id"], once)
                request = _insert(tx, **asked)
                allowance = limits.admit(tx, request, self._ceilings)
                if picture:
                    inputs.admit(tx, request, picture, self._input_quota)
                ledger.hold(tx, request)
                ring(tx)
                return replace(request, allowance=allowance)
        except PerhapsDone as error:
            raise PerhapsQueued.of(asked["id"], once=once is not None) from error.__cause__

    def repeated(self, key: Key, idempotency_key: str, fingerprint: str) -> Request | None:
        """The request that the API key sent with this idempotency key, if it did; raises IdempotencyMismatch."""
        with self._db.read() as view:
            return idempotency.repeated(view, key.id, idempotency_key, fingerprint)

    def find(self, id: str, account_id: str) -> Request:
        """The account's request; raises RequestUnknown when there is none, or no more, or it is another account's."""
        with self._db.read() as view:
            return _find(view, id, account_id)

    def depth(self) -> tuple[int, int, float | None]:
        """Live requests that wait and that run, and for how many seconds the longest has waited; None where none does.

        A request that a dead worker left behind counts as running until another one takes it.
        """
        live = select(func.count(), func.min(columns.submitted_at)).where(~columns.test)
        with self._db.read() as view:
            queued, oldest = view.execute(live.where(columns.status == Status.QUEUED)).one()
            running, _ = view.execute(live.where(columns.status == Status.PROCESSING)).one()
            return queued, running, None if oldest is None else max(0.0, read_clock(view) - oldest)

    def cancel(self, id: str, account_id: str) -> Request:
        """End a queued request; have a running one's worker stop it; leave an ended one.

        The worker does so at its next renewal at the latest. Returns the request after that; raises
        RequestUnknown as `find` does.
        """
        with self._db.write() as tx:
            request = _find(tx, id, account_id)
            if request.status is Status.QUEUED:
                self._end(tx, request, CANCELLED)
            elif not request.ended:
                self._change(tx, id, cancel_requested=True)
            return _find(tx, id, account_id)

    def end_overdue(self) -> None:
        """End what nobody works on and nobody wants any more; what is worked on ends by its next renewal.

        To be called each second. While there is nothing that could be overdue, few of the calls look.
        """
        self._spared = 0 if self._expects else (self._spared + 1) % SPARING
        if self._spared:
            return
        self._expects = False  # before the look: what is queued meanwhile sets it again
        with self._db.read() as view:  # asked often, and mostly for nothing: not under the lock
            overdue, unended = view.execute(_look_for_overdue(self._max_attempts)).one()
        self._expects |= unended
        if not overdue:
            return
        with self._db.write() as tx:
            self._give_up(tx, read_clock(tx))

    def needed_inputs(self) -> frozenset[str]:
        """The names of the files that requests which have not ended need as their input pictures."""
        with self._db.read() as view:
            return inputs.needed(view)

    def input_size(self, id: str) -> Size | None:
        """Width and height in pixels of a request's input picture, where that is kept here and it has not ended."""
        with self._db.read() as view:
            return inputs.size_of(view, id)

    def expire(self, before: float | None = None) -> int:
        """Turn the records whose time is over into history, give up what no worker will claim, forget old workers.

        Where the clock was set back, what it left in the future comes to the present.

        before: a moment in unix seconds at which their time must have been over; now, if not given.
        Returns the number of requests removed.
        """
        with self._db.write(unhurried=True) as tx:
            moment = read_clock(tx)
            set_back(tx, moment, self._lease)
            self._give_up(tx, moment)
            silent = workers.c.seen_at < moment - WORKER_MEMORY
            tx.execute(delete(workers).where(silent, workers.c.drain_at.is_(None)))
            over = moment if before is None else before
            counters.add(tx, {MISSED.key(): ledger.missed(tx, columns.expires_at <= over)})
            archive(tx, over)
            inputs.forget(tx, columns.expires_at <= over)
            return tx.execute(delete(requests).where(columns.expires_at <= over)).rowcount


@lru_cache(1)
def _look_for_overdue(max_attempts: int) -> Select[bool, bool]:
    """Whether there is any, and whether there may be some later."""
    unended = columns.status.in_((Status.QUEUED, Status.PROCESSING))
    return select(exists().where(lost(max_attempts, now())), exists().where(unended))


def _find(view: Connection, id: str, account_id: str) -> Request:
    kept = or_(columns.expires_at.is_(None), columns.expires_at > now())
    row = view.execute(select(requests).where(columns.id == id, columns.account_id == account_id, kept)).one_or_none()
    if row is None:
        raise RequestUnknown(id)
    return Request.of(row)


def _insert(tx: Connection, **asked: Any) -> Request:
    last = select(func.coalesce(func.max(columns.seq), 0)).scalar_subquery()
    fresh = {"status": Status.QUEUED, "attempt": 0, "hand_backs": 0, "cancel_requested": False, "step": 0}
    row = insert(requests).values(**asked, **fresh, seq=last + 1, submitted_at=now()).returning(requests)
    return Request.of(tx.execute(row).one())
