"""Requests over a real SQLite file: whose turn it is, leases, retries, cancellation, money, expiry."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from sqlalchemy import update
from tests.databases import asked, ended_of, place_of, statements
from tests.stores import LEASE, RETENTION, a_result, new_request, store_on
from tests.tenants import Tenant

from tintype.errors import OutOfCredits, RequestUnknown
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import Key
from tintype.store.db.database import Database
from tintype.store.db.records import LeaseStatus, Progress, Request, Status
from tintype.store.db.tables import requests
from tintype.store.queue.claim import Claim
from tintype.store.queue.queue import Place

PRICE = 3_700
START = 1_000 * PRICE


class Shop(Tenant):
    """A tenant whose keys have names: `A`; `x/A` is another account's."""

    def __init__(self, db: Database) -> None:
        super().__init__(store_on(db), START, asks={"params": {"prompt": "é"}, "price": PRICE, "steps": 4})
        self._keys: dict[str, Key] = {}
        self._others: dict[str, str] = {}

    def named(self, name: str) -> Key:
        if name not in self._keys:
            self._keys[name], _ = self.accounts.keys.create(self._owner(name), name)
        return self._keys[name]

    def _owner(self, key: str) -> str:
        other, _, name = key.rpartition("/")
        if name and other and other not in self._others:
            self._others[other] = self.accounts.create(other, START).id
        return self._others.get(other, self.account_id)

    def ask(self, key: str = "A", priority: int = 0, **about: Any) -> Request:
        return self.submit(key=self.named(key), priority=priority, **about)

    def lapse(self) -> None:
        """Let the time of every lease be over."""
        self.db.move_clock(LEASE + 0.01)

    def outlive(self) -> None:
        """Let the time of every record be over."""
        self.db.move_clock(RETENTION + 0.01)


@pytest.fixture
def shop(db: Database) -> Shop:
    return Shop(db)


# Whose turn it is


def test_keys_take_turns(shop: Shop) -> None:
    for key in "A" * 10 + "B" * 2:
        shop.ask(key)
    claimed = [shop.claim(idle=False).key_id for _ in range(12)]
    assert claimed[:4].count(shop.named("B").id) == 2
    assert shop.store.leases.claim("w1", idle=True) is None


def test_a_claim_passes_over_accounts_that_a_worker_has_enough_of(shop: Shop) -> None:
    other = shop.accounts.create("two", START).id
    key, _ = shop.accounts.keys.create(other, "key")
    first = shop.ask(priority=5)
    second = shop.store.queue.submit(new_request(key, "sd3", {"prompt": "é"}, PRICE, 0, steps=4))
    taken = shop.store.leases.claim("w1", idle=False, passing_over=[shop.account_id])
    assert taken is not None
    assert taken.id == second.id
    assert shop.store.leases.claim("w1", idle=False, passing_over=[shop.account_id]) is None
    assert shop.claim(idle=False).id == first.id


def test_accounts_take_turns_however_many_keys_they_have(shop: Shop) -> None:
    for key in ["A", "B", "C", "D"] * 3 + ["x/A"] * 4:
        shop.ask(key)
    claimed = [shop.claim(idle=False).key_id for _ in range(16)]
    names = {shop.named(name).id: name for name in ("A", "B", "C", "D", "x/A")}
    order = [names[id] for id in claimed]
    assert order[:8].count("x/A") == 4
    assert [name for name in order if name != "x/A"] == ["A", "B", "C", "D"] * 3


def test_a_key_is_served_in_the_order_of_arrival(shop: Shop) -> None:
    submitted = [shop.ask().id for _ in range(5)]
    assert [shop.claim().id for _ in range(5)] == submitted


def test_higher_priority_first(shop: Shop) -> None:
    low, high, middle = shop.ask(priority=-1), shop.ask(priority=2), shop.ask("B")
    assert [shop.claim().id for _ in range(3)] == [high.id, middle.id, low.id]


def test_positions_are_the_order_of_claims(shop: Shop) -> None:
    shop.ask("C")
    shop.claim()
    queue = [
        ("A", 0),
        ("A", 0),
        ("B", 0),
        ("A", 1),
        ("C", 0),
        ("B", 0),
        ("A", 0),
        ("C", 1),
        ("D", 0),
        ("B", -1),
        ("x/A", 0),
        ("x/B", 0),
        ("y/A", -1),
        ("x/A", -1),
        ("A", -1),
    ]
    submitted = [shop.ask(key, priority) for key, priority in queue]
    positions = {request.id: place_of(shop.db, request.id) for request in submitted}
    assert sorted(positions, key=lambda id: positions[id] or 0) == [shop.claim().id for _ in queue]
    assert sorted(positions.values(), key=lambda place: place or 0) == list(range(1, len(queue) + 1))
    assert place_of(shop.db, submitted[0].id) is None
    assert place_of(shop.db, "unknown") is None


def test_a_bunch_is_claimed_in_the_order_of_claims_and_in_one_transaction(shop: Shop) -> None:
    """Poll · for each, request and two turns; where all that there was is claimed, nobody looks for more."""
    submitted = [shop.ask(key, priority) for key, priority in [*product(("A", "B", "x/A"), (0, 1)), *[("A", 0)] * 3]]
    places = {request.id: place_of(shop.db, request.id) or 0 for request in submitted}
    idle = iter([True, False, False, False])
    with statements(shop.db) as some:
        bunch = shop.store.leases.claim_bunch(lambda last: last_of_bunch(idle, last))
    assert [places[one.id] for one in bunch] == [1, 2, 3]
    assert len(asked(some)) == 1 + 3 * len(bunch)
    with statements(shop.db) as all_of_them:
        rest = shop.store.leases.claim_bunch(lambda _: Claim(worker="w2", idle=False))
    assert [places[one.id] for one in rest] == [4, 5, 6, 7, 8, 9]
    assert len(asked(all_of_them)) == 1 + 3 * len(rest)
    assert len([one for one, _ in all_of_them if "IMMEDIATE" in one or "advisory" in one]) == 1
    assert {one.lease.worker for one in rest} == {"w2"}
    assert shop.store.leases.claim_bunch(lambda _: Claim(worker="w2", idle=False)) == []


def last_of_bunch(idle: Iterator[bool], _: Request | None) -> Claim | None:
    """Asks for as many as `idle` has; the first is asked for twice, without the lock and with it."""
    known = next(idle, None)
    return None if known is None else Claim(worker="w1", idle=known)


def test_a_bunch_ends_before_a_retry_which_is_claimed_alone(shop: Shop) -> None:
    shop.ask("A")
    failed = shop.claim()
    shop.ask("B")
    shop.ask("B")
    assert shop.store.leases.retry(failed.id, 1, "oom")
    first = shop.store.leases.claim_bunch(lambda last: Claim(worker="w1", idle=last is None))
    assert [one.key_id for one in first] == [shop.named("B").id], "then it is A's turn"
    alone = shop.store.leases.claim_bunch(lambda last: None if last else Claim(worker="w1", idle=True))
    assert [one.id for one in alone] == [failed.id]


def test_threads_never_claim_the_same(shop: Shop, url: str) -> None:
    submitted = {shop.ask(key).id for key in "ABCD" * 10}
    databases = [Database(url) for _ in range(4)]
    start = threading.Barrier(4)

    def work(number: int) -> list[str]:
        store = store_on(databases[number], lease=15, retention=60)
        claimed: list[str] = []
        start.wait()
        while request := store.leases.claim(f"w{number}", idle=False):
            claimed.append(request.id)
            assert store.leases.complete(request.id, request.attempt, a_result())
        return claimed

    with ThreadPoolExecutor(4) as pool:
        claimed = [id for ids in pool.map(work, range(4)) for id in ids]
    for db in databases:
        db.close()
    assert len(claimed) == len(submitted)
    assert set(claimed) == submitted
    assert (shop.account.balance, shop.account.held) == (START - 40 * PRICE, 0)


# Leases and retries


def test_a_claim_is_a_lease(shop: Shop) -> None:
    submitted = shop.ask()
    claimed = shop.claim()
    assert (claimed.status, claimed.attempt, claimed.lease.worker) == (Status.PROCESSING, 1, "w1")
    assert claimed.timing.started_at is not None
    assert claimed.lease.until == pytest.approx(claimed.timing.started_at + 15)
    assert claimed.params == submitted.params == {"prompt": "é"}
    assert shop.store.leases.renew([]) == {}
    assert shop.store.leases.renew([Progress(claimed.id, 1, 2, 8), Progress("unknown", 1, 0, 0)]) == {
        claimed.id: LeaseStatus.KEEP,
        "unknown": LeaseStatus.LOST,
    }
    renewed = shop.find(claimed)
    assert (renewed.step, renewed.steps) == (2, 8)
    assert renewed.lease.until is not None
    assert renewed.lease.until > claimed.lease.until


def test_a_dead_workers_request_goes_to_another_and_the_late_one_changes_nothing(shop: Shop) -> None:
    shop.ask()
    late = shop.claim("dead")
    shop.lapse()
    taken = shop.claim("alive")
    assert (taken.id, taken.attempt, taken.retries) == (late.id, 2, 1)
    store = shop.store
    assert store.leases.renew([Progress(late.id, late.attempt, 3, 4)]) == {late.id: LeaseStatus.LOST}
    assert not store.leases.complete(late.id, late.attempt, a_result(seed=1))
    assert not store.leases.fail(late.id, late.attempt, "late", 500)
    assert not store.leases.retry(late.id, late.attempt, "late")
    assert not store.leases.hand_back(late.id, late.attempt)
    assert shop.find(late) == taken
    assert store.leases.complete(taken.id, taken.attempt, a_result(seed=2))
    assert not store.leases.complete(taken.id, taken.attempt, a_result(seed=3))
    assert shop.find(taken).result == a_result(seed=2)
    assert shop.account.balance == START - PRICE


def test_a_lapsed_lease_nobody_took_is_still_its_holders(shop: Shop) -> None:
    shop.ask()
    claimed = shop.claim()
    shop.lapse()
    assert shop.store.leases.renew([Progress(claimed.id, 1, 1, 4)]) == {claimed.id: LeaseStatus.KEEP}
    assert shop.store.leases.claim("w2", idle=True) is None
    shop.lapse()
    assert shop.store.leases.complete(claimed.id, 1, a_result())


def test_a_retry_runs_alone(shop: Shop) -> None:
    first, second = shop.ask(), shop.ask()
    assert shop.store.leases.retry(first.id, shop.claim().attempt, "the forward pass raised")
    assert shop.find(first).status is Status.QUEUED
    assert shop.store.leases.claim("busy", idle=False) is None
    assert shop.claim("idle").id == first.id
    assert shop.claim("busy", idle=False).id == second.id


def test_three_failures_are_enough(shop: Shop) -> None:
    submitted = shop.ask()
    for attempt in (1, 2, 3):
        assert shop.claim().attempt == attempt
        assert shop.store.leases.retry(submitted.id, attempt, f"failure {attempt}")
    ended = shop.find(submitted)
    assert (ended.status, ended.error, ended.failure.status, ended.retries) == (Status.FAILED, "failure 3", 500, 2)
    assert (shop.account.balance, shop.account.held) == (START, 0)


@pytest.mark.parametrize("by", ["claim", "expire"])
def test_three_dead_workers_are_enough(shop: Shop, by: str) -> None:
    submitted = shop.ask()
    for _ in range(3):
        shop.claim()
        shop.lapse()
    assert (shop.store.leases.claim("w1", idle=True) is None) if by == "claim" else (shop.store.queue.expire() == 0)
    ended = shop.find(submitted)
    assert (ended.status, ended.error, ended.failure.status) == (Status.FAILED, "gave up after 3 attempts", 500)
    assert shop.account.held == 0


def test_handing_back_is_no_failure(shop: Shop) -> None:
    submitted = shop.ask()
    for attempt in range(1, 6):
        claimed = shop.claim(idle=False)
        assert (claimed.attempt, claimed.retries) == (attempt, 0)
        assert shop.store.leases.hand_back(submitted.id, attempt)
        assert not shop.store.leases.hand_back(submitted.id, attempt)
    assert shop.find(submitted).status is Status.QUEUED


# Cancellation


def test_cancelling_what_is_queued(shop: Shop) -> None:
    cancelled = shop.store.queue.cancel(shop.ask().id, shop.account_id)
    assert (cancelled.status, cancelled.error, cancelled.failure.status) == (Status.FAILED, "cancelled", 499)
    assert shop.account.held == 0
    assert shop.store.leases.claim("w1", idle=True) is None
    assert shop.store.queue.cancel(cancelled.id, shop.account_id) == cancelled


def test_cancelling_what_runs(shop: Shop) -> None:
    shop.ask()
    claimed = shop.claim()
    running = shop.store.queue.cancel(claimed.id, shop.account_id)
    assert (running.status, running.lease.cancel_requested) == (Status.PROCESSING, True)
    assert shop.store.leases.renew([Progress(claimed.id, 1, 1, 4)]) == {claimed.id: LeaseStatus.CANCEL}
    assert shop.store.leases.fail(claimed.id, 1, "cancelled", 499)
    assert shop.find(claimed).error == "cancelled"
    assert (shop.account.balance, shop.account.held) == (START, 0)


def test_a_key_s_requests_by_one_api(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that runs goes before older ones; all are cancelled, in several transactions."""
    monkeypatch.setattr("tintype.store.queue.queue.CANCELLED_TOGETHER", 2)
    queue, key, api = shop.store.queue, shop.named("A"), "other"
    assert queue.current(key, api) is None
    shop.ask("B", dialect=api)
    shop.ask("A")
    first, second, *more = (shop.ask("A", dialect=api, priority=number == 1) for number in range(5))
    found = queue.current(key, api)
    assert found is not None
    assert (found.request.id, found.number, found.watched) == (first.id, 5, 0)
    assert shop.claim().id == second.id
    queue.previews.follow([second.id], 10)
    found = queue.current(key, api)
    assert found is not None
    assert (found.request.id, found.number, found.request.lease.cancel_requested) == (second.id, 5, False)
    assert 0 < found.watched <= 10
    queue.cancel_own(key, api, 1)
    assert shop.find(first).outcome == "cancelled"
    with statements(shop.db) as said:
        queue.cancel_own(key, api)
    assert len([one for one, _ in said if "ORDER BY" in one]) == 1, "however many, they are looked for once"
    found = queue.current(key, api)
    assert found is not None
    assert (found.number, found.request.lease.cancel_requested) == (1, True), "its worker stops it"
    assert {shop.find(one).outcome for one in more} == {"cancelled"}
    queue.cancel_own(key, api)
    assert queue.depth()[:2] == (2, 1), "no other key's, and none of another API"


@pytest.mark.parametrize("end", ["complete", "retry", "hand_back", "lapse"])
def test_a_cancelled_request_ends_cancelled_whatever_its_worker_says(shop: Shop, end: str) -> None:
    shop.ask()
    claimed = shop.claim()
    shop.store.queue.cancel(claimed.id, shop.account_id)
    if end == "complete":
        assert not shop.store.leases.complete(claimed.id, 1, a_result())
    elif end == "retry":
        assert shop.store.leases.retry(claimed.id, 1, "oom")
    elif end == "hand_back":
        assert shop.store.leases.hand_back(claimed.id, 1)
    else:
        shop.lapse()
        assert shop.store.leases.claim("w2", idle=True) is None
    ended = shop.find(claimed)
    assert (ended.status, ended.error, ended.failure.status, ended.result) == (Status.FAILED, "cancelled", 499, None)
    assert (shop.account.balance, shop.account.held) == (START, 0)


def test_one_outcome_and_one_charge_however_a_cancel_and_a_result_meet(shop: Shop, url: str) -> None:
    """Each from a process of its own, at the same moment, again and again."""
    other = Database(url)
    worker = store_on(other, lease=15, retention=60)
    meet = threading.Barrier(2)
    completed = 0
    with ThreadPoolExecutor(2) as pool:
        for _ in range(25):
            shop.ask()
            claimed = shop.claim()

            def complete(request: Request = claimed) -> bool:
                meet.wait()
                return worker.leases.complete(request.id, request.attempt, a_result())

            def cancel(request: Request = claimed) -> Request:
                meet.wait()
                return shop.store.queue.cancel(request.id, shop.account_id)

            completing, cancelling = pool.submit(complete), pool.submit(cancel)
            taken, told = completing.result(), cancelling.result()
            ended = shop.find(claimed)
            assert (ended.status, ended.billing.cost, ended.error) == (
                (Status.COMPLETED, PRICE, None) if taken else (Status.FAILED, None, "cancelled")
            )
            assert told.status is (Status.COMPLETED if taken else Status.PROCESSING)
            completed += taken
    other.close()
    assert (shop.account.balance, shop.account.held) == (START - completed * PRICE, 0)
    assert Accounts(shop.db).imbalances() == []


# Deadlines


def test_a_deadline_ends_what_nobody_has_begun(shop: Shop) -> None:
    late, soon = shop.ask(cancel_after=60), shop.ask("B", cancel_after=120)
    assert late.timing.cancel_at == pytest.approx(late.timing.submitted_at + 60)
    shop.store.queue.end_overdue()
    assert shop.find(late).status is Status.QUEUED
    shop.db.move_clock(60)
    shop.store.queue.end_overdue()
    ended = shop.find(late)
    assert (ended.status, ended.error, ended.failure.status) == (Status.FAILED, "cancelled", 499)
    assert shop.account.held == PRICE
    shop.db.move_clock(60)
    assert shop.store.leases.claim("w1", idle=True) is None, "it is never begun"
    assert (shop.find(soon).error, shop.account.held) == ("cancelled", 0)


@pytest.mark.parametrize("end", ["renew", "complete", "retry", "hand_back", "lapse"])
def test_a_deadline_ends_what_is_worked_on(shop: Shop, end: str) -> None:
    shop.ask(cancel_after=5)
    claimed = shop.claim()
    assert shop.store.leases.renew([Progress(claimed.id, 1, 1, 4)]) == {claimed.id: LeaseStatus.KEEP}
    shop.db.move_clock(5)
    shop.store.queue.end_overdue()
    assert shop.find(claimed).status is Status.PROCESSING, "its worker has it, and will be told"
    if end == "renew":
        assert shop.store.leases.renew([Progress(claimed.id, 1, 1, 4)]) == {claimed.id: LeaseStatus.CANCEL}
        assert shop.store.leases.fail(claimed.id, 1, "cancelled", 499)
    elif end == "complete":
        assert not shop.store.leases.complete(claimed.id, 1, a_result())
    elif end == "lapse":
        shop.lapse()
        shop.store.queue.end_overdue()
    else:
        assert (
            shop.store.leases.retry(claimed.id, 1, "oom")
            if end == "retry"
            else shop.store.leases.hand_back(claimed.id, 1)
        )
    ended = shop.find(claimed)
    assert (ended.status, ended.error, ended.failure.status) == (Status.FAILED, "cancelled", 499)
    assert (shop.account.balance, shop.account.held) == (START, 0)


def test_a_deadline_that_was_met_changes_nothing(shop: Shop) -> None:
    shop.ask(cancel_after=60)
    claimed = shop.claim()
    assert shop.store.leases.complete(claimed.id, 1, a_result())
    shop.db.move_clock(60)
    shop.store.queue.end_overdue()
    assert shop.find(claimed).status is Status.COMPLETED
    assert shop.account.balance == START - PRICE


def test_what_ended_stays_as_it_is(shop: Shop) -> None:
    shop.ask()
    claimed = shop.claim()
    shop.store.leases.complete(claimed.id, 1, a_result())
    completed = shop.find(claimed)
    assert shop.store.queue.cancel(claimed.id, shop.account_id) == completed


# Money


def test_only_completion_is_charged(shop: Shop) -> None:
    first, second = shop.ask(), shop.ask()
    assert (shop.account.balance, shop.account.held, shop.account.remaining) == (START, 2 * PRICE, START - 2 * PRICE)
    assert shop.store.leases.complete(first.id, shop.claim().attempt, a_result())
    assert shop.store.leases.fail(second.id, shop.claim().attempt, "refused", 422)
    assert (shop.account.balance, shop.account.held) == (START - PRICE, 0)
    assert (shop.find(first).step, shop.find(first).result) == (4, a_result())
    assert (shop.find(second).error, shop.find(second).failure.status) == ("refused", 422)


def test_out_of_credits_names_what_there_is_and_what_it_takes(shop: Shop) -> None:
    shop.ask(price=START - 3_000)
    with pytest.raises(OutOfCredits, match=r"\$0\.003\b.*\$0\.0037\b"):
        shop.ask()
    assert shop.account.held == START - 3_000
    shop.ask(price=3_000)
    assert shop.account.remaining == 0
    shop.ask(price=0)


# Records


def test_nobody_sees_anothers_request(shop: Shop) -> None:
    request = shop.ask()
    for id, account_id in ((request.id, "another"), ("unknown", shop.account_id)):
        with pytest.raises(RequestUnknown):
            shop.store.queue.find(id, account_id)
        with pytest.raises(RequestUnknown):
            shop.store.queue.cancel(id, account_id)
    assert shop.find(request) == request


def test_records_expire_after_their_end_only(shop: Shop) -> None:
    done, waiting = shop.ask(), shop.ask()
    assert ended_of(shop.db, [done.id, waiting.id]) == ended_of(shop.db, []) == set()
    shop.store.leases.complete(done.id, shop.claim().attempt, a_result())
    assert ended_of(shop.db, [done.id, waiting.id, "unknown"]) == {done.id}
    ended = shop.find(done)
    assert ended.timing.ended_at is not None
    assert ended.timing.expires_at == pytest.approx(ended.timing.ended_at + 3600)
    assert shop.store.queue.expire() == 0
    shop.outlive()
    with pytest.raises(RequestUnknown):
        shop.find(done)
    assert shop.store.queue.expire() == 1
    assert shop.find(waiting).status is Status.QUEUED


def test_an_account_s_newest_requests_from_any_place(shop: Shop) -> None:
    """Of one moment, too: those are in the order of their arrival."""
    mine = [shop.ask(key).id for key in "ABABA"]
    shop.ask("x/A")
    recent, account = shop.store.queue.recent, shop.account_id
    newest = recent(account, 2)
    assert [one.id for one in newest] == mine[:2:-1]
    older = recent(account, 2, Place.of(newest[-1]))
    assert [one.id for one in older] == mine[2:0:-1]
    assert [one.id for one in recent(account, 2, Place.of(older[-1]))] == mine[:1]
    assert [one.id for one in recent(account, 9, Place.of(older[0]), newer=True)] == mine[:2:-1]
    assert [one.id for one in recent(account, 1, Place.of(older[0]), newer=True)] == mine[3:4], "the nearest"
    with shop.db.write() as tx:
        tx.execute(update(requests).values(submitted_at=7.0))
    assert [one.id for one in recent(account, 9, Place(7.0, newest[0].seq))] == mine[3::-1]
    shop.store.queue.cancel(mine[0], account)
    shop.outlive()
    assert [one.id for one in recent(account, 9)] == mine[:0:-1], "a record that has expired is in no list"
