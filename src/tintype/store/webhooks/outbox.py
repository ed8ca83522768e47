"""The outbox: messages that were announced are sent by whoever claims them, and tried again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, ScalarSelect, Select, and_, exists, func, or_, select, update

from tintype.errors import NotFound
from tintype.store.db.audit import record
from tintype.store.db.clock import set_back_deliveries
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.records import Status
from tintype.store.db.tables import deliveries, requests, webhooks
from tintype.store.webhooks.records import DISABLED, Delivered, Delivery, Hook, Outcome

d = deliveries.c

#: Attempts under way at once, at most, to one receiver and for one account: who is slow waits for itself alone.
PER_RECEIVER, PER_ACCOUNT = 2, 8
PENDING = d.status == Delivered.PENDING


@dataclass(frozen=True)
class Backoff:
    """When a delivery that failed is tried again.

    first, longest: seconds of the first and of any pause, each four times the one before. attempts: how many in all.
    """

    first: float
    longest: float
    attempts: int
    #: Spreads the attempts of messages that failed together: a number from 0 to 1.
    chance: Callable[[], float] = random.random

    def pause(self, tries: int, asked: float | None = None) -> float:
        """Seconds after the failure number `tries`, give or take a quarter; longer if the receiver asked for longer."""
        usual = float(min(self.longest, self.first * 4.0 ** (tries - 1)) * (0.75 + self.chance() / 2))
        return usual if asked is None else max(usual, min(asked, self.longest))


class Outbox:
    """Deliveries as senders see them: claimed under a lease each, and fenced by the attempt's number.

    lease: seconds of a claim, longer than an attempt may take. retention: seconds a delivery is kept after its end.
    """

    def __init__(self, db: Database, backoff: Backoff, *, lease: float, retention: float) -> None:
        self._db = db
        self._backoff = backoff
        self._lease = lease
        self._retention = retention
        #: Whether, at the last look, anything was there that is to be told, or will be soon.
        self.expects = True

    def claim(self) -> tuple[Delivery, tuple[str, ...]] | None:
        """The delivery that is due longest and whose receiver isn't busy, and the secrets that sign it; else None."""
        with self._db.read() as view:  # mostly there is none: not under the lock
            due, self.expects = view.execute(_LOOK).one()
            if not due:
                return None
        with self._db.write() as tx:
            moment = read_clock(tx)
            row = tx.execute(_next(moment)).one_or_none()
            if row is None:
                return None
            claimed = self._change(tx, row.id, attempt=d.attempt + 1, lease_until=moment + self._lease)
            return claimed, _hook_of(tx, claimed).secrets(moment)

    def record(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Write what came of an attempt, and when the next one is; False when another sender has it by now."""
        with self._db.write() as tx:
            mine = select(deliveries).where(d.id == delivery.id, d.attempt == delivery.attempt, PENDING)
            if tx.execute(mine).one_or_none() is None:
                return False
            moment = read_clock(tx)
            result = {"response_status": outcome.status, "error": outcome.words, "lease_until": None}
            if outcome.succeeded:
                self._change(tx, delivery.id, **result, status=Delivered.DELIVERED, ended_at=moment)
                _change_hook(tx, delivery, succeeded_at=moment)
            elif delivery.tries < self._backoff.attempts and not outcome.gone:
                pause = self._backoff.pause(delivery.tries, outcome.retry_after)
                self._change(tx, delivery.id, **result, due_at=moment + pause)
            else:
                self._change(tx, delivery.id, **result, status=Delivered.FAILED, ended_at=moment)
                self._judge(tx, delivery, outcome, moment)
            return True

    def logs(self, webhook_id: str, limit: int = 100, page: int = 1) -> list[Delivery]:
        """A webhook's deliveries, the newest first."""
        newest = select(deliveries).where(d.webhook_id == webhook_id).order_by(d.created_at.desc(), d.id)
        with self._db.read() as view:
            return [*map(Delivery.of, view.execute(newest.limit(limit).offset((page - 1) * limit)))]

    def find(self, id: str, account_id: str) -> Delivery:
        """The account's delivery; raises NotFound."""
        with self._db.read() as view:
            row = view.execute(select(deliveries).where(d.id == id, d.account_id == account_id)).one_or_none()
        if row is None:
            raise NotFound(f"Delivery {id[:80]} not found")
        return Delivery.of(row)

    def replay(self, id: str) -> list[Delivery]:
        """Send a delivery once more, or, when a webhook's id is given, all of its that failed; raises NotFound."""
        meant = select(deliveries).where(or_(d.id == id, and_(d.webhook_id == id, d.status == Delivered.FAILED)))
        with self._db.write() as tx:
            moment = read_clock(tx)
            found = [*map(Delivery.of, tx.execute(meant))]
            if not found and not tx.scalar(select(exists().where(webhooks.c.id == id))):
                raise NotFound(f"There is no delivery and no webhook {id[:80]}")
            if found:
                owner, webhook = found[0].account_id, found[0].webhook_id
                record(tx, "webhook.replay", webhook, owner, repeats=True, deliveries=len(found))
            return [self._again(tx, delivery, moment) for delivery in found]

    def expire(self) -> int:
        """Forget deliveries that ended long ago; how many."""
        with self._db.write() as tx:
            set_back_deliveries(tx, read_clock(tx), self._lease)
            return tx.execute(deliveries.delete().where(d.ended_at < now() - self._retention)).rowcount

    def _again(self, tx: Connection, delivery: Delivery, moment: float) -> Delivery:
        if delivery.status is Delivered.PENDING:
            return self._change(tx, delivery.id, due_at=moment)
        fresh = {"status": Delivered.PENDING, "due_at": moment, "ended_at": None, "lease_until": None}
        return self._change(tx, delivery.id, **fresh, earlier=delivery.attempt)

    def _judge(self, tx: Connection, delivery: Delivery, outcome: Outcome, moment: float) -> None:
        """Disable a webhook that took nothing since this delivery was made; what else waits for it fails with it."""
        hook = _hook_of(tx, delivery)
        if hook.url is None or ((hook.succeeded_at or 0) > delivery.created_at and not outcome.gone):
            return
        since = datetime.fromtimestamp(delivery.created_at, UTC).isoformat(timespec="seconds")
        reason = "the receiver answered 410 Gone" if outcome.gone else f"nothing was taken since {since}"
        _change_hook(tx, delivery, disabled_at=moment, disabled_reason=f"{reason}; the last answer: {outcome.words}")
        waiting = update(deliveries).where(d.webhook_id == delivery.webhook_id, PENDING)
        tx.execute(waiting.values(status=Delivered.FAILED, ended_at=moment, lease_until=None, error=DISABLED))

    def _change(self, tx: Connection, id: str, **values: Any) -> Delivery:
        return Delivery.of(tx.execute(update(deliveries).where(d.id == id).values(values).returning(deliveries)).one())


def _hook_of(tx: Connection, delivery: Delivery) -> Hook:
    return Hook.of(tx.execute(select(webhooks).where(webhooks.c.id == delivery.webhook_id)).one())


def _change_hook(tx: Connection, delivery: Delivery, **values: Any) -> None:
    tx.execute(update(webhooks).where(webhooks.c.id == delivery.webhook_id).values(values))


def _due(moment: Any) -> Sequence[Any]:
    return (PENDING, d.due_at <= moment, or_(d.lease_until.is_(None), d.lease_until < moment))


#: Whether anything is due; and whether anything may be soon: what waits for another try, and what of a request is still
#: to come. Built once, since building takes longer than asking.
_UNENDED = requests.c.status.in_((Status.QUEUED, Status.PROCESSING))
_LOOK = select(exists().where(*_due(now())), or_(exists().where(PENDING), exists().where(_UNENDED)))


def backlog() -> tuple[ScalarSelect[int], ScalarSelect[float]]:
    """In SQL: how many deliveries are due, and since when the first of them is."""
    due = select(deliveries).where(*_due(now())).subquery()
    return select(func.count()).select_from(due).scalar_subquery(), select(func.min(due.c.due_at)).scalar_subquery()


def _next(moment: float) -> Select[Any]:
    """The delivery to send now: due, of a receiver and an account that aren't kept waiting by others already."""
    due = select(deliveries).where(*_due(moment))
    for column, most in ((d.receiver, PER_RECEIVER), (d.account_id, PER_ACCOUNT)):
        under_way = select(column).where(PENDING, d.lease_until >= moment).group_by(column).having(func.count() >= most)
        due = due.where(column.not_in(under_way))
    return due.order_by(d.due_at, d.id).limit(1)
