"""A clock that is set back by hours holds nobody up for hours: on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.databases import moved_clock
from tests.stores import a_result, new_request, store_on

from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import DeliveryOutcome, DeliveryStatus, Event, Status
from tintype.store.db.tables import deliveries, requests, workers
from tintype.store.ops.autoscaler import LeaderLease
from tintype.store.ops.processes import Workers
from tintype.store.webhooks.outbox import Backoff, Outbox

STEP = 7200.0


class Shop:
    """An account, its requests, webhooks and workers."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.store = store_on(db, lease=15, retention=3600)
        self.outbox = Outbox(db, Backoff(5.0, 21_600.0, 9), lease=20, retention=60)
        self.workers = Workers(db)
        accounts = Accounts(db)
        self.account_id = accounts.create("one", 10**9).id
        self.key, _ = accounts.keys.create(self.account_id, "key")
        self.test_key, _ = accounts.keys.create(self.account_id, "key", test=True)

    def clock(self) -> float:
        with self.db.read() as view:
            return read_clock(view)


@pytest.fixture
def shop(url: str) -> Iterator[Shop]:
    db = Database(url)
    yield Shop(db)
    db.close()


def test_a_dead_worker_s_request_waits_no_longer_than_a_lease(shop: Shop) -> None:
    with moved_clock(shop.db, STEP):
        shop.store.queue.submit(new_request(shop.key, "sd3", {}, 10))
        held = shop.store.leases.claim("dead", idle=True)
    assert held
    shop.store.queue.expire()
    assert shop.store.queue.find(held.id, shop.account_id).lease.until == pytest.approx(shop.clock() + 15, abs=5)
    shop.store.queue.expire()
    shop.db.move_clock(15)
    again = shop.store.leases.claim("w", idle=True)
    assert again
    assert (again.id, again.attempt) == (held.id, 2)


def test_what_waits_keeps_its_delay_and_its_deadline(shop: Shop) -> None:
    with moved_clock(shop.db, STEP):
        delayed = shop.store.queue.submit(new_request(shop.test_key, "sd3", {}, 0, start_after=30, cancel_after=90))
        plain = shop.store.queue.submit(new_request(shop.key, "sd3", {}, 10))
    shop.store.queue.expire()
    with shop.db.read() as view:
        rows = {row.id: row for row in view.execute(requests.select())}
    moment = shop.clock()
    assert rows[delayed.id].due_at - moment == pytest.approx(30, abs=5)
    assert rows[delayed.id].cancel_at - moment == pytest.approx(90, abs=5)
    assert (rows[plain.id].due_at, rows[plain.id].cancel_at) == (None, None)
    assert shop.store.leases.claim("w", idle=True)


def test_what_is_honest_stays_as_it_is(shop: Shop) -> None:
    shop.store.queue.submit(new_request(shop.key, "sd3", {}, 10, cancel_after=86_400))
    shop.store.queue.submit(new_request(shop.test_key, "sd3", {}, 10, start_after=3600))
    shop.store.leases.claim("w", idle=True)
    shop.workers.heartbeat("w", "cpu", 0, 0)
    with shop.db.read() as view:
        before = [view.execute(table.select()).all() for table in (requests, workers)]
    shop.store.queue.expire()
    with shop.db.read() as view:
        assert [view.execute(table.select()).all() for table in (requests, workers)] == before


def test_a_worker_that_was_seen_tomorrow_is_not_alive_until_then(shop: Shop) -> None:
    with moved_clock(shop.db, STEP):
        shop.workers.heartbeat("dead", "cpu", 0, 0)
    shop.store.queue.expire()
    shop.db.move_clock(60)
    assert shop.workers.alive(30) == []


def test_messages_are_sent_and_those_that_a_dead_sender_has_are_sent_again(shop: Shop) -> None:
    store_on(shop.db).webhooks.add(shop.account_id, "https://one.example/", [Event.REQUEST_FAILED])
    with moved_clock(shop.db, STEP):
        shop.store.queue.cancel(shop.store.queue.submit(new_request(shop.key, "sd3", {}, 10)).id, shop.account_id)
    assert shop.outbox.claim() is None
    shop.outbox.expire()
    assert shop.outbox.claim()
    with moved_clock(shop.db, STEP):
        assert shop.outbox.claim()
    assert shop.outbox.claim() is None
    shop.outbox.expire()
    shop.db.move_clock(21)
    claimed = shop.outbox.claim()
    assert claimed
    assert shop.outbox.record(claimed[0], DeliveryOutcome(status=204))
    with shop.db.read() as view:
        assert view.scalar(deliveries.select().with_only_columns(deliveries.c.status)) is DeliveryStatus.DELIVERED


def test_another_keeper_takes_a_lead_that_would_last_for_hours(shop: Shop) -> None:
    dead, other = LeaderLease(shop.db, "dead", 10), LeaderLease(shop.db, "other", 10)
    assert dead.take()
    assert not other.take()
    with moved_clock(shop.db, STEP):
        assert dead.take()
    assert other.take()
    assert not LeaderLease(shop.db, "third", 10).take()


def test_running_work_of_a_live_worker_goes_on(shop: Shop) -> None:
    with moved_clock(shop.db, STEP):
        request = shop.store.queue.submit(new_request(shop.key, "sd3", {}, 10))
        held = shop.store.leases.claim("w", idle=True)
    assert held
    shop.store.queue.expire()
    assert shop.store.leases.claim("other", idle=True) is None
    assert shop.store.leases.complete(held.id, held.attempt, a_result(inference_time=1.0))
    assert shop.store.queue.find(request.id, shop.account_id).status is Status.COMPLETED
