"""A clock that is set back by hours holds nobody up for hours: on both databases."""

from __future__ import annotations

import pytest
from tests.databases import moved_clock
from tests.tenants import Tenant

from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import DeliveryOutcome, DeliveryStatus, Event, Status
from tintype.store.db.tables import deliveries, requests, workers
from tintype.store.ops.autoscaler import LeaderLease
from tintype.store.webhooks.outbox import Backoff, Outbox

STEP = 7200.0


@pytest.fixture
def outbox(db: Database) -> Outbox:
    return Outbox(db, Backoff(5.0, 21_600.0, 9), lease=20, retention=60)


def clock(db: Database) -> float:
    with db.read() as view:
        return read_clock(view)


def test_a_dead_worker_s_request_waits_no_longer_than_a_lease(tenant: Tenant) -> None:
    with moved_clock(tenant.db, STEP):
        tenant.submit()
        held = tenant.claim("dead")
    tenant.store.queue.expire()
    assert tenant.find(held).lease.until == pytest.approx(clock(tenant.db) + 15, abs=5)
    tenant.store.queue.expire()
    tenant.db.move_clock(15)
    again = tenant.claim("w")
    assert (again.id, again.attempt) == (held.id, 2)


def test_what_waits_keeps_its_delay_and_its_deadline(tenant: Tenant) -> None:
    with moved_clock(tenant.db, STEP):
        delayed = tenant.submit(test=True, price=0, start_after=30, cancel_after=90)
        plain = tenant.submit()
    tenant.store.queue.expire()
    with tenant.db.read() as view:
        rows = {row.id: row for row in view.execute(requests.select())}
    moment = clock(tenant.db)
    assert rows[delayed.id].due_at - moment == pytest.approx(30, abs=5)
    assert rows[delayed.id].cancel_at - moment == pytest.approx(90, abs=5)
    assert (rows[plain.id].due_at, rows[plain.id].cancel_at) == (None, None)
    assert tenant.store.leases.claim("w", idle=True)


def test_what_is_honest_stays_as_it_is(tenant: Tenant) -> None:
    tenant.submit(cancel_after=86_400)
    tenant.submit(test=True, start_after=3600)
    tenant.store.leases.claim("w", idle=True)
    tenant.beat("w")
    with tenant.db.read() as view:
        before = [view.execute(table.select()).all() for table in (requests, workers)]
    tenant.store.queue.expire()
    with tenant.db.read() as view:
        assert [view.execute(table.select()).all() for table in (requests, workers)] == before


def test_a_worker_that_was_seen_tomorrow_is_not_alive_until_then(tenant: Tenant) -> None:
    with moved_clock(tenant.db, STEP):
        tenant.beat("dead")
    tenant.store.queue.expire()
    tenant.db.move_clock(60)
    assert tenant.workers.alive(30) == []


def test_messages_are_sent_and_those_that_a_dead_sender_has_are_sent_again(tenant: Tenant, outbox: Outbox) -> None:
    tenant.store.webhooks.add(tenant.account_id, "https://one.example/", [Event.REQUEST_FAILED])
    with moved_clock(tenant.db, STEP):
        tenant.store.queue.cancel(tenant.submit().id, tenant.account_id)
    assert outbox.claim() is None
    outbox.expire()
    assert outbox.claim()
    with moved_clock(tenant.db, STEP):
        assert outbox.claim()
    assert outbox.claim() is None
    outbox.expire()
    tenant.db.move_clock(21)
    claimed = outbox.claim()
    assert claimed
    assert outbox.record(claimed[0], DeliveryOutcome(status=204))
    with tenant.db.read() as view:
        assert view.scalar(deliveries.select().with_only_columns(deliveries.c.status)) is DeliveryStatus.DELIVERED


def test_another_keeper_takes_a_lead_that_would_last_for_hours(tenant: Tenant) -> None:
    dead, other = LeaderLease(tenant.db, "dead", 10), LeaderLease(tenant.db, "other", 10)
    assert dead.take()
    assert not other.take()
    with moved_clock(tenant.db, STEP):
        assert dead.take()
    assert other.take()
    assert not LeaderLease(tenant.db, "third", 10).take()


def test_running_work_of_a_live_worker_goes_on(tenant: Tenant) -> None:
    with moved_clock(tenant.db, STEP):
        request = tenant.submit()
        held = tenant.claim("w")
    tenant.store.queue.expire()
    assert tenant.store.leases.claim("other", idle=True) is None
    assert tenant.complete(held, inference_time=1.0).id == request.id
    assert tenant.find(request).status is Status.COMPLETED
