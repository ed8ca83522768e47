"""Limits over a real SQLite file: by several processes' connections, across restarts, and fairness between keys."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from tests.databases import moved_clock
from tests.stores import a_result, new_request, store_on

from tintype.errors import Forbidden, OutOfCredits, TooManyRequests
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.delegation import DAY, SHOWN, KeyDelegation
from tintype.store.accounts.keys import NO_CEILINGS, Ceilings, Key
from tintype.store.db.database import Database
from tintype.store.db.records import Request
from tintype.store.store import Store


class Door:
    """An account with money, and keys with limits."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        self.accounts = Accounts(self.db)
        self.account_id = self.accounts.create("one", 10**9).id
        self.store = store_on(self.db, lease=15, retention=60)

    def key(self, **limits: Any) -> Key:
        return self.accounts.keys.create(self.account_id, "key", **limits)[0]

    def ask(self, key: Key, pictures: int = 1, store: Store | None = None) -> Request:
        return (store or self.store).queue.submit(new_request(key, "sd3", {}, 10, images=pictures))

    def finish(self) -> None:
        request = self.store.leases.claim("w", idle=True)
        assert request
        assert self.store.leases.complete(request.id, request.attempt, a_result())


@pytest.fixture
def door(url: str) -> Iterator[Door]:
    door = Door(url)
    yield door
    assert door.accounts.imbalances() == []
    door.db.close()


def refusal(ask: Callable[[], object]) -> TooManyRequests:
    with pytest.raises(TooManyRequests) as refused:
        ask()
    return refused.value


def test_a_bucket_of_tokens(door: Door) -> None:
    key = door.key(rpm=6)
    for _ in range(6):
        door.ask(key)
    refused = refusal(lambda: door.ask(key))
    words = "Too many requests: this API key may send 6 per minute"
    assert refused.message == f"{words}. Retry in {refused.retry_after} s."
    assert refused.retry_after in (9, 10)
    headers = refused.public_headers()
    assert headers["x-rate-limit-remaining"] == "0"
    assert headers["x-rate-limit-reset-at-utc"].endswith("Z")
    door.db.move_clock(10.1)  # a token has come in
    door.ask(key)
    refusal(lambda: door.ask(key))
    door.ask(door.key(rpm=6))


def test_a_refusal_takes_no_token(door: Door) -> None:
    key = door.key(rpm=2)
    for _ in range(5):
        with pytest.raises(OutOfCredits):
            door.store.queue.submit(new_request(key, "sd3", {}, 10**10))
    door.ask(key)
    door.ask(key)
    refusal(lambda: door.ask(key))


def test_requests_at_once(door: Door) -> None:
    key = door.key(concurrency=2)
    door.ask(key)
    second = door.ask(key)
    assert refusal(lambda: door.ask(key)).message == "Too many requests: this API key may have 2 at the same time"
    door.finish()
    door.ask(key)
    refusal(lambda: door.ask(key))
    door.store.queue.cancel(second.id, door.account_id)
    door.ask(key)


def test_pictures_at_once(door: Door) -> None:
    key = door.key(max_queued=5)
    with pytest.raises(Forbidden, match="this request alone asks for 6"):
        door.ask(key, 6)
    door.ask(key, 3)
    refused = refusal(lambda: door.ask(key, 3))
    assert (
        refused.message
        == "Too many images: this API key may have 5 at the same time; with this request it would have 6"
    )
    door.ask(key, 2)
    door.ask(door.key(), 100)


def test_the_whole_queue(door: Door) -> None:
    narrow = store_on(door.db, lease=15, retention=60, ceilings=Ceilings(queue=4))
    door.ask(door.key(), 3, narrow)
    refused = refusal(lambda: door.ask(door.key(), 2, narrow))
    assert refused.message == "The queue is full: it holds 4 images"
    door.ask(door.key(), 1, narrow)
    door.finish()
    door.ask(door.key(), 3, narrow)


def test_the_server_s_limits_are_for_keys_without_their_own(door: Door) -> None:
    strict = store_on(door.db, lease=15, retention=60, ceilings=Ceilings(rpm=1, concurrency=3))
    plain, generous = door.key(), door.key(rpm=3)
    door.ask(plain, store=strict)
    assert "may send 1 per minute" in refusal(lambda: door.ask(plain, store=strict)).message
    door.ask(generous, store=strict)
    door.ask(generous, store=strict)
    assert "together may have 3 at the same time" in refusal(lambda: door.ask(generous, store=strict)).message


def limited(door: Door, **ceilings: Any) -> Store:
    return store_on(door.db, lease=15, retention=60, ceilings=Ceilings(**ceilings))


def elsewhere(door: Door, **options: Any) -> Key:
    """A key of another account."""
    return door.accounts.keys.create(door.accounts.create("another", 10**9).id, "key", **options)[0]


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
    door: Door, ceilings: dict[str, int], words: str
) -> None:
    narrow = limited(door, **ceilings)
    own = KeyDelegation(door.db, max_keys=3, daily=100, ceilings=Ceilings(**ceilings))
    main, accepted = door.key(), 0
    for _ in range(5):
        made, _secret = own.create(main, {"name": "spare"})
        for _ in range(2):
            try:
                accepted += bool(door.ask(made, store=narrow))
            except TooManyRequests as error:
                assert error.message.startswith(words)
        own.revoke(main, made.id)
    assert accepted == 2
    door.ask(elsewhere(door), store=narrow)


@pytest.mark.parametrize("limit", ["rpm", "concurrency", "max_queued"])
def test_what_an_operator_gives_a_key_it_has_for_itself(door: Door, limit: str) -> None:
    """Beside the others of its account, however many there are; a key that a key made has its number within theirs."""
    narrow = limited(door, **{limit: 2})
    for key in (door.key(**{limit: 3}), door.key(**{limit: 3})):
        for _ in range(3):
            door.ask(key, store=narrow)
        with pytest.raises(TooManyRequests, match=r": this API key may"):
            door.ask(key, store=narrow)
    own = KeyDelegation(door.db, max_keys=9, daily=100, ceilings=Ceilings(**{limit: 2}))
    main = door.key()
    one, two = (own.create(main, {"name": "one", limit: 1})[0] for _ in range(2))
    door.ask(one, store=narrow)
    assert ": this API key may" in refusal(lambda: door.ask(one, store=narrow)).message
    door.ask(two, store=narrow)
    assert ": the API keys of this account together" in refusal(lambda: door.ask(main, store=narrow)).message


def test_a_refusal_takes_no_token_of_either_bucket(door: Door) -> None:
    narrow = limited(door, rpm=2)
    own = KeyDelegation(door.db, max_keys=9, daily=100, ceilings=Ceilings(rpm=2))
    main = door.key()
    small, _ = own.create(main, {"name": "small", "rpm": 1})
    first = door.ask(small, store=narrow)
    assert first.allowance
    assert first.allowance.remaining == 0, "the least of both"
    for _ in range(5):
        refusal(lambda: door.ask(small, store=narrow))
    door.ask(main, store=narrow)
    refusal(lambda: door.ask(main, store=narrow))


@pytest.mark.parametrize("hours", [2, 24 * 365])
def test_a_clock_that_is_set_back_locks_nobody_out(door: Door, hours: int) -> None:
    """A bucket is never honestly further from full than a minute: what says otherwise was written by another clock."""
    key, shared, narrow = door.key(rpm=6), door.key(), limited(door, rpm=6)
    with moved_clock(door.db, 3600.0 * hours):
        door.ask(key)
        door.ask(shared, store=narrow)
    for ask in (lambda: door.ask(key), lambda: door.ask(shared, store=narrow)):
        assert refusal(ask).retry_after <= 10, "as if it had just been emptied"


def test_no_account_has_more_than_its_share_of_the_queue(door: Door) -> None:
    narrow = limited(door, queue=10, share=0.5)
    first, second = door.key(), door.key()
    with pytest.raises(Forbidden, match="One account may have 5 images in the queue; this request asks for 6"):
        door.ask(first, 6, narrow)
    door.ask(first, 3, narrow)
    kept = door.ask(second, 2, narrow)
    words = "One account may have 5 of the 10 images that the queue holds; with this request it would have 6"
    assert refusal(lambda: door.ask(second, 1, narrow)).message == words
    narrow.queue.submit(new_request(elsewhere(door), "sd3", {}, 10, images=5))
    door.store.queue.cancel(kept.id, door.account_id)
    door.ask(second, 2, narrow)
    third = elsewhere(door)
    assert (
        refusal(lambda: narrow.queue.submit(new_request(third, "sd3", {}, 10))).message
        == "The queue is full: it holds 10 images"
    )


def test_test_keys_have_their_share_of_what_test_keys_may_have(door: Door) -> None:
    narrow = limited(door, queue=4, share=0.5)
    test, live = door.key(test=True), door.key()
    door.ask(test, 2, narrow)
    refusal(lambda: door.ask(test, 1, narrow))
    door.ask(live, 2, narrow)
    narrow.queue.submit(new_request(elsewhere(door, test=True), "sd3", {}, 0, images=2))


def test_a_small_queue_has_room_for_one_picture_of_an_account() -> None:
    assert [Ceilings(queue=queue, share=0.5).of_queue for queue in (0, 1, 2, 3, 10_000)] == [0, 1, 1, 1, 5000]


def test_keys_that_keys_made_are_so_many_a_day_and_are_forgotten_in_the_end(door: Door) -> None:
    own = KeyDelegation(door.db, max_keys=3, daily=4, ceilings=NO_CEILINGS)
    main = door.key()
    made = [own.create(main, {"name": "spare"})[0] for _ in range(2)]
    own.revoke(main, made[1].id)
    for _ in range(2):
        made.append(own.create(main, {"name": "spare", "test": True})[0])
        own.revoke(main, made[-1].id)
    refused = refusal(lambda: own.create(main, {"name": "one too many"}))
    assert refused.message == "An account may make 4 API keys a day"
    assert DAY - 60 < refused.retry_after <= DAY
    door.ask(made[0])
    own.revoke(main, made[0].id)
    aside = door.key()
    door.accounts.keys.revoke(aside.id)
    door.db.move_clock(SHOWN + 1)
    assert own.expire() == 3, "not the one whose request waits, nor one that the operator made"
    assert {key.id for key in own.list(main)} == {main.id, made[0].id, aside.id}
    own.create(main, {"name": "another day"})


def test_keys_of_a_clock_that_was_set_back_count_for_no_day(door: Door) -> None:
    own = KeyDelegation(door.db, max_keys=9, daily=1, ceilings=NO_CEILINGS)
    main = door.key()
    with moved_clock(door.db, 30 * DAY):
        own.create(main, {"name": "spare"})
        refusal(lambda: own.create(main, {"name": "spare"}))
    own.create(main, {"name": "spare"})


def test_several_processes_and_a_restart_count_together(door: Door, url: str) -> None:
    key = door.key(rpm=7)
    databases = [Database(url) for _ in range(4)]
    number = count()

    def ask(_: int) -> bool:
        store = store_on(databases[next(number) % 4], lease=15, retention=60)
        try:
            return bool(door.ask(key, store=store))
        except TooManyRequests:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(20))) == 7
    for db in databases:
        db.close()
    again = Database(url)
    refusal(lambda: door.ask(key, store=store_on(again, lease=15, retention=60)))
    again.close()


def jain(shares: list[int]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_keys_have_equal_shares_while_all_of_them_wait(door: Door) -> None:
    """One floods the queue first, one asks in bursts, one comes late, and workers take some concurrently."""
    flood, burst, steady, late = (door.key() for _ in range(4))
    for key, number in ((flood, 100), (burst, 30), (steady, 20)):
        for _ in range(number):
            door.ask(key)
    served: Counter[str] = Counter()

    def serve(number: int) -> None:
        for _ in range(number):
            request = door.store.leases.claim("w", idle=False)
            assert request
            served[request.key_id] += 1

    serve(15)
    assert jain([served[key.id] for key in (flood, burst, steady)]) > 0.99
    for _ in range(20):
        door.ask(late)
    served.clear()
    serve(40)
    assert jain([served[key.id] for key in (flood, burst, steady, late)]) > 0.99
    assert jain([40, 0, 0, 0]) == 0.25, "what first come, first served would have given"
