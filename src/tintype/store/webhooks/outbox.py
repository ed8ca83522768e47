"""The outbox: webhook deliveries are claimed by a sender, sent, and retried."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, and_, exists, func, or_, select, update

from tintype.errors import NotFound
from tintype.store.db.audit import record
from tintype.store.db.clock import set_back_deliveries
from tintype.store.db.conditions import MOMENT, UNENDED, find_owned
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.records import DISABLED, Delivery, DeliveryOutcome, DeliveryStatus, Subscription
from tintype.store.db.tables import deliveries, webhooks

d = deliveries.c

#: Maximum of concurrent attempts to one receiver and for one account: a slow receiver delays only its own messages.
PER_RECEIVER, PER_ACCOUNT = 2, 8
PENDING = d.status == DeliveryStatus.PENDING


@dataclass(frozen=True, slots=True)
class Backoff:
    """When a failed delivery is retried: each pause is four times the one before."""

    #: Seconds of the first pause, and of the longest.
    first: float
    longest: float
    #: In all.
    attempts: int
    #: A random number from 0 to 1: spreads the attempts of messages that failed together.
    chance: Callable[[], float] = random.random

    def pause(self, tries: int, asked: float | None = None) -> float:
        """Seconds after failure number `tries`, ± 25 %; longer if the receiver asked for longer."""
        default = float(min(self.longest, self.first * 4.0 ** (tries - 1)) * (0.75 + self.chance() / 2))
        return default if asked is None else max(default, min(asked, self.longest))


class Outbox:
    """Deliveries as senders see them: each is claimed under a lease, and fenced by the attempt's number.

    lease: seconds of a claim, longer than an attempt may take. retention: seconds a delivery is kept after its end.
    """

    def __init__(self, db: Database, backoff: Backoff, *, lease: float, retention: float) -> None:
        self._db = db
        self._backoff = backoff
        self._lease = lease
        self._retention = retention
        #: Whether, at the last poll, any delivery was pending, or any request that may cause one.
        self.expects = True

    def claim(self) -> tuple[Delivery, tuple[str, ...]] | None:
        """The longest due delivery whose receiver isn't busy, and the secrets that sign it; else None."""
        with self._db.read() as view:  # mostly there is none: not under the lock
            due, self.expects = view.execute(_POLL).one()
            if not due:
                return None
        with self._db.write() as tx:
            moment = read_clock(tx)
            row = tx.execute(_NEXT, {"moment": moment}).one_or_none()
            if row is None:
                return None
            claimed = self._change(tx, row.id, attempt=d.attempt + 1, lease_until=moment + self._lease)
            return claimed, _subscription_of(tx, claimed).secrets(moment)

    def record(self, delivery: Delivery, outcome: DeliveryOutcome) -> bool:
        """Write the outcome of an attempt, and when the next one is due; False when another sender has it by now."""
        with self._db.write() as tx:
            mine = select(deliveries).where(d.id == delivery.id, d.attempt == delivery.attempt, PENDING)
            if tx.execute(mine).one_or_none() is None:
                return False
            moment = read_clock(tx)
            result = {"response_status": outcome.status, "error": outcome.words, "lease_until": None}
            if outcome.succeeded:
                self._change(tx, delivery.id, **result, status=DeliveryStatus.DELIVERED, ended_at=moment)
                _change_subscription(tx, delivery, succeeded_at=moment)
            elif delivery.tries < self._backoff.attempts and not outcome.gone:
                pause = self._backoff.pause(delivery.tries, outcome.retry_after)
                self._change(tx, delivery.id, **result, due_at=moment + pause)
            else:
                self._change(tx, delivery.id, **result, status=DeliveryStatus.FAILED, ended_at=moment)
                self._disable_if_dead(tx, delivery, outcome, moment)
            return True

    def logs(self, webhook_id: str, limit: int = 100, page: int = 1) -> list[Delivery]:
        """A webhook's deliveries, the newest first."""
        newest = select(deliveries).where(d.webhook_id == webhook_id).order_by(d.created_at.desc(), d.id)
        with self._db.read() as view:
            return [*map(Delivery.of, view.execute(newest.limit(limit).offset((page - 1) * limit)))]

    def find(self, id: str, account_id: str) -> Delivery:
        """The account's delivery; raises NotFound."""
        with self._db.read() as view:
            return Delivery.of(find_owned(view, deliveries, id, account_id, NotFound(f"Delivery {id[:80]} not found")))

    def replay(self, id: str) -> list[Delivery]:
        """Send a delivery again or, given a subscription's id, all of its that failed; raises NotFound."""
        meant = select(deliveries).where(or_(d.id == id, and_(d.webhook_id == id, d.status == DeliveryStatus.FAILED)))
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
        """Delete deliveries that ended long ago; how many."""
        with self._db.write() as tx:
            set_back_deliveries(tx, read_clock(tx), self._lease)
            return tx.execute(deliveries.delete().where(d.ended_at < now() - self._retention)).rowcount

    def _again(self, tx: Connection, delivery: Delivery, moment: float) -> Delivery:
        if delivery.status is DeliveryStatus.PENDING:
            return self._change(tx, delivery.id, due_at=moment)
        fresh = {"status": DeliveryStatus.PENDING, "due_at": moment, "ended_at": None, "lease_until": None}
        return self._change(tx, delivery.id, **fresh, earlier=delivery.attempt)

    def _disable_if_dead(self, tx: Connection, delivery: Delivery, outcome: DeliveryOutcome, moment: float) -> None:
        """Disable a subscription that took nothing since this delivery was made; its pending deliveries fail too."""
        subscription = _subscription_of(tx, delivery)
        if subscription.url is None or ((subscription.succeeded_at or 0) > delivery.created_at and not outcome.gone):
            return
        since = datetime.fromtimestamp(delivery.created_at, UTC).isoformat(timespec="seconds")
        reason = "the receiver answered 410 Gone" if outcome.gone else f"nothing was taken since {since}"
        _change_subscription(
            tx, delivery, disabled_at=moment, disabled_reason=f"{reason}; the last answer: {outcome.words}"
        )
        waiting = update(deliveries).where(d.webhook_id == delivery.webhook_id, PENDING)
        tx.execute(waiting.values(status=DeliveryStatus.FAILED, ended_at=moment, lease_until=None, error=DISABLED))

    def _change(self, tx: Connection, id: str, **values: Any) -> Delivery:
        return Delivery.of(tx.execute(update(deliveries).where(d.id == id).values(values).returning(deliveries)).one())


def _subscription_of(tx: Connection, delivery: Delivery) -> Subscription:
    return Subscription.of(tx.execute(select(webhooks).where(webhooks.c.id == delivery.webhook_id)).one())


def _change_subscription(tx: Connection, delivery: Delivery, **values: Any) -> None:
    tx.execute(update(webhooks).where(webhooks.c.id == delivery.webhook_id).values(values))


def _due(moment: Any) -> Sequence[Any]:
    return (PENDING, d.due_at <= moment, or_(d.lease_until.is_(None), d.lease_until < moment))


#: Whether any delivery is due; and whether any may be soon: one is pending, or a request has not ended. Built once:
#: building the statement takes longer than running it.
_POLL = select(exists().where(*_due(now())), or_(exists().where(PENDING), exists().where(UNENDED)))


def backlog() -> tuple[ScalarSelect[int], ScalarSelect[float]]:
    """In SQL: how many deliveries are due, and since when the first of them is."""
    due = select(deliveries).where(*_due(now())).subquery()
    return select(func.count()).select_from(due).scalar_subquery(), select(func.min(due.c.due_at)).scalar_subquery()


def _next(moment: ColumnElement[float]) -> Select[Any]:
    """The delivery to send now: due, of a receiver and an account below their limits of concurrent attempts."""
    due = select(deliveries).where(*_due(moment))
    for column, limit in ((d.receiver, PER_RECEIVER), (d.account_id, PER_ACCOUNT)):
        under_way = (
            select(column).where(PENDING, d.lease_until >= moment).group_by(column).having(func.count() >= limit)
        )
        due = due.where(column.not_in(under_way))
    return due.order_by(d.due_at, d.id).limit(1)


_NEXT = _next(MOMENT)
