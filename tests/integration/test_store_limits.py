"""Limits over a real SQLite file: by several processes' connections, across restarts, and fairness between keys."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from sqlalchemy import update

from tintype.errors import Forbidden, OutOfCredits, TooManyRequests
from tintype.store.accounts import Accounts, Key
from tintype.store.database import Database, read_clock
from tintype.store.limits import Ceilings
from tintype.store.requests import Request, Requests
from tintype.store.tables import api_keys


class Door:
    """An account with money, and keys with limits."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        self.accounts = Accounts(self.db)
        self.account_id = self.accounts.create("one", 10**9).id
        self.requests = Requests(self.db, lease=15, retention=60)

    def key(self, **limits: Any) -> Key:
        return self.accounts.create_key(self.account_id, "key", **limits)[0]

    def ask(self, key: Key, pictures: int = 1, requests: Requests | None = None) -> Request:
        return (requests or self.requests).submit(key, "sd3", {}, 10, pictures=pictures)

    def finish(self) -> None:
        request = self.requests.claim("w", idle=True)
        assert request
        assert self.requests.complete(request.id, request.attempt, {})

    def bucket(self, key: Key, seconds: float) -> None:
        """Let it be full again in so many seconds."""
        with self.db.write() as tx:
            changed = update(api_keys).where(api_keys.c.id == key.id)
            tx.execute(changed.values(bucket_full_at=read_clock(tx) + seconds))


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
    assert refused.message == "This API key may send 6 requests per minute"
    assert refused.retry_after in (9, 10)
    headers = refused.public_headers()
    assert headers["x-rate-limit-remaining"] == "0"
    assert headers["x-rate-limit-reset-at-utc"].endswith("Z")
    door.bucket(key, 60 - 10.1)  # a token has come in
    door.ask(key)
    refusal(lambda: door.ask(key))
    door.ask(door.key(rpm=6))


def test_a_refusal_takes_no_token(door: Door) -> None:
    key = door.key(rpm=2)
    for _ in range(5):
        with pytest.raises(OutOfCredits):
            door.requests.submit(key, "sd3", {}, 10**10)
    door.ask(key)
    door.ask(key)
    refusal(lambda: door.ask(key))


def test_requests_at_once(door: Door) -> None:
    key = door.key(concurrency=2)
    door.ask(key)
    second = door.ask(key)
    assert refusal(lambda: door.ask(key)).message == "This API key may have 2 requests at once"
    door.finish()
    door.ask(key)
    refusal(lambda: door.ask(key))
    door.requests.cancel(second.id, door.account_id)
    door.ask(key)


def test_pictures_at_once(door: Door) -> None:
    key = door.key(max_queued=5)
    with pytest.raises(Forbidden, match="this request alone asks for 6"):
        door.ask(key, 6)
    door.ask(key, 3)
    refused = refusal(lambda: door.ask(key, 3))
    assert refused.message == "This API key may have 5 pictures at once; with this request it would have 6"
    door.ask(key, 2)
    door.ask(door.key(), 100)


def test_the_whole_queue(door: Door) -> None:
    narrow = Requests(door.db, lease=15, retention=60, ceilings=Ceilings(queue=4))
    door.ask(door.key(), 3, narrow)
    refused = refusal(lambda: door.ask(door.key(), 2, narrow))
    assert refused.message == "The queue is full: it holds 4 pictures"
    door.ask(door.key(), 1, narrow)
    door.finish()
    door.ask(door.key(), 3, narrow)


def test_the_server_s_limits_are_for_keys_without_their_own(door: Door) -> None:
    strict = Requests(door.db, lease=15, retention=60, ceilings=Ceilings(rpm=1, concurrency=2))
    plain, generous = door.key(), door.key(rpm=3)
    door.ask(plain, requests=strict)
    assert "1 requests per minute" in refusal(lambda: door.ask(plain, requests=strict)).message
    door.ask(generous, requests=strict)
    door.ask(generous, requests=strict)
    assert "2 requests at once" in refusal(lambda: door.ask(generous, requests=strict)).message


def test_several_processes_and_a_restart_count_together(door: Door, url: str) -> None:
    key = door.key(rpm=7)
    databases = [Database(url) for _ in range(4)]
    number = count()

    def ask(_: int) -> bool:
        requests = Requests(databases[next(number) % 4], lease=15, retention=60)
        try:
            return bool(door.ask(key, requests=requests))
        except TooManyRequests:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(20))) == 7
    for db in databases:
        db.close()
    again = Database(url)
    refusal(lambda: door.ask(key, requests=Requests(again, lease=15, retention=60)))
    again.close()


def jain(shares: list[int]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_keys_have_equal_shares_while_all_of_them_wait(door: Door) -> None:
    """One floods the queue first, one asks in bursts, one comes late, and workers take some at once."""
    flood, burst, steady, late = (door.key() for _ in range(4))
    for key, number in ((flood, 100), (burst, 30), (steady, 20)):
        for _ in range(number):
            door.ask(key)
    served: Counter[str] = Counter()

    def serve(number: int) -> None:
        for _ in range(number):
            request = door.requests.claim("w", idle=False)
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
