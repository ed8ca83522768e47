"""A request's life in the log: for each way that one goes, the lines there are, and that nothing private is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event
from structlog.testing import capture_logs
from tests.databases import statements
from tests.stores import a_result, new_request, store_on

from tintype.errors import StoreUnavailable
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import Key
from tintype.store.db.database import Database
from tintype.store.db.records import Progress, Request
from tintype.store.queue import claim, lifecycle

PRICE = 3_500
RESULT: dict[str, Any] = {"inference_time": 1.5, "pictures": []}
PRIVATE = {"prompt": "a secret fox", "image": "https://private.example/secret.png"}
HOOK = "https://hooks.example/token-1234"


class House:
    """A store with one account, and one worker's hands."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.db = Database(url)
        self.store = store_on(self.db, lease=60, retention=60, **settings)
        accounts = Accounts(self.db)
        account = accounts.create("one", 1_000_000).id
        self.key, self.secret = accounts.keys.create(account, "key")
        self.test_key, _ = accounts.keys.create(account, "test", test=True)

    def submit(self, key: Key | None = None, **about: Any) -> Request:
        whose = key or self.key
        request = self.store.queue.submit(new_request(whose, "sd", PRIVATE, PRICE, steps=4, webhook_url=HOOK, **about))
        lifecycle.log_queued(request, whose, "203.0.113.7")
        return request

    def claim(self, worker: str = "w1", *, test: bool = False) -> Request:
        request = self.store.leases.claim(worker, idle=True, test=test)
        assert request
        return request


@pytest.fixture
def house(url: str) -> Iterator[House]:
    house = House(url)
    yield house
    house.db.close()


def completed(house: House) -> None:
    house.submit()
    one = house.claim()
    assert house.store.leases.complete(one.id, one.attempt, a_result(**(RESULT | {"cold_start": 2.5})))
    assert not house.store.leases.complete(one.id, one.attempt, a_result(**RESULT)), "sent twice"


def failed(house: House) -> None:
    house.submit()
    one = house.claim()
    house.store.leases.fail(one.id, one.attempt, "a secret fox is too much", 507, "no_room")
    house.store.leases.fail(one.id, one.attempt, "a secret fox is too much", 507, "no_room")


def refused(house: House) -> None:
    house.submit()
    one = house.claim()
    house.store.leases.fail(one.id, one.attempt, "private.example answered 404", 400, "picture_unreachable")


def cancelled_while_it_waits(house: House) -> None:
    one = house.submit()
    house.store.queue.cancel(one.id, one.account_id)
    house.store.queue.cancel(one.id, one.account_id)


def cancelled_while_it_runs(house: House) -> None:
    house.submit()
    one = house.claim()
    house.store.queue.cancel(one.id, one.account_id)
    house.store.leases.end_cancelled([(one.id, one.attempt)])


def cancelled_and_finished_all_the_same(house: House) -> None:
    house.submit()
    one = house.claim()
    house.store.queue.cancel(one.id, one.account_id)
    house.store.leases.complete(one.id, one.attempt, a_result(**RESULT))


def overdue_while_it_waits(house: House) -> None:
    house.submit(cancel_after=60)
    house.db.move_clock(61)
    house.store.queue.end_overdue()
    house.store.queue.end_overdue()


def overdue_while_it_runs(house: House) -> None:
    house.submit(cancel_after=60)
    one = house.claim()
    house.db.move_clock(61)
    house.store.leases.renew([Progress(one.id, one.attempt, 1, 4)])
    house.store.leases.end_cancelled([(one.id, one.attempt)])


def tried_again_after_a_lost_lease(house: House) -> None:
    house.submit()
    one = house.claim()
    house.db.move_clock(61)
    again = house.claim("w2")
    assert not house.store.leases.complete(one.id, one.attempt, a_result(**RESULT)), "it comes back late"
    house.store.leases.complete(again.id, again.attempt, a_result(**RESULT))


def lost_for_good(house: House) -> None:
    house.submit()
    for worker in ("w1", "w2", "w3"):
        house.claim(worker)
        house.db.move_clock(61)
    assert house.store.leases.claim("w4", idle=True) is None
    house.store.queue.end_overdue()


def handed_back(house: House) -> None:
    house.submit()
    one = house.claim()
    house.store.leases.hand_back(one.id, one.attempt)
    house.store.leases.hand_back(one.id, one.attempt)
    again = house.claim("w2")
    house.store.leases.complete(again.id, again.attempt, a_result(**RESULT))


def failed_and_tried_again(house: House) -> None:
    house.submit()
    for _ in range(3):
        one = house.claim()
        house.store.leases.retry(one.id, one.attempt, "the model failed")


def handed_back_cancelled(house: House) -> None:
    house.submit()
    one = house.claim()
    house.store.queue.cancel(one.id, one.account_id)
    house.store.leases.hand_back(one.id, one.attempt)


def in_test_mode(house: House) -> None:
    house.submit(house.test_key)
    one = house.claim(test=True)
    house.store.leases.complete(one.id, one.attempt, a_result(**RESULT))


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
def test_each_way_that_a_request_goes(house: House, way: Any, events: str, end: dict[str, Any]) -> None:
    with capture_logs() as lines:
        way(house)
    assert " ".join(line["event"] for line in lines) == events
    key = house.test_key if "test" in end else house.key
    whose = {"account": key.account_id, "key_id": key.id, "model": "sd", "request": lines[0]["request"]}
    assert all(line.items() >= whose.items() for line in lines)
    assert all(line.get("test", False) == key.test for line in lines)
    assert lines[0].items() >= {"key": key.begins, "client": "203.0.113.7"}.items()
    assert lines[-1].items() >= end.items()
    assert ("ran" in lines[-1]) == ("claimed" in events)
    assert lines[-1]["waited"] >= 0
    for private in ("secret", "private.example", "hooks.example", house.secret):
        assert private not in str(lines)


def test_whose_lease_ran_out_is_told_by_the_next_claim(house: House) -> None:
    with capture_logs() as lines:
        tried_again_after_a_lost_lease(house)
    assert [line.get("lost_by") for line in lines] == [None, None, "w1", None]


def test_what_is_not_committed_is_not_told(house: House) -> None:
    one = house.submit()

    def break_off(_: Connection) -> None:
        raise StoreUnavailable

    event.listen(house.db._engine, "commit", break_off)
    with capture_logs() as lines:
        for call in (
            lambda: house.store.leases.claim("w1", idle=True),
            lambda: house.store.queue.cancel(one.id, one.account_id),
        ):
            with pytest.raises(StoreUnavailable):
                call()
    event.remove(house.db._engine, "commit", break_off)
    assert [line["event"] for line in lines if "request" in line] == []


def test_telling_asks_the_database_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with statements(house.db) as told:
        completed(house)
    monkeypatch.setattr(claim, "log_when_committed", lambda *_, **__: None)
    monkeypatch.setattr(lifecycle, "log_when_committed", lambda *_, **__: None)
    with statements(house.db) as untold:
        completed(house)
    assert len(told) == len(untold)
