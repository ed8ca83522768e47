"""Whose fault it is when a picture can't be stored: its own, or the storage's, which is then left alone for a while."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tintype.errors import BadPicture, StorageUnavailable
from tintype.media.outlet import Outlet


class Place:
    """Refuses trials while it is told to."""

    def __init__(self) -> None:
        self.refuses = False
        self.trials = 0
        self.tried = threading.Event()

    def prove(self) -> None:
        self.trials += 1
        self.tried.set()
        if self.refuses:
            raise StorageUnavailable.because("there is no such bucket")


def use(outlet: Outlet, error: Exception | None = None) -> None:
    with outlet.used():
        if error:
            raise error


def test_what_fails_alone_shuts_nothing() -> None:
    place: Any = Place()
    outlet = Outlet(place)
    with pytest.raises(StorageUnavailable):
        use(outlet, StorageUnavailable.because("it answers 413"))
    assert (outlet.shut, place.trials) == ("", 1)
    use(outlet)


def test_other_errors_are_no_doubt_about_the_storage() -> None:
    place: Any = Place()
    outlet = Outlet(place)
    with pytest.raises(BadPicture):
        use(outlet, BadPicture())
    assert place.trials == 0


def test_it_is_shut_while_the_storage_refuses_and_opens_by_itself() -> None:
    place: Any = Place()
    place.refuses = True
    opened = threading.Event()
    outlet = Outlet(place, opened.set, pauses=(0.0, 0.001))
    with pytest.raises(StorageUnavailable):
        use(outlet, StorageUnavailable())
    assert outlet.shut == "there is no such bucket"
    with pytest.raises(StorageUnavailable) as error:
        use(outlet)
    assert error.value.why == outlet.shut
    place.tried.clear()
    assert place.tried.wait(30), "it is tried again and again"
    assert not opened.is_set()
    place.refuses = False
    assert opened.wait(30)
    assert outlet.shut == ""
    use(outlet)


def test_many_that_fail_together_try_the_storage_once() -> None:
    place: Any = Place()
    place.refuses = True
    outlet = Outlet(place, pauses=(3600,))
    together = threading.Barrier(8)

    def fail() -> None:
        with pytest.raises(StorageUnavailable), outlet.used():
            together.wait(30)
            raise StorageUnavailable

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert place.trials == 1
    outlet.close()


def test_a_trial_that_fails_in_a_way_nobody_foresaw_does_not_leave_it_shut() -> None:
    class Odd(Place):
        def prove(self) -> None:
            if self.trials == 1:
                self.trials += 1
                raise ZeroDivisionError
            super().prove()

    place: Any = Odd()
    place.refuses = True
    opened = threading.Event()
    outlet = Outlet(place, opened.set, pauses=(0.0,))
    with pytest.raises(StorageUnavailable):
        use(outlet, StorageUnavailable())
    place.refuses = False
    assert opened.wait(30)
    assert outlet.shut == ""
    assert place.trials >= 3
