"""A few threads for each who calls: what is bounded, who waits for whom, and that what is cancelled never begins."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from anyio import create_task_group
from fastapi import Request as HttpRequest
from starlette.requests import ClientDisconnect

from tintype.web.connections import HUNG_UP
from tintype.web.threads import Bunches, Threads

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


def call(whose: str, *, gone: bool = False) -> HttpRequest:
    """A call of an account's."""
    state = {"key": SimpleNamespace(account_id=whose), HUNG_UP: lambda: gone}
    return HttpRequest({"type": "http", "state": state})


class Job:
    """Notes its bunches; the first one goes on until it is let go."""

    def __init__(self) -> None:
        self.bunches: list[list[str]] = []
        self._free = threading.Event()

    def __call__(self, items: Sequence[str]) -> list[str | Exception]:
        self.bunches.append([*items])
        assert self._free.wait(PLENTY)
        if "broken" in items:
            raise ZeroDivisionError
        return [ValueError(one) if one == "bad" else one.upper() for one in items]

    def free(self) -> None:
        self._free.set()


def asked(bunches: Bunches[str, str], *items: str) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(bunches.run(call(item[0]), item)) for item in items]


@in_a_loop
async def test_what_comes_while_a_bunch_is_worked_on_is_the_next_one() -> None:
    """A few of each holder's: a burst of one's delays another's by one bunch."""
    job = Job()
    bunches = Bunches(Threads(MOST, SHARE), job, total=4, per_holder=2)
    first = asked(bunches, "a0")
    await until(lambda: len(job.bunches) == 1)
    later = asked(bunches, "a1", "a2", "a3", "a4", "b0", "c0", "c1", "d0")
    await asyncio.sleep(0)
    job.free()
    assert await asyncio.gather(*first, *later) == ["A0", "A1", "A2", "A3", "A4", "B0", "C0", "C1", "D0"]
    assert job.bunches == [["a0"], ["a1", "a2", "b0", "c0"], ["d0", "a3", "a4", "c1"]]


@in_a_loop
async def test_those_that_come_together_are_one_bunch() -> None:
    job = Job()
    job.free()
    together = asked(Bunches(Threads(MOST, SHARE), job), "a0", "b0", "b1")
    assert await asyncio.gather(*together) == ["A0", "B0", "B1"]
    assert job.bunches == [["a0", "b0", "b1"]]


@in_a_loop
async def test_an_item_s_error_is_its_own_and_the_job_s_is_everybody_s() -> None:
    job = Job()
    job.free()
    bunches = Bunches(Threads(MOST, SHARE), job)
    told = await asyncio.gather(*asked(bunches, "a0", "bad", "b0"), return_exceptions=True)
    assert [*map(repr, told)] == ["'A0'", "ValueError('bad')", "'B0'"]
    told = await asyncio.gather(*asked(bunches, "a0", "broken"), return_exceptions=True)
    assert [*map(type, told)] == [ZeroDivisionError] * 2
    assert await bunches.run(call("a"), "a1") == "A1"


@in_a_loop
async def test_who_has_hung_up_or_is_cancelled_is_in_no_bunch() -> None:
    job = Job()
    bunches = Bunches(Threads(MOST, SHARE), job)
    first = asked(bunches, "a0")
    await until(lambda: len(job.bunches) == 1)
    gone = asyncio.create_task(bunches.run(call("a", gone=True), "a1"))
    cancelled, kept = asked(bunches, "a2", "b0")
    await asyncio.sleep(0)
    first[0].cancel()
    cancelled.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert cancelled.done()
    assert not first[0].done(), "it waits for its end"
    job.free()
    assert await kept == "B0"
    told = await asyncio.gather(*first, gone, cancelled, return_exceptions=True)
    assert [*map(type, told)] == [asyncio.CancelledError, ClientDisconnect, asyncio.CancelledError]
    assert job.bunches == [["a0"], ["b0"]]


@in_a_loop
async def test_a_machine_without_a_thread_for_a_bunch_may_have_one_for_the_next() -> None:
    job = Job()
    job.free()
    bunches = Bunches(Threads(MOST, SHARE), job)
    with pytest.MonkeyPatch.context() as full:
        full.setattr("tintype.web.threads.threading.Thread.start", no_thread)
        told = await asyncio.wait_for(asyncio.gather(*asked(bunches, "a0", "b0"), return_exceptions=True), PLENTY)
    assert [*map(type, told)] == [RuntimeError] * 2
    assert await asyncio.wait_for(bunches.run(call("a"), "a1"), PLENTY) == "A1"


def no_thread(_: object) -> None:
    raise RuntimeError("can't start new thread")
