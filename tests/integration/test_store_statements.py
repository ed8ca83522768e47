"""How many statements a request's steps take, and that what is folded later is exact before, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from tests.databases import AROUND, asked_of, statements
from tests.stores import a_result, new_request, store_on
from tests.tenants import Tenant

from tintype.core import Callback, LoggedFile
from tintype.errors import NotFound, OutOfCredits, RequestUnknown, TooManyRequests
from tintype.store.billing.ledger import COST
from tintype.store.db.database import READ_CLOCK, Database
from tintype.store.db.recent import MAX_AGE
from tintype.store.db.records import CANCELLED, Event, Progress, Request
from tintype.store.db.tables import inputs, journal, outputs, paces, requests
from tintype.store.queue.eta import Eta
from tintype.store.queue.queue import SPARED, Found
from tintype.store.queue.submit import Input
from tintype.store.store import Store
from tintype.telemetry.metrics import CHARGED, CHARGES, ENDED

IMAGE = {"name": "a.png", "width": 64, "height": 48, "seed": 7}


@pytest.fixture
def tenant(db: Database) -> Tenant:
    one = Tenant(store_on(db), asks={"slug": "a", "price": 10, "steps": 4, "speed_key": "a 8 1"})
    one.beat("w1")
    return one


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By which a moment lasts: as long as the test wants."""
    seconds = [1000.0]
    monkeypatch.setattr("tintype.store.db.recent.time.monotonic", lambda: seconds[0])
    return seconds


def complete(tenant: Tenant, request: Request, files: Sequence[LoggedFile] = (), **said: Any) -> bool:
    result = a_result(pictures=[IMAGE], inference_time=2.0, **said)
    return tenant.store.leases.complete(request.id, request.attempt, result, files=files)


# How many


def test_an_end_is_four_statements(tenant: Tenant) -> None:
    """The request, the ledger, the account, the journal."""
    tenant.submit()
    claimed = tenant.claim()
    assert len(asked_of(tenant.db, lambda: complete(tenant, claimed))) == 4


def test_the_log_of_images_takes_one_more_for_each(tenant: Tenant) -> None:
    tenant.submit()
    claimed = tenant.claim()
    files = [LoggedFile(b"a" * 32), LoggedFile(b"b" * 32)]
    assert len(asked_of(tenant.db, lambda: complete(tenant, claimed, files))) == 4 + 2


def test_of_a_free_request_it_is_two(tenant: Tenant) -> None:
    tenant.submit(price=0)
    claimed = tenant.claim()
    assert len(asked_of(tenant.db, lambda: complete(tenant, claimed))) == 2


def test_what_a_key_has_spent_is_changed_where_it_differs_from_what_was_held(tenant: Tenant) -> None:
    tenant.submit(rate=1)  # 2 of 10 micro-dollars
    claimed = tenant.claim()
    assert len(asked_of(tenant.db, lambda: complete(tenant, claimed))) == 5
    assert tenant.accounts.imbalances() == []


def test_an_input_image_and_webhooks_take_more_only_for_who_has_them(tenant: Tenant) -> None:
    other = Tenant(tenant.store, asks={"slug": "a", "price": 10})
    tenant.store.webhooks.add(tenant.account_id, "https://receiver.example/", [Event.REQUEST_FAILED])
    other.submit(), tenant.submit(input=Input("i.png", 3, (8, 8)))
    for whose, number in ((other, 4), (tenant, 6)):
        claimed = whose.claim()
        assert claimed.account_id == whose.account_id
        assert len(asked_of(tenant.db, lambda whose=whose, one=claimed: complete(whose, one))) == number
    with tenant.db.read() as view:
        assert view.execute(select(inputs)).all() == []


def test_a_callback_takes_two_more_at_what_it_is_told_of(tenant: Tenant) -> None:
    """The account's own webhook, which signs it, and the delivery; of a submit nothing."""
    tenant.store.webhooks.own(tenant.account_id)

    def asked(callback: Callback | None) -> list[int]:
        claimed: list[Request] = []
        steps = (
            lambda: tenant.submit(callback=callback),
            lambda: claimed.append(tenant.claim()),
            lambda: complete(tenant, claimed[0]),
        )
        return [len(asked_of(tenant.db, step)) for step in steps]

    submit, claim, end = asked(None)
    assert asked(Callback("https://a.example/", ("start",), "v")) == [submit, claim + 2, end]
    # The account has webhooks, whose list is read at each end.
    assert asked(Callback("https://a.example/", ("completed",), "v")) == [submit, claim, end + 1]


def test_a_failure_is_five_whoever_ends_it(tenant: Tenant) -> None:
    """What its key has spent too; of a queued one that its caller cancels, the request is read before."""
    tenant.submit()
    claimed, queued = tenant.claim(), tenant.submit()
    leases, queue = tenant.store.leases, tenant.store.queue
    assert len(asked_of(tenant.db, lambda: leases.fail(claimed.id, claimed.attempt, "why", 500))) == 5
    assert len(asked_of(tenant.db, lambda: queue.cancel(queued.id, tenant.account_id))) == 6


def polled(tenant: Tenant, request: Request) -> tuple[Found, int]:
    """As a poll finds it, and by how many statements."""
    found: list[Found] = []
    asked = asked_of(tenant.db, lambda: found.append(tenant.store.queue.poll_one(request.id, request.account_id)))
    return found[0], len(asked)


def test_a_poll_is_one_whatever_the_request_s_state(tenant: Tenant, clock: list[float]) -> None:
    """The credits included, and the queue and the speeds for as long as a moment lasts."""
    tenant.submit(), tenant.submit(), tenant.submit()
    tenant.complete(inference_time=4.0)
    ended, running, queued = tenant.find(tenant.claim()), tenant.claim(), tenant.submit()
    tenant.complete(ended, inference_time=4.0)
    assert polled(tenant, queued)[1] > 1
    expected = {ended.id: Eta(), running.id: Eta(None, 4.0), queued.id: Eta(1, 8.0)}
    for one in (ended, running, queued):
        found, number = polled(tenant, one)
        assert (found.request, found.eta, number) == (tenant.find(one), expected[one.id], 1)
        assert found.remaining == tenant.account.remaining == 10**9 - 40


def test_a_test_request_is_found_with_its_live_account_s_credits(tenant: Tenant) -> None:
    request = tenant.submit(test=True)
    assert request.account_id != tenant.account_id
    assert polled(tenant, request)[0].remaining == 10**9 == tenant.accounts.remaining(request.account_id)
    with pytest.raises(RequestUnknown):
        tenant.store.queue.poll_one(request.id, tenant.account_id)
    with pytest.raises(NotFound):
        tenant.accounts.remaining("nobody")


# What a moment's read of the queue answers


def test_what_this_process_changes_is_in_its_next_answer(tenant: Tenant) -> None:
    first, second = tenant.submit(), tenant.submit()
    assert [tenant.eta(one).position for one in (first, second)] == [1, 2]
    tenant.claim()
    assert [tenant.eta(one).position for one in (first, second)] == [None, 1]
    tenant.store.queue.cancel(second.id, tenant.account_id)
    assert tenant.eta(second) == Eta()


@pytest.fixture
def other(url: str, tenant: Tenant) -> Iterator[Store]:
    """Another process's."""
    db = Database(url)
    yield store_on(db)
    db.close()


def test_what_another_process_changes_is_seen_after_a_moment(tenant: Tenant, other: Store, clock: list[float]) -> None:
    first, second = tenant.submit(), tenant.submit()
    assert [tenant.eta(one).position for one in (first, second)] == [1, 2]
    assert other.leases.claim("w2", idle=True)
    assert [tenant.eta(one).position for one in (first, second)] == [None, 2], "the row says that it runs"
    third = other.queue.submit(new_request(tenant.key, "a", {}, 10))
    assert tenant.eta(third).position == 2, "one that is not in the queue that was read"
    assert other.leases.claim("w2", idle=True)
    clock[0] += MAX_AGE + 0.01
    assert tenant.eta(third).position == 1


def test_a_long_queue_is_read_once_in_a_moment_whatever_changes(
    tenant: Tenant, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tintype.store.queue.eta.LONG", 2)
    requests = [tenant.submit() for _ in range(3)]
    assert [tenant.eta(one).position for one in requests] == [1, 2, 3]
    tenant.claim()
    later = tenant.submit()
    asked = asked_of(tenant.db, lambda: [tenant.eta(one) for one in (*requests[1:], later)])
    assert not any("ORDER BY requests.test" in one for one in asked)
    assert [tenant.eta(one).position for one in (*requests, later)] == [None, 2, 3, None]
    clock[0] += MAX_AGE + 0.01
    assert [tenant.eta(one).position for one in (*requests, later)] == [None, 1, 2, 3]


def test_a_refusal_reads_no_long_queue_again(
    tenant: Tenant, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a client that is refused all the time would cost ten times one that is accepted."""
    monkeypatch.setattr("tintype.store.queue.eta.LONG", 2)
    tenant.submit()
    tenant.complete(inference_time=2.0)
    key = tenant.new_key(concurrency=1)
    *_, own = [tenant.submit(key=one) for one in (tenant.key, tenant.key, key)]
    eta = tenant.eta(own).seconds
    assert eta

    def refused() -> None:
        with pytest.raises(TooManyRequests) as found:
            tenant.submit(key=key)
        assert found.value.retry_after == ceil(eta)

    assert not any("ORDER BY requests.test" in one for one in asked_of(tenant.db, refused))


def test_a_refusal_reads_the_clock_once_however_many_run(tenant: Tenant) -> None:
    """Where their speed was never measured, it is estimated by how far each has come."""
    key = tenant.new_key(concurrency=3)
    for _ in range(3):
        tenant.submit(key=key)
        claimed = tenant.claim()
        tenant.store.leases.renew([Progress(claimed.id, claimed.attempt, 1, 4)])

    def refused() -> None:
        with pytest.raises(TooManyRequests):
            tenant.submit(key=key)

    clock = str(READ_CLOCK.compile(dialect=tenant.db._engine.dialect))
    assert asked_of(tenant.db, refused).count(clock) == 1


# What an end that isn't usual does


def test_a_cancelled_request_that_is_completed_ends_as_cancelled(tenant: Tenant) -> None:
    tenant.submit()
    claimed = tenant.claim()
    tenant.store.queue.cancel(claimed.id, tenant.account_id)
    assert not complete(tenant, claimed)
    assert tenant.find(claimed).failure == CANCELLED


def test_so_does_one_past_its_deadline_which_is_all_that_a_late_worker_changes(tenant: Tenant) -> None:
    tenant.submit(cancel_after=60)
    claimed = tenant.claim()
    tenant.db.move_clock(61)
    assert not complete(tenant, claimed)
    ended = tenant.find(claimed)
    assert ended.failure == CANCELLED
    assert asked_of(tenant.db, lambda: complete(tenant, claimed)) and tenant.find(claimed) == ended


AMOUNTS = st.integers(0, 2**40)
SECONDS = st.floats(0, 1e6) | st.integers(0, 1000).map(float) | st.sampled_from([0.1, 1 / 3, 1e-9, 86_400.0])


def test_the_cost_by_a_rate_is_rounded_up_and_bounded_by_the_price(tenant: Tenant) -> None:
    request = tenant.submit()

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(AMOUNTS, st.none() | st.integers(0, 10**7), SECONDS)
    def holds(price: int, rate: int | None, seconds: float) -> None:
        with tenant.db.write() as tx:
            tx.execute(update(requests).values(price=price, rate=rate))
            cost = tx.scalar(select(COST).where(requests.c.id == request.id), {"seconds": seconds})
            tx.execute(update(requests).values(price=10, rate=None))
        assert cost == (price if rate is None else min(price, ceil(rate * seconds)))
        assert rate is None or 0 <= cost <= price

    holds()
    assert tenant.accounts.imbalances() == []


# The journal


def seen(tenant: Tenant) -> dict[str, Any]:
    """Every figure that an end changes, as its readers have it."""
    sums = tenant.store.ops.metrics([]).sums
    keys = (CHARGES.key("a"), CHARGED.key("a"), *(ENDED.key("a", outcome) for outcome in ("completed", "failed")))
    buckets = tenant.store.ops.time_series.series(600)[2]
    return {
        **{key: sums.get(key, 0) for key in keys},
        "buckets": [(one.at, one.completed, one.failed, one.queued) for one in buckets if one.completed or one.failed],
        "seconds": tenant.store.queue.duration("a 8 1", 100),
        "like it": tenant.store.queue.duration("a 9 1", 100),
        "size": tenant.store.uploads.size_of("a.png"),
    }


def rows(tenant: Tenant, *tables: Any) -> list[int]:
    with tenant.db.read() as view:
        return [len(view.execute(select(one)).all()) for one in tables]


def test_what_is_read_is_the_same_before_an_end_is_folded_and_after(tenant: Tenant) -> None:
    assert seen(tenant)["seconds"] is None
    for number, seconds in enumerate((4.0, 8.0, 2.0)):
        tenant.submit()
        tenant.complete(inference_time=seconds, pictures=[{**IMAGE, "name": f"{'abc'[number]}.png"}])
        if number == 0:
            tenant.store.queue.end_overdue()  # so that the sums have something
        tenant.store.ops.time_series.measure(force=True)
        tenant.submit(rate=2)
    claimed = tenant.claim()
    tenant.store.leases.fail(claimed.id, claimed.attempt, "why", 500)
    before = seen(tenant)
    blended = (1.0 + 0.2 * (2.0 - 1.0)) * 0.8 + 0.2 * 0.5
    assert before["seconds"] == before["like it"] == pytest.approx(100 * blended)
    assert (before[CHARGES.key("a")], before[CHARGED.key("a")], before[ENDED.key("a", "failed")]) == (3, 30, 1)
    assert sum(completed for _, completed, *_ in before["buckets"]) == 3
    assert before["size"] == (64, 48)
    assert rows(tenant, journal, outputs, paces) == [3, 1, 1]
    tenant.store.queue.end_overdue()
    assert rows(tenant, journal, outputs, paces) == [0, 3, 1]
    assert seen(tenant) == before
    tenant.store.queue.expire()
    assert seen(tenant) == before


def test_processes_of_the_version_before_add_to_the_same_sums(tenant: Tenant) -> None:
    """They write the sums themselves, and no rows of the journal."""
    for _ in range(2):
        tenant.submit()
        tenant.complete(inference_time=4.0)
    with tenant.db.write() as tx:
        tx.execute(insert(paces).values(pace="a 8 1", seconds=2.0, measured=1))
    assert tenant.store.queue.duration("a 8 1", 1) == pytest.approx((2.0 * 0.8 + 0.2) * 0.8 + 0.2, abs=0.01)
    tenant.store.queue.end_overdue()
    assert tenant.store.queue.duration("a 8 1", 1) == pytest.approx((2.0 * 0.8 + 0.2) * 0.8 + 0.2, abs=0.01)


def test_a_test_is_in_no_sum_but_its_images_have_sizes(tenant: Tenant) -> None:
    tenant.submit(test=True, price=10, speed_key=None)
    claimed = tenant.claim(test=True)
    assert complete(tenant, claimed)
    assert seen(tenant) == {**dict.fromkeys(seen(tenant), 0), "buckets": [], "seconds": None, "like it": None} | {
        "size": (64, 48)
    }
    tenant.submit(test=True, speed_key=None)
    failed = tenant.claim(test=True)
    tenant.store.leases.fail(failed.id, failed.attempt, "why", 500)
    assert rows(tenant, journal) == [1], "nothing is learnt from a test that fails"


def test_nothing_is_written_while_nothing_ends(tenant: Tenant) -> None:
    tenant.submit()
    tenant.complete()
    asked = [asked_of(tenant.db, tenant.store.queue.end_overdue) for _ in range(1 + SPARED)]
    assert [any("DELETE FROM journal" in one for one in said) for said in asked] == [True] + [False] * SPARED
    assert sum(map(len, asked[1:])) == 1


def test_what_nobody_waits_for_is_one_message_to_a_server(tenant: Tenant) -> None:
    """Of a submit, ledger and account; of a claim, both turns; of an end, ledger, account and journal."""
    with statements(tenant.db) as submit:
        tenant.submit()
    claimed: list[Request] = []
    with statements(tenant.db) as claim:
        claimed.append(tenant.claim())
    with statements(tenant.db) as end:
        complete(tenant, claimed[0])
    messages = [[one for one, _ in said if not one.startswith(AROUND)] for said in (submit, claim, end)]
    assert [*map(len, messages)] == ([3, 3, 2] if tenant.db.kind == "postgresql" else [4, 4, 4])


def test_what_waits_of_a_change_that_is_undone_is_never_executed(tenant: Tenant) -> None:
    """Neither with what the same connection is asked next, which is no transaction."""
    before = tenant.submit()
    with pytest.raises(OutOfCredits):
        tenant.submit(price=10**15, input=Input("i.png", 3, (8, 8)))
    tenant.store.queue.poll_one(before.id, tenant.account_id)
    assert rows(tenant, inputs) == [0]
