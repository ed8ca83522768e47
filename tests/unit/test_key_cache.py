"""Cached keys: for how long one is believed, who looks at the database for all, and what ends all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tintype.store.accounts.key_cache import CHECK, LATE, MAX_KEYS, TTL, FoundKey, KeyCache
from tintype.store.accounts.keys import Key

#: How far the database's clock is ahead of the process's.
AHEAD = 1e9


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> KeyCache:
    return KeyCache(clock)


@pytest.fixture
def read(clock: Clock, cache: KeyCache) -> Callable[..., None]:
    """Reads a key, as a call does that isn't answered from the cache."""

    def read(digest: str, version: float = 1.0, replaced: bool = False, **own: float) -> None:
        times: dict[str, float | None] = {"expires_at": None, "revoked_at": None, **own}
        key = Key(digest, "account", "name", "SG_1234", None, False, 0.0, **times)
        cache.put(digest, FoundKey(key, replaced, clock.now + AHEAD, version), clock.now)

    return read


def known(cache: KeyCache, *digests: str) -> list[str]:
    return [key.id for digest in digests if (key := cache.get(digest))]


def test_a_key_is_cached_and_no_other(cache: KeyCache, read: Callable[..., None]) -> None:
    assert not known(cache, "a", "b")
    read("a")
    assert known(cache, "a", "b") == ["a"]


def test_while_calls_come_in_one_of_them_looks_for_all(
    clock: Clock, cache: KeyCache, read: Callable[..., None]
) -> None:
    read("a")
    read("b")
    looks = 0
    for _ in range(1000):
        clock.now += 0.001
        for digest in ("a", "b"):
            if cache.get(digest) is None:
                looks += 1
                read(digest)
    assert looks == 1 // CHECK


def test_the_others_wait_for_that_look_less_than_a_second(
    clock: Clock, cache: KeyCache, read: Callable[..., None]
) -> None:
    read("a")
    clock.now += CHECK
    assert not known(cache, "a"), "this one looks, and its database does not answer"
    assert known(cache, "a", "a") == ["a", "a"]
    clock.now += LATE - CHECK
    assert not known(cache, "a", "a")
    assert LATE < 1


def test_a_change_elsewhere_ends_all_that_was_cached_before_it(
    clock: Clock, cache: KeyCache, read: Callable[..., None]
) -> None:
    read("a", version=1)
    read("b", version=1)
    clock.now += 0.1
    read("c", version=2)
    assert known(cache, "a", "b", "c") == ["c"]
    read("a", version=2)
    assert known(cache, "a", "b", "c") == ["a", "c"]


def test_who_is_refused_has_told_of_the_change(clock: Clock, cache: KeyCache, read: Callable[..., None]) -> None:
    read("a", version=1)
    clock.now += CHECK
    assert not known(cache, "a")
    read("a", version=2, revoked_at=clock.now + AHEAD - 0.1)
    clock.now += 0.1
    assert not known(cache, "a", "a")


def test_a_late_read_of_what_was_before_a_change_is_not_believed(
    clock: Clock, cache: KeyCache, read: Callable[..., None]
) -> None:
    began = clock.now
    clock.now += 0.1
    read("b", version=2)
    clock.now = began
    read("a", version=1)
    clock.now += 0.2
    assert known(cache, "a", "b") == ["b"]


def test_a_change_here_is_seen_immediately(clock: Clock, cache: KeyCache, read: Callable[..., None]) -> None:
    read("a")
    clock.now += 0.1
    cache.forget()
    assert not known(cache, "a")
    clock.now -= 0.05
    read("a")  # began before the change was committed
    assert not known(cache, "a")
    clock.now += 0.1
    read("a")
    assert known(cache, "a") == ["a"]


def test_what_no_counter_tells_is_seen_within_the_ttl(clock: Clock, cache: KeyCache, read: Callable[..., None]) -> None:
    read("a")
    began = clock.now
    while clock.now < began + TTL - 0.2:
        clock.now += 0.1
        read("b")
        assert known(cache, "a") == ["a"]
    clock.now = began + TTL
    read("b")
    assert known(cache, "a", "b") == ["b"]


def test_times_are_checked_by_the_clock_of_the_database(
    clock: Clock, cache: KeyCache, read: Callable[..., None]
) -> None:
    moment = clock.now + AHEAD
    read("expires", expires_at=moment + 0.2)
    read("revoked", revoked_at=moment - 1)
    read("new", old_until=moment + 0.2)
    read("old", old_until=moment + 0.2, replaced=True)
    clock.now += 0.1
    assert known(cache, "expires", "revoked", "new", "old") == ["expires", "new", "old"]
    clock.now += 0.1
    assert known(cache, "expires", "new", "old") == ["new"]


def test_it_is_bounded_and_the_least_recently_used_leaves(cache: KeyCache, read: Callable[..., None]) -> None:
    for number in range(MAX_KEYS):
        read(str(number))
    assert known(cache, "0") == ["0"]
    read("one more")
    assert known(cache, "0", "1", "2", "one more") == ["0", "2", "one more"]
