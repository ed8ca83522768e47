"""A request's life in the log: for each way that one goes, the lines there are, and that nothing private is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event
from structlog.testing import capture_logs
from tests.databases import statements
from tests.stores import a_result, store_on
from tests.tenants import Tenant

from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database
from tintype.store.db.records import Progress, Request
from tintype.store.queue import claim, lifecycle

PRICE = 3_500
RESULT: dict[str, Any] = {"inference_time": 1.5, "pictures": []}
PRIVATE = {"prompt": "a secret fox", "image": "https://private.example/secret.png"}
HOOK = "https://hooks.example/token-1234"


@pytest.fixture
def tenant(db: Database) -> Tenant:
    asks = {"slug": "sd", "params": PRIVATE, "price": PRICE, "steps": 4, "webhook_url": HOOK}
    one = Tenant(store_on(db, lease=60), 1_000_000, asks=asks)
    assert (one.key.test, one.test_key.test) == (False, True), "made before lines are captured"
    return one


def submit(tenant: Tenant, *, test: bool = False, **about: Any) -> Request:
    request = tenant.submit(test=test, **about)
    lifecycle.log_queued(request, tenant.test_key if test else tenant.key, "203.0.113.7")
    return request


def completed(tenant: Tenant) -> None:
    submit(tenant)
    one = tenant.claim()
    assert tenant.store.leases.complete(one.id, one.attempt, a_result(**(RESULT | {"cold_start": 2.5})))
    assert not tenant.store.leases.complete(one.id, one.attempt, a_result(**RESULT)), "sent twice"


def failed(tenant: Tenant) -> None:
    submit(tenant)
    one = tenant.claim()
    tenant.store.leases.fail(one.id, one.attempt, "a secret fox is too much", 507, "no_room")
    tenant.store.leases.fail(one.id, one.attempt, "a secret fox is too much", 507, "no_room")


def refused(tenant: Tenant) -> None:
    submit(tenant)
    one = tenant.claim()
    tenant.store.leases.fail(one.id, one.attempt, "private.example answered 404", 400, "picture_unreachable")


def cancelled_while_it_waits(tenant: Tenant) -> None:
    one = submit(tenant)
    tenant.store.queue.cancel(one.id, one.account_id)
    tenant.store.queue.cancel(one.id, one.account_id)


def cancelled_while_it_runs(tenant: Tenant) -> None:
    submit(tenant)
    one = tenant.claim()
    tenant.store.queue.cancel(one.id, one.account_id)
    tenant.store.leases.end_cancelled([(one.id, one.attempt)])


def cancelled_and_finished_all_the_same(tenant: Tenant) -> None:
    submit(tenant)
    one = tenant.claim()
    tenant.store.queue.cancel(one.id, one.account_id)
    tenant.store.leases.complete(one.id, one.attempt, a_result(**RESULT))


def overdue_while_it_waits(tenant: Tenant) -> None:
    submit(tenant, cancel_after=60)
    tenant.db.move_clock(61)
    tenant.store.queue.end_overdue()
    tenant.store.queue.end_overdue()


def overdue_while_it_runs(tenant: Tenant) -> None:
    submit(tenant, cancel_after=60)
    one = tenant.claim()
    tenant.db.move_clock(61)
    tenant.store.leases.renew([Progress(one.id, one.attempt, 1, 4)])
    tenant.store.leases.end_cancelled([(one.id, one.attempt)])


def tried_again_after_a_lost_lease(tenant: Tenant) -> None:
    submit(tenant)
    one = tenant.claim()
    tenant.db.move_clock(61)
    again = tenant.claim("w2")
    assert not tenant.store.leases.complete(one.id, one.attempt, a_result(**RESULT)), "it comes back late"
    tenant.store.leases.complete(again.id, again.attempt, a_result(**RESULT))


def lost_for_good(tenant: Tenant) -> None:
    submit(tenant)
    for worker in ("w1", "w2", "w3"):
        tenant.claim(worker)
        tenant.db.move_clock(61)
    assert tenant.store.leases.claim("w4", idle=True) is None
    tenant.store.queue.end_overdue()


def handed_back(tenant: Tenant) -> None:
    submit(tenant)
    one = tenant.claim()
    tenant.store.leases.hand_back(one.id, one.attempt)
    tenant.store.leases.hand_back(one.id, one.attempt)
    again = tenant.claim("w2")
    tenant.store.leases.complete(again.id, again.attempt, a_result(**RESULT))


def failed_and_tried_again(tenant: Tenant) -> None:
    submit(tenant)
    for _ in range(3):
        one = tenant.claim()
        tenant.store.leases.retry(one.id, one.attempt, "the model failed")


def handed_back_cancelled(tenant: Tenant) -> None:
    submit(tenant)
    one = tenant.claim()
    tenant.store.queue.cancel(one.id, one.account_id)
    tenant.store.leases.hand_back(one.id, one.attempt)


def in_test_mode(tenant: Tenant) -> None:
    submit(tenant, test=True)
    one = tenant.claim(test=True)
    tenant.store.leases.complete(one.id, one.attempt, a_result(**RESULT))


WAYS: Sequence[tuple[Any, str, dict[str, Any]]] = [
    (completed, "queued claimed ended", {"outcome": "completed", "cost": 0.0035, "cold_start": 2.5, "attempt": 1}),
    (failed, "queued claimed ended", {"outcome": "failed", "status": 507, "error": "NoRoom"}),
    (refused, "queued claimed ended", {"outcome": "refused", "status": 400, "error": "PictureUnreachable"}),
    (cancelled_while_it_waits, "queued ended", {"outcome": "cancelled", "status": 499, "by": "caller"}),
    (cancelled_while_it_runs, "queued claimed ended", {"outcome": "cancelled", "by": "caller", "worker": "w1"}),
    (cancelled_and_finished_all_the_same, "queued claimed ended", {"outcome": "cancelled", "by": "caller"}),
    (overdue_while_it_waits, "queued ended", {"outcome": "cancelled", "by": "deadline"}),
    (overdue_while_it_runs, "queued claimed ended", {"outcome": "cancelled", "by": "deadline"}),
    (tried_again_after_a_lost_lease, "queued claimed claimed ended", {"outcome": "completed", "worker": "w2"}),
    (lost_for_good, "queued claimed claimed claimed ended", {"outcome": "failed", "status": 500, "attempt": 3}),
    (handed_back, "queued claimed queued again claimed ended", {"outcome": "completed", "worker": "w2", "attempt": 2}),
    (
        failed_and_tried_again,
        "queued claimed queued again claimed queued again claimed ended",
        {"outcome": "failed", "status": 500},
    ),
    (handed_back_cancelled, "queued claimed ended", {"outcome": "cancelled", "by": "caller"}),
    (in_test_mode, "queued claimed ended", {"outcome": "completed", "cost": 0.0, "test": True}),
]


@pytest.mark.parametrize(("way", "events", "end"), WAYS, ids=[way.__name__ for way, _, _ in WAYS])
def test_each_way_that_a_request_goes(tenant: Tenant, way: Any, events: str, end: dict[str, Any]) -> None:
    with capture_logs() as lines:
        way(tenant)
    assert " ".join(line["event"] for line in lines) == events
    key = tenant.test_key if "test" in end else tenant.key
    whose = {"account": key.account_id, "key_id": key.id, "model": "sd", "request": lines[0]["request"]}
    assert all(line.items() >= whose.items() for line in lines)
    assert all(line.get("test", False) == key.test for line in lines)
    assert lines[0].items() >= {"key": key.begins, "client": "203.0.113.7"}.items()
    assert lines[-1].items() >= end.items()
    assert ("ran" in lines[-1]) == ("claimed" in events)
    assert lines[-1]["waited"] >= 0
    for private in ("secret", "private.example", "hooks.example", tenant.secret):
        assert private not in str(lines)


def test_whose_lease_ran_out_is_told_by_the_next_claim(tenant: Tenant) -> None:
    with capture_logs() as lines:
        tried_again_after_a_lost_lease(tenant)
    assert [line.get("lost_by") for line in lines] == [None, None, "w1", None]


def test_what_is_not_committed_is_not_told(tenant: Tenant) -> None:
    one = submit(tenant)

    def break_off(_: Connection) -> None:
        raise StoreUnavailable

    event.listen(tenant.db._engine, "commit", break_off)
    with capture_logs() as lines:
        for call in (
            lambda: tenant.store.leases.claim("w1", idle=True),
            lambda: tenant.store.queue.cancel(one.id, one.account_id),
        ):
            with pytest.raises(StoreUnavailable):
                call()
    event.remove(tenant.db._engine, "commit", break_off)
    assert [line["event"] for line in lines if "request" in line] == []


def test_telling_asks_the_database_nothing(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    with statements(tenant.db) as told:
        completed(tenant)
    monkeypatch.setattr(claim, "log_when_committed", lambda *_, **__: None)
    monkeypatch.setattr(lifecycle, "log_when_committed", lambda *_, **__: None)
    with statements(tenant.db) as untold:
        completed(tenant)
    assert len(told) == len(untold)
