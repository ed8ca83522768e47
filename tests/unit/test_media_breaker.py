"""Whose fault it is when a picture can't be stored: its own, or the storage's, which is then left alone for a while."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tintype.errors import BadPicture, StorageUnavailable
from tintype.media.storage import StorageBreaker


class Place:
    """Refuses trials while it is told to."""

    def __init__(self) -> None:
        self.refuses = False
        self.trials = 0
        self.tried = threading.Event()

    def self_test(self) -> None:
        self.trials += 1
        self.tried.set()
        if self.refuses:
            raise StorageUnavailable.because("there is no such bucket")


def use(breaker: StorageBreaker, error: Exception | None = None) -> None:
    with breaker.guarding():
        if error:
            raise error


def test_a_failure_alone_opens_nothing() -> None:
    place: Any = Place()
    breaker = StorageBreaker(place)
    with pytest.raises(StorageUnavailable):
        use(breaker, StorageUnavailable.because("it answers 413"))
    assert (breaker.open, place.trials) == ("", 1)
    use(breaker)


def test_other_errors_are_no_doubt_about_the_storage() -> None:
    place: Any = Place()
    breaker = StorageBreaker(place)
    with pytest.raises(BadPicture):
        use(breaker, BadPicture())
    assert place.trials == 0


def test_it_is_open_while_the_storage_refuses_and_closes_by_itself() -> None:
    place: Any = Place()
    place.refuses = True
    closed = threading.Event()
    breaker = StorageBreaker(place, closed.set, pauses=(0.0, 0.001))
    with pytest.raises(StorageUnavailable):
        use(breaker, StorageUnavailable())
    assert breaker.open == "there is no such bucket"
    with pytest.raises(StorageUnavailable) as error:
        use(breaker)
    assert error.value.why == breaker.open
    place.tried.clear()
    assert place.tried.wait(30), "it is tried again and again"
    assert not closed.is_set()
    place.refuses = False
    assert closed.wait(30)
    assert breaker.open == ""
    use(breaker)


def test_many_that_fail_together_try_the_storage_once() -> None:
    place: Any = Place()
    place.refuses = True
    breaker = StorageBreaker(place, pauses=(3600,))
    together = threading.Barrier(8)

    def fail() -> None:
        with pytest.raises(StorageUnavailable), breaker.guarding():
            together.wait(30)
            raise StorageUnavailable

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert place.trials == 1
    breaker.stop()


def test_a_trial_that_fails_in_a_way_nobody_foresaw_does_not_leave_it_open() -> None:
    class Odd(Place):
        def self_test(self) -> None:
            if self.trials == 1:
                self.trials += 1
                raise ZeroDivisionError
            super().self_test()

    place: Any = Odd()
    place.refuses = True
    closed = threading.Event()
    breaker = StorageBreaker(place, closed.set, pauses=(0.0,))
    with pytest.raises(StorageUnavailable):
        use(breaker, StorageUnavailable())
    place.refuses = False
    assert closed.wait(30)
    assert breaker.open == ""
    assert place.trials >= 3
