"""Places for what takes its time: a few, shared fairly, free again only when nothing is left of the work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack

import pytest

from tintype.worker.inputs import FairPool

PLENTY = 60.0


class Works:
    """Work that goes on until it is let go, and what is known of it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._changed = threading.Condition()
        self._free: set[str] = set()

    def __call__(self, name: str) -> str:
        with self._changed:
            self.begun.append(name)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: name in self._free, PLENTY)
        return name

    def free(self, *names: str) -> None:
        with self._changed:
            self._free.update(names)
            self._changed.notify_all()

    def wait_for(self, *names: str) -> None:
        """Until these have begun, and no others."""
        with self._changed:
            assert self._changed.wait_for(lambda: {*names} == {*self.begun}, PLENTY), self.begun


@pytest.fixture
def works() -> Iterator[Works]:
    yield Works()


def submit(pool: FairPool, works: Works, *names: str) -> list[Future[str]]:
    """One job per name, whose first letter is its account."""
    return [pool.submit(name[0], lambda _, name=name: works(name)) for name in names]  # type: ignore[misc]


def test_no_account_has_more_than_half(works: Works) -> None:
    pool = FairPool(4, "test")
    jobs = submit(pool, works, "a1", "a2", "a3", "a4", "b1")
    works.wait_for("a1", "a2", "b1")
    works.free("a1")
    works.wait_for("a1", "a2", "a3", "b1")
    works.free("a2", "a3", "a4", "b1")
    assert [job.result(PLENTY) for job in jobs] == ["a1", "a2", "a3", "a4", "b1"]
    pool.close()


def test_the_next_is_of_whoever_was_served_longest_ago(works: Works) -> None:
    pool = FairPool(1, "test")
    jobs = submit(pool, works, "a1", "a2", "a3", "b1", "b2", "c1")
    works.free("a1", "a2", "a3", "b1", "b2", "c1")
    for job in jobs:
        job.result(PLENTY)
    assert works.begun == ["a1", "b1", "c1", "a2", "b2", "a3"]
    pool.close()


def test_what_is_cancelled_before_it_began_never_does(works: Works) -> None:
    pool = FairPool(2, "test")
    jobs = submit(pool, works, "a1", "a2", "a3")
    works.wait_for("a1")
    assert jobs[1].cancel()
    works.free("a1", "a3")
    assert jobs[2].result(PLENTY) == "a3"
    assert works.begun == ["a1", "a3"]
    pool.close()


def test_a_place_is_free_when_nothing_is_left_of_the_work(works: Works) -> None:
    """The result is there before."""
    pool, settled = FairPool(1, "test"), threading.Event()

    def first(after: ExitStack) -> str:
        after.callback(settled.wait, PLENTY)
        return "a1"

    assert pool.submit("a", first).result(PLENTY) == "a1"
    [job] = submit(pool, works, "b1")
    works.free("b1")
    assert not works.begun
    settled.set()
    assert job.result(PLENTY) == "b1"
    pool.close()


def test_what_the_work_raises_is_its_result(works: Works) -> None:
    pool = FairPool(1, "test")

    def failing(_: ExitStack) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        pool.submit("a", failing).result(PLENTY)
    [job] = submit(pool, works, "a1")
    works.free("a1")
    assert job.result(PLENTY) == "a1"
    waiting = submit(pool, works, "a2", "a3")
    works.wait_for("a1", "a2")
    pool.close()
    assert waiting[1].cancelled()
    works.free("a2")
