"""Limits over a real SQLite file: by several processes' connections, across restarts, and fairness between keys."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from sqlalchemy import update
from tests.databases import moved_clock, to_hour
from tests.stores import new_request, store_on
from tests.tenants import Tenant

from tintype.catalog.limits import LIMITS
from tintype.errors import Forbidden, OutOfCredits, QueueFull, TooManyRequests
from tintype.store.accounts.delegation import DAY, SHOWN, KeyDelegation
from tintype.store.accounts.keys import NO_CEILINGS, Ceilings, Key
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import Request
from tintype.store.db.tables import api_keys
from tintype.store.store import Store


@pytest.fixture
def tenant(db: Database) -> Iterator[Tenant]:
    one = Tenant(store_on(db))
    yield one
    assert one.accounts.imbalances() == []


def ask(tenant: Tenant, key: Key, pictures: int = 1, store: Store | None = None) -> Request:
    return (store or tenant.store).queue.submit(new_request(key, "sd3", {}, 10, images=pictures))


def clock(db: Database) -> float:
    with db.read() as view:
        return read_clock(view)


def refusal(call: Callable[[], object]) -> TooManyRequests:
    with pytest.raises(TooManyRequests) as refused:
        call()
    return refused.value


def test_a_bucket_of_tokens(tenant: Tenant) -> None:
    key, began = tenant.new_key(rpm=6), clock(tenant.db)
    for _ in range(6):
        ask(tenant, key)
    refused = refusal(lambda: ask(tenant, key))
    took = clock(tenant.db) - began
    words = "Too many requests: this API key may send 6 per minute"
    assert refused.message == f"{words}. Retry in {refused.retry_after} s."
    assert 10 - took <= refused.retry_after <= 10
    headers = refused.public_headers()
    assert headers["x-rate-limit-remaining"] == "0"
    assert headers["x-rate-limit-reset-at-utc"].endswith("Z")
    tenant.db.move_clock(10.1)  # a token has come in
    ask(tenant, key)
    refusal(lambda: ask(tenant, key))
    ask(tenant, tenant.new_key(rpm=6))


def test_a_refusal_takes_no_token(tenant: Tenant) -> None:
    key = tenant.new_key(rpm=2)
    for _ in range(5):
        with pytest.raises(OutOfCredits):
            tenant.submit(key=key, price=10**10)
    ask(tenant, key)
    ask(tenant, key)
    refusal(lambda: ask(tenant, key))


def test_requests_at_once(tenant: Tenant) -> None:
    key = tenant.new_key(concurrency=2)
    ask(tenant, key)
    second = ask(tenant, key)
    assert refusal(lambda: ask(tenant, key)).message == "Too many requests: this API key may have 2 at the same time"
    tenant.complete()
    ask(tenant, key)
    refusal(lambda: ask(tenant, key))
    tenant.store.queue.cancel(second.id, tenant.account_id)
    ask(tenant, key)


def test_pictures_at_once(tenant: Tenant) -> None:
    key = tenant.new_key(max_queued=5)
    with pytest.raises(Forbidden, match="this request alone asks for 6"):
        ask(tenant, key, 6)
    ask(tenant, key, 3)
    refused = refusal(lambda: ask(tenant, key, 3))
    assert (
        refused.message
        == "Too many images: this API key may have 5 at the same time; with this request it would have 6"
    )
    ask(tenant, key, 2)
    ask(tenant, tenant.new_key(), 100)


def test_the_whole_queue(tenant: Tenant) -> None:
    narrow = store_on(tenant.db, lease=15, retention=60, ceilings=Ceilings(queue=4))
    ask(tenant, tenant.new_key(), 3, narrow)
    refused = refusal(lambda: ask(tenant, tenant.new_key(), 2, narrow))
    assert (type(refused), refused.message) == (QueueFull, "The queue is full: it holds 4 images")
    ask(tenant, tenant.new_key(), 1, narrow)
    tenant.complete()
    ask(tenant, tenant.new_key(), 3, narrow)


def test_the_server_s_limits_are_for_keys_without_their_own(tenant: Tenant) -> None:
    strict = store_on(tenant.db, lease=15, retention=60, ceilings=Ceilings(rpm=1, concurrency=3))
    plain, generous = tenant.new_key(), tenant.new_key(rpm=3)
    ask(tenant, plain, store=strict)
    assert "may send 1 per minute" in refusal(lambda: ask(tenant, plain, store=strict)).message
    ask(tenant, generous, store=strict)
    ask(tenant, generous, store=strict)
    assert "together may have 3 at the same time" in refusal(lambda: ask(tenant, generous, store=strict)).message


def limited(tenant: Tenant, **ceilings: Any) -> Store:
    return store_on(tenant.db, lease=15, retention=60, ceilings=Ceilings(**ceilings))


def elsewhere(tenant: Tenant, **options: Any) -> Key:
    """A key of another account."""
    return Tenant(tenant.store).new_key(**options)


@pytest.mark.parametrize(
    ("ceilings", "words"),
    [
        ({"rpm": 2}, "Too many requests: the API keys of this account together may send 2 per minute"),
        ({"concurrency": 2}, "Too many requests: the API keys of this account together may have 2 at the same time"),
        (
            {"max_queued": 2},
            "Too many images: the API keys of this account together may have 2 at the same time; with this",
        ),
    ],
)
def test_keys_made_and_revoked_in_a_row_ask_for_no_more_than_one(
    tenant: Tenant, ceilings: dict[str, int], words: str
) -> None:
    narrow = limited(tenant, **ceilings)
    own = KeyDelegation(tenant.db, max_keys=3, daily=100, ceilings=Ceilings(**ceilings))
    main, accepted = tenant.new_key(), 0
    for _ in range(5):
        made, _secret = own.create(main, {"name": "spare"})
        for _ in range(2):
            try:
                accepted += bool(ask(tenant, made, store=narrow))
            except TooManyRequests as error:
                assert error.message.startswith(words)
        own.revoke(main, made.id)
    assert accepted == 2
    ask(tenant, elsewhere(tenant), store=narrow)


@pytest.mark.parametrize("limit", ["rpm", "concurrency", "max_queued"])
def test_what_an_operator_gives_a_key_it_has_for_itself(tenant: Tenant, limit: str) -> None:
    """Beside the others of its account, however many there are; a key that a key made has its number within theirs."""
    narrow = limited(tenant, **{limit: 2})
    for key in (tenant.new_key(**{limit: 3}), tenant.new_key(**{limit: 3})):
        for _ in range(3):
            ask(tenant, key, store=narrow)
        with pytest.raises(TooManyRequests, match=r": this API key may"):
            ask(tenant, key, store=narrow)
    own = KeyDelegation(tenant.db, max_keys=9, daily=100, ceilings=Ceilings(**{limit: 2}))
    main = tenant.new_key()
    one, two = (own.create(main, {"name": "one", limit: 1})[0] for _ in range(2))
    ask(tenant, one, store=narrow)
    assert ": this API key may" in refusal(lambda: ask(tenant, one, store=narrow)).message
    ask(tenant, two, store=narrow)
    assert ": the API keys of this account together" in refusal(lambda: ask(tenant, main, store=narrow)).message


def test_a_refusal_takes_no_token_of_either_bucket(tenant: Tenant) -> None:
    narrow = limited(tenant, rpm=2)
    own = KeyDelegation(tenant.db, max_keys=9, daily=100, ceilings=Ceilings(rpm=2))
    main = tenant.new_key()
    small, _ = own.create(main, {"name": "small", "rpm": 1})
    first = ask(tenant, small, store=narrow)
    assert first.allowance
    assert first.allowance.remaining == 0, "the least of both"
    for _ in range(5):
        refusal(lambda: ask(tenant, small, store=narrow))
    ask(tenant, main, store=narrow)
    refusal(lambda: ask(tenant, main, store=narrow))


@pytest.mark.parametrize("hours", [2, 24 * 365])
def test_a_clock_that_is_set_back_locks_nobody_out(tenant: Tenant, hours: int) -> None:
    """A bucket is never honestly further from full than a minute: what says otherwise was written by another clock."""
    key, shared, narrow = tenant.new_key(rpm=6), tenant.new_key(), limited(tenant, rpm=6)
    with moved_clock(tenant.db, 3600.0 * hours):
        ask(tenant, key)
        ask(tenant, shared, store=narrow)
    for again in (lambda: ask(tenant, key), lambda: ask(tenant, shared, store=narrow)):
        assert refusal(again).retry_after <= 10, "as if it had just been emptied"


def test_no_account_has_more_than_its_share_of_the_queue(tenant: Tenant) -> None:
    narrow = limited(tenant, queue=10, share=0.5)
    first, second = tenant.new_key(), tenant.new_key()
    with pytest.raises(Forbidden, match="One account may have 5 images in the queue; this request asks for 6"):
        ask(tenant, first, 6, narrow)
    ask(tenant, first, 3, narrow)
    kept = ask(tenant, second, 2, narrow)
    words = "One account may have 5 of the 10 images that the queue holds; with this request it would have 6"
    assert refusal(lambda: ask(tenant, second, 1, narrow)).message == words
    narrow.queue.submit(new_request(elsewhere(tenant), "sd3", {}, 10, images=5))
    tenant.store.queue.cancel(kept.id, tenant.account_id)
    ask(tenant, second, 2, narrow)
    third = elsewhere(tenant)
    assert (
        refusal(lambda: narrow.queue.submit(new_request(third, "sd3", {}, 10))).message
        == "The queue is full: it holds 10 images"
    )


def test_test_keys_have_their_share_of_what_test_keys_may_have(tenant: Tenant) -> None:
    narrow = limited(tenant, queue=4, share=0.5)
    test, live = tenant.new_key(test=True), tenant.new_key()
    ask(tenant, test, 2, narrow)
    refusal(lambda: ask(tenant, test, 1, narrow))
    ask(tenant, live, 2, narrow)
    narrow.queue.submit(new_request(elsewhere(tenant, test=True), "sd3", {}, 0, images=2))


def test_a_small_queue_has_room_for_one_picture_of_an_account() -> None:
    assert [Ceilings(queue=queue, share=0.5).of_queue for queue in (0, 1, 2, 3, 10_000)] == [0, 1, 1, 1, 5000]


def test_keys_that_keys_made_are_so_many_a_day_and_are_forgotten_in_the_end(tenant: Tenant) -> None:
    own = KeyDelegation(tenant.db, max_keys=3, daily=4, ceilings=NO_CEILINGS)
    main = tenant.key
    made = [own.create(main, {"name": "spare"})[0] for _ in range(2)]
    own.revoke(main, made[1].id)
    for _ in range(2):
        made.append(own.create(main, {"name": "spare", "test": True})[0])
        own.revoke(main, made[-1].id)
    refused = refusal(lambda: own.create(main, {"name": "one too many"}))
    assert refused.message == "An account may make 4 API keys a day"
    assert DAY - 60 < refused.retry_after <= DAY
    ask(tenant, made[0])
    own.revoke(main, made[0].id)
    aside = tenant.new_key()
    tenant.accounts.keys.revoke(aside.id)
    tenant.db.move_clock(SHOWN + 1)
    assert own.expire() == 3, "not the one whose request waits, nor one that the operator made"
    assert {key.id for key in own.list(main)} == {main.id, made[0].id, aside.id}
    own.create(main, {"name": "another day"})


def test_keys_of_a_clock_that_was_set_back_count_for_no_day(tenant: Tenant) -> None:
    own = KeyDelegation(tenant.db, max_keys=9, daily=1, ceilings=NO_CEILINGS)
    main = tenant.new_key()
    with moved_clock(tenant.db, 30 * DAY):
        own.create(main, {"name": "spare"})
        refusal(lambda: own.create(main, {"name": "spare"}))
    own.create(main, {"name": "spare"})


def used_today(tenant: Tenant, key: Key) -> tuple[int, int]:
    """Micro-dollars and requests."""
    now = next(one for one in tenant.accounts.keys.list() if one.id == key.id)
    with tenant.db.read() as view:
        moment = read_clock(view)
    return now.used(LIMITS["daily_spend"], moment), now.used(LIMITS["daily_requests"], moment)


def test_requests_of_a_day_are_those_that_were_submitted_on_it(tenant: Tenant) -> None:
    """Whatever becomes of them; what is refused or sent again is none. The next day begins at midnight UTC."""
    to_hour(tenant.db, 18)
    key = tenant.new_key(daily_requests=3, concurrency=2)
    once = {"idempotency_key": "once", "fingerprint": "same"}
    first = tenant.submit(key=key, **once)
    assert first.allowance
    assert (first.allowance.remaining, first.allowance.full_at % DAY) == (2, 0)
    assert tenant.submit(key=key, **once).id == first.id
    ask(tenant, key)
    for _ in range(3):
        assert "at the same time" in refusal(lambda: ask(tenant, key)).message
    tenant.store.queue.cancel(first.id, tenant.account_id), tenant.complete()
    ask(tenant, key)
    refused = refusal(lambda: ask(tenant, key))
    words = "Too many requests: this API key may send 3 per day. Retry after midnight UTC, in"
    assert refused.message == f"{words} {refused.retry_after} s."
    assert refused.retry_after == pytest.approx(6 * 3600, abs=60), "as long as it takes, unlike estimates"
    headers = refused.public_headers()
    assert (headers["x-rate-limit-remaining"], headers["x-should-retry"]) == ("0", "true")
    assert headers["x-rate-limit-reset-at-utc"].endswith("T00:00:00Z")
    assert used_today(tenant, key)[1] == 3
    to_hour(tenant.db, 0)
    assert used_today(tenant, key) == (0, 0)
    ask(tenant, key)
    assert used_today(tenant, key)[1] == 1


def test_the_smaller_rest_of_day_and_minute_is_told(tenant: Tenant) -> None:
    to_hour(tenant.db, 12)
    key = tenant.new_key(daily_requests=3, rpm=2)
    left = [ask(tenant, key).allowance for _ in range(2)]
    tenant.db.move_clock(60)
    left.append(ask(tenant, key).allowance)
    assert [one and one.remaining for one in left] == [1, 0, 0]
    assert [one is not None and one.full_at % DAY == 0 for one in left] == [False, False, True]


def test_dollars_of_a_day_are_held_and_given_back_within_it(tenant: Tenant) -> None:
    to_hour(tenant.db, 18)
    key = tenant.new_key(daily_spend=10)
    with pytest.raises(Forbidden, match=r"may spend \$0.00001 per day; this request alone needs \$0.000011"):
        tenant.submit(key=key, price=11)
    failing, cheap = tenant.submit(key=key, price=4), tenant.submit(key=key, price=6, rate=1)
    refused = refusal(lambda: tenant.submit(key=key, price=1))
    words = "This API key may spend $0.00001 per day, of which $0 is left, but this request needs $0.000001"
    assert refused.message == f"{words}. Retry after midnight UTC, in {refused.retry_after} s."
    tenant.submit(key=key, price=0)
    tenant.fail(), tenant.complete(inference_time=2.0)
    assert [tenant.find(one).billing.cost for one in (failing, cheap)] == [None, 2]
    assert used_today(tenant, key) == (2, 3)
    tenant.submit(key=key, price=8)
    refusal(lambda: tenant.submit(key=key, price=1))


def test_what_ends_after_midnight_gives_nothing_to_the_day_after(tenant: Tenant) -> None:
    """But to its own, as long as that is the last one with a request."""
    to_hour(tenant.db, 23.5)
    key = tenant.new_key(daily_spend=10)
    late, later = tenant.submit(key=key, price=4), tenant.submit(key=key, price=5)
    to_hour(tenant.db, 0.5)
    tenant.store.queue.cancel(late.id, tenant.account_id)
    assert used_today(tenant, key) == (0, 0)
    with moved_clock(tenant.db, -3600):
        assert used_today(tenant, key) == (5, 2)
    tenant.submit(key=key, price=7)
    tenant.store.queue.cancel(later.id, tenant.account_id)
    assert used_today(tenant, key) == (7, 1)


def test_a_request_that_was_overtaken_at_midnight_begins_no_day_again(tenant: Tenant) -> None:
    """Many of a key that are submitted at midnight wait for its row, and get it in any order."""
    to_hour(tenant.db, 0.1)
    key = tenant.new_key(daily_requests=2, daily_spend=10)
    tenant.submit(key=key, price=2)
    with moved_clock(tenant.db, -3600):
        tenant.submit(key=key, price=3)
        refusal(lambda: ask(tenant, key))
    assert used_today(tenant, key) == (5, 2)
    refusal(lambda: ask(tenant, key))


def test_test_requests_count_and_cost_nothing(tenant: Tenant) -> None:
    key = tenant.new_key(test=True, daily_requests=2, daily_spend=1)
    ask(tenant, key), ask(tenant, key)
    refusal(lambda: ask(tenant, key))
    assert used_today(tenant, key) == (0, 2)


def test_a_day_of_a_clock_that_was_set_back_locks_nobody_out(tenant: Tenant) -> None:
    to_hour(tenant.db, 1)
    key = tenant.new_key(daily_requests=1)
    with moved_clock(tenant.db, 30 * DAY):
        ask(tenant, key)
    ask(tenant, key)
    refusal(lambda: ask(tenant, key))


def test_what_a_version_before_has_submitted_gives_back_no_more_than_there_is(tenant: Tenant) -> None:
    to_hour(tenant.db, 1)
    key = tenant.new_key(daily_spend=10)
    tenant.submit(key=key, price=4)
    with tenant.db.write() as tx:
        tx.execute(update(api_keys).values(daily_spend_used=0))
    tenant.fail()
    assert used_today(tenant, key) == (0, 1)


@pytest.mark.parametrize("limits", [{"rpm": 7}, {"daily_requests": 7}, {"daily_spend": 70}])
def test_several_processes_and_a_restart_count_together(tenant: Tenant, url: str, limits: dict[str, int]) -> None:
    key = tenant.new_key(**limits)
    databases = [Database(url) for _ in range(4)]
    number = count()

    def accepted(_: int) -> bool:
        store = store_on(databases[next(number) % 4], lease=15, retention=60)
        try:
            return bool(ask(tenant, key, store=store))
        except TooManyRequests:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(accepted, range(20))) == 7
    for db in databases:
        db.close()
    again = Database(url)
    refusal(lambda: ask(tenant, key, store=store_on(again, lease=15, retention=60)))
    again.close()


def jain(shares: list[int]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_keys_have_equal_shares_while_all_of_them_wait(tenant: Tenant) -> None:
    """One floods the queue first, one asks in bursts, one comes late, and workers take some concurrently."""
    flood, burst, steady, late = (tenant.new_key() for _ in range(4))
    for key, number in ((flood, 100), (burst, 30), (steady, 20)):
        for _ in range(number):
            ask(tenant, key)
    served: Counter[str] = Counter()

    def serve(number: int) -> None:
        for _ in range(number):
            request = tenant.store.leases.claim("w", idle=False)
            assert request
            served[request.key_id] += 1

    serve(15)
    assert jain([served[key.id] for key in (flood, burst, steady)]) > 0.99
    for _ in range(20):
        ask(tenant, late)
    served.clear()
    serve(40)
    assert jain([served[key.id] for key in (flood, burst, steady, late)]) > 0.99
    assert jain([40, 0, 0, 0]) == 0.25, "what first come, first served would have given"
