"""A few threads for each who calls: what is bounded, who waits for whom, and that what is cancelled never begins."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from anyio import create_task_group

from tintype.web.threads import Threads

MOST, SHARE, PLENTY = 5, 2, 60.0


class Works:
    """Work that goes on until it is let go, and which of it has begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._free = threading.Event()

    def __call__(self, name: str) -> str:
        self.begun.append(name)
        assert self._free.wait(PLENTY)
        return name

    def free(self) -> None:
        self._free.set()


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    return lambda: asyncio.run(test())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PLENTY):
        while not true():
            await asyncio.sleep(0.001)


def started(threads: Threads, works: Works, *names: str) -> list[asyncio.Task[str]]:
    """Of `a3`, `a` is whose it is."""
    return [asyncio.create_task(threads.run(name[0], works, name)) for name in names]


@in_a_loop
async def test_nobody_has_more_than_a_share() -> None:
    threads, works = Threads(MOST, SHARE), Works()
    burst = started(threads, works, *(f"a{number}" for number in range(20)))
    await until(lambda: len(works.begun) == SHARE)
    others = started(threads, works, "b0", "c0", "c1")
    await until(lambda: {"b0", "c0", "c1"} <= {*works.begun})
    assert sorted(works.begun[:SHARE]) == ["a0", "a1"], "at the same time: either thread may be the first"
    assert len(works.begun) == MOST, "all that there are, and two of them the burst's"
    works.free()
    assert await asyncio.gather(*burst, *others) == [*(f"a{number}" for number in range(20)), "b0", "c0", "c1"]


@in_a_loop
async def test_what_is_cancelled_never_begins_and_gives_up_its_place() -> None:
    threads, works = Threads(MOST, SHARE), Works()
    first = started(threads, works, "a0", "a1")
    await until(lambda: len(works.begun) == SHARE)
    waiting = started(threads, works, "a2", "a3", "a4")
    await asyncio.sleep(0)
    for task in waiting[:2]:
        task.cancel()
    works.free()
    assert await asyncio.gather(*first, waiting[2]) == ["a0", "a1", "a4"]
    assert "a2" not in works.begun
    assert "a3" not in works.begun


@in_a_loop
async def test_what_is_cancelled_while_it_runs_keeps_its_place_until_it_has_ended() -> None:
    threads, works = Threads(MOST, SHARE), Works()
    first = started(threads, works, "a0", "a1")
    await until(lambda: len(works.begun) == SHARE)
    for task in first:
        task.cancel()
    next_one = started(threads, works, "a2")
    for _ in range(20):
        await asyncio.sleep(0)
    assert "a2" not in works.begun
    works.free()
    assert await asyncio.gather(*next_one) == ["a2"]
    assert [type(one) for one in await asyncio.gather(*first, return_exceptions=True)] == [asyncio.CancelledError] * 2


@in_a_loop
async def test_a_stream_that_is_cancelled_keeps_its_place_too() -> None:
    """Its task group cancels what it waits for in each turn of the loop."""
    threads, works = Threads(MOST, 1), Works()

    async def look() -> int:
        for _ in range(20):
            await asyncio.sleep(0)
        works.free()
        return threads._started

    async with create_task_group() as stream:
        stream.start_soon(threads.run, "a", works, "a0")
        await until(lambda: works.begun == ["a0"])
        next_one, looking = started(threads, works, "a1"), asyncio.create_task(look())
        stream.cancel_scope.cancel()
    assert await looking == 1
    assert await asyncio.gather(*next_one) == ["a1"]


@in_a_loop
async def test_an_error_gives_up_its_place_and_nobody_is_remembered() -> None:
    threads = Threads(MOST, SHARE)

    def fail() -> None:
        raise ValueError("no")

    for _ in range(3 * MOST):
        with pytest.raises(ValueError, match="no"):
            await threads.run("a", fail)
    with pytest.raises(RuntimeError, match="StopIteration"):  # which a future can't have
        await threads.run("a", lambda: next(iter(())))
    assert await threads.run("a", lambda: 7) == 7
    gc.collect()  # errors refer to what raised them
    assert len(threads._own) == 0


def named() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "call"]


@in_a_loop
async def test_threads_are_used_again_and_end_with_the_server() -> None:
    threads, works, before = Threads(MOST, SHARE), Works(), {*named()}
    for _ in range(3):
        await threads.run("a", lambda: None)
    assert len({*named()} - before) == 1
    lost = started(threads, works, "a0")[0]
    await until(lambda: works.begun == ["a0"])
    lost.cancel()
    assert await threads.run("a", lambda: 7) == 7, "the first thread is still at what nobody waits for"
    own = {*named()} - before
    assert len(own) == 2
    assert all(one.daemon for one in own), "what hangs must not keep the process from ending"
    works.free()
    threads.close()
    await until(lambda: not any(one.is_alive() for one in own))


@in_a_loop
async def test_work_knows_whose_call_it_is() -> None:
    caller = ContextVar[str]("caller")
    caller.set("a")
    assert await Threads(MOST, SHARE).run("a", caller.get) == "a"
