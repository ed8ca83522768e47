"""What of a call is the server's own time: not the caller's body, and not what a stream goes on for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from tintype.telemetry.metrics import METHODS, Calls
from tintype.web.middleware import CallMetrics

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/"}


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def counted(app: Any, *, wait: float = 0.0, clock: Clock | None = None, scope: Scope = SCOPE) -> dict[str, Any]:
    """Runs a call whose client takes `wait` seconds for each of two halves of its body; what was observed of it."""
    calls, clock, more = Calls(), clock or Clock(), [True, False]

    async def receive() -> Message:
        clock.now += wait
        return {"type": "http.request", "body": b"x", "more_body": more.pop(0)} if more else {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        clock.now += 1000

    middleware = CallMetrics(app, calls, clock)
    with suppress(ZeroDivisionError):
        asyncio.run(middleware(dict(scope), receive, send))
    found = [one for family in calls.collect() for one in family.samples if one.name.startswith("tintype_http")]
    said = {one.name: one.value for one in found if "le" not in one.labels and not one.name.endswith("_created")}
    [status] = [one.labels["status"] for one in found if one.name == "tintype_http_answers_total"]
    return {**said, "status": status}


def test_the_caller_s_body_and_the_rest_of_a_stream_are_left_out() -> None:
    clock = Clock()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        clock.now += 2  # who is that?
        for _ in range(2):
            await receive()
        clock.now += 3  # the answer
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "more_body": True})
        await receive()  # whether they have hung up
        await send({"type": "http.response.body"})

    said = counted(app, wait=100, clock=clock)
    assert said["tintype_http_seconds_sum"] == 5
    assert (said["tintype_http_answers_total"], said["tintype_http_open"]) == (1, 0)


def test_waiting_for_the_caller_to_go_is_the_server_s_own_time() -> None:
    """As a blocking call does, which has its body."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            await receive()
        await send({"type": "http.response.start", "status": 200})

    assert counted(app, wait=7)["tintype_http_seconds_sum"] == 7


@pytest.mark.parametrize("begins", [False, True])
def test_what_breaks_is_counted_once(begins: bool) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begins:
            await send({"type": "http.response.start", "status": 200})
        raise ZeroDivisionError

    said = counted(app)
    assert said["tintype_http_answers_total"] == 1
    assert said["status"] == ("200" if begins else "500")
    assert said["tintype_http_open"] == 0


def test_what_is_called_makes_no_labels() -> None:
    calls = Calls()
    for number in range(100):
        calls.answered("unmatched", f"M{number}", 404, 0.0)
    for method in METHODS:
        calls.answered("unmatched", method, 404, 0.0)
    labels = {one.labels["method"] for family in calls.collect() for one in family.samples if "method" in one.labels}
    assert labels == METHODS | {"other"}
