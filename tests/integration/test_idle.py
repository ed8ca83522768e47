"""What is asked of the database while nobody calls: looks are counted, and that none is spared once there is work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.databases import statements
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.catalog.models import MODELS
from tintype.store.db.database import Database
from tintype.store.queue.queue import SPARED
from tintype.store.webhooks.outbox import Backoff, Outbox
from tintype.testmode import fake_worker
from tintype.testmode.fake_worker import FakeWorker
from tintype.testmode.images import FakeOutputs


def looks(tenant: Tenant, work: Callable[[], object], times: int) -> int:
    """How many of so many calls ask the database."""
    asked = 0
    for _ in range(times):
        with statements(tenant.db) as said:
            work()
        asked += bool(said)
    return asked


def test_what_is_overdue_is_seldom_looked_for_where_nothing_could_be(tenant: Tenant) -> None:
    look = tenant.store.queue.end_overdue
    assert looks(tenant, look, 1) == 1, "nobody knows yet"
    assert looks(tenant, look, 8 * SPARED) == 8
    tenant.submit()
    assert looks(tenant, look, 5) == 5, "one that was queued here may be overdue at once"
    tenant.store.leases.claim("w", idle=True)
    assert looks(tenant, look, 5) == 5


def test_of_what_another_server_queued_it_learns_by_the_next_look(url: str, tenant: Tenant) -> None:
    look, other = tenant.store.queue.end_overdue, Tenant(store_on(Database(url)))
    looks(tenant, look, SPARED)
    other.submit()
    looks(tenant, look, SPARED)
    assert looks(tenant, look, 5) == 5
    other.db.close()


def test_senders_know_whether_anything_may_be_to_be_told_soon(tenant: Tenant) -> None:
    outbox = Outbox(tenant.db, Backoff(1, 1, 1), lease=60, retention=60)
    assert outbox.expects
    with statements(tenant.db) as said:
        assert outbox.claim() is None
    assert sum("SELECT" in statement and "FROM" in statement for statement, _ in said) == 1, "one question, not two"
    assert not outbox.expects
    tenant.submit()
    assert outbox.claim() is None
    assert outbox.expects


def test_a_fake_worker_that_has_accepted_nothing_looks_seldom(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    moment, woken = [1e6], threading.Event()
    monkeypatch.setattr(fake_worker.time, "monotonic", lambda: moment[0])
    outputs: Any = None  # nothing is to be drawn
    fake_outputs = FakeOutputs(lambda _: None, outputs, 0)
    fake = FakeWorker(tenant.store.leases, MODELS, fake_outputs, heartbeat=60, accepted=woken)

    def turn() -> None:
        moment[0] += fake_worker.POLL
        fake.turn()

    assert looks(tenant, turn, 80) == 10
    woken.set()
    assert looks(tenant, turn, 80) == 80
