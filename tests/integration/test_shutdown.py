"""A web process that is told to stop: what it says while it drains, who is still answered, and what is charged."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from socket import create_connection
from typing import Any

import h11
import httpx2
import pytest
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import TEXT, quick, refused
from tests.clients import call_bytes, dial
from tests.integration.sse import following
from tests.integration.website import PATIENT, Website, serving
from tests.stores import a_result

from tintype.web.shutdown import SAME, WebServer

PATH = f"/v1/{TEXT}"
#: Seconds that nobody waits for here.
LONG = 600.0


def server(site: Website) -> WebServer:
    assert isinstance(site.server, WebServer)
    return site.server


def told(site: Website, number: int = signal.SIGTERM) -> None:
    """What a signal does to a server in a process of its own."""
    server(site).handle_exit(number, None)


def told_again(site: Website) -> None:
    """By a second signal, that isn't the first one passed on."""
    assert server(site)._signalled_at
    server(site)._signalled_at -= 2 * SAME
    told(site)


@contextmanager
def waiting(site: Website, secret: str = "", **params: Any) -> Iterator[Future[httpx2.Response]]:
    """A v1 call whose request is queued; `once` is its Idempotency-Key."""
    headers = {"idempotency-key": params.pop("once")} if "once" in params else {}
    with site.http(secret) as http, ThreadPoolExecutor(1) as thread:
        watched = site.own.runtime.watcher._waits
        before = len(watched)
        call = thread.submit(http.post, PATH, json=quick(**params), headers=headers)
        until(lambda: len(watched) > before)
        yield call


def listens(address: str) -> bool:
    host, port = address.removeprefix("http://").split(":")
    try:
        create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


def test_while_it_drains_all_calls_are_served_and_told_to_connect_elsewhere(tmp_path: Path) -> None:
    with serving(tmp_path, web_drain=LONG, web_grace=LONG, **PATIENT) as site, site.http() as http:
        request = site.submit()
        site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
        until(lambda: http.get("/ready").is_success)
        assert "connection" not in http.get("/health").headers
        with waiting(site) as call, following(http, request.id) as events:
            next(events)
            told(site)
            with site.http() as other:  # which connects now
                for path, words in (("/ready", "run requests"), ("/ready?web", "take calls")):
                    answer = other.get(path)
                    assert (answer.status_code, answer.json()["ready"], answer.json()["stopping"]) == (503, False, True)
                    assert f"can't {words} at the moment: it is stopping" in answer.json()["error"]
                assert other.get("/health").json() == {"status": "ok"}
                answers = [other.post(f"/v2/{TEXT}", json=body) for body in (quick(), quick(steps=0))]
                assert [answer.status_code for answer in answers] == [200, 400]
                assert [answer.headers["connection"] for answer in answers] == ["close", "close"]
            assert site.claim().id == request.id
            assert next(events).name == "started"
            site.complete(site.claim())
            assert (call.result().content, call.result().headers["connection"]) == (b"picture", "close")
        told_again(site)


def test_a_signal_from_a_terminal_doesn_t_drain_and_one_passed_on_is_the_same(tmp_path: Path) -> None:
    with serving(tmp_path, web_drain=LONG, web_grace=LONG) as site, waiting(site) as call:
        told(site, signal.SIGINT)
        told(site, signal.SIGINT)  # by the program that it was started with, say
        until(lambda: not listens(site.address))
        assert not site.own.runtime.shutdown.over
        site.complete(site.claim())
        assert call.result().is_success


def test_calls_under_way_have_the_grace_while_streams_and_idle_connections_end(tmp_path: Path) -> None:
    with serving(tmp_path, web_grace=LONG) as site, site.http() as http, site.http() as idle:
        assert idle.get("/health").is_success  # it stays connected, and holds up nothing
        followed = site.submit()
        with waiting(site) as call, waiting(site, once="one") as other, following(http, followed.id) as events:
            next(events)
            told(site)
            assert [event.name for event in events] == []
            until(lambda: not listens(site.address))
            for _ in range(3):
                site.complete(site.claim())
            assert [one.result().content for one in (call, other)] == [b"picture", b"picture"]
        until(lambda: site.own.runtime.shutdown.over)


def test_after_the_grace_nobody_pays_for_what_nobody_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is drawn and one waits, one can be asked for again, and one has its picture at the last moment."""
    with serving(tmp_path, web_grace=LONG) as site:
        with waiting(site) as drawn, waiting(site, once="one") as kept, waiting(site) as lucky, waiting(site) as queued:
            running = [site.claim() for _ in range(3)]
            with seeing_nothing(site, monkeypatch):
                site.complete(running[2])
                told(site)
                until(lambda: site.own.runtime.shutdown.closing)
                told_again(site)
                for lost in (drawn.result(), queued.result()):
                    refused(lost, 503, "restarted")
                    assert (lost.headers["retry-after"], lost.headers["x-should-retry"]) == ("2", "true")
                later = kept.result()
                refused(later, 504, "still running")
                assert (later.headers["retry-after"], later.headers["x-should-retry"]) == ("2", "true")
                assert lucky.result().content == b"picture"
        place = f"{site.address}/v2/requests/{running[1].id}"
        places = {"request_id": running[1].id, "status_url": f"{place}/status", "response_url": place}
        assert later.json().items() >= places.items()
    # Its worker goes on, and the other server of this database.
    secret = site.secret
    with serving(tmp_path) as site, site.http(secret) as http:
        assert not site.own.store.leases.complete(running[0].id, 1, a_result(), 4), (
            "what is cancelled can't be charged any more"
        )
        site.complete(running[1])
        again = http.post(PATH, json=quick(), headers={"idempotency-key": "one"})
        assert (again.content, again.headers["idempotent-replayed"]) == (b"picture", "true")
        assert site.own.store.accounts.imbalances() == []


def test_after_the_grace_a_body_that_is_on_its_way_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, web_grace=0) as site, dial(site.address) as one:
        one.sendall(call_bytes("POST", "/upload-asset", site.secret, b"{", length=1_000_000))
        until(lambda: any(each.conn.their_state is h11.SEND_BODY for each in [*server(site).server_state.connections]))
        told(site)
        answer = b"".join(iter(lambda: one.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 2" in answer.lower()
        assert b"the rest of the body did not come" in answer


def test_after_the_grace_nobody_waits_for_a_database_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvicorn would end the call in the middle, with an answer that is none of the API's."""
    monkeypatch.setattr("tintype.web.generate.wait.LAST_WORD", 0.05)
    monkeypatch.setattr("tintype.web.middleware.LAST_CREDITS", 0.05)
    with closing(sqlite3.connect(tmp_path / "tintype.db")) as other, serving(tmp_path, web_grace=0) as site:
        remaining, goes_on = site.own.store.accounts.remaining, threading.Event()
        with waiting(site) as call:
            monkeypatch.setattr(site.own.store.accounts, "remaining", lambda *of: goes_on.wait() and remaining(*of))
            other.execute("BEGIN IMMEDIATE")  # no cancel gets through
            told(site)
            answer = call.result()
            other.rollback()
            goes_on.set()
        refused(answer, 504, "did not end")
        assert {"request_id", "status_url"} <= answer.json().keys()


@contextmanager
def seeing_nothing(site: Website, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The calls that wait don't learn meanwhile how their requests stand."""
    go_on, queue = threading.Event(), site.own.runtime.watcher._queue

    def late(own: Callable[..., Any]) -> Callable[..., Any]:
        return lambda ids: go_on.wait() and own(ids)

    for name in ("ended", "unended"):
        monkeypatch.setattr(queue, name, late(getattr(queue, name)))
    try:
        yield
    finally:
        go_on.set()


def test_a_test_call_after_the_grace(tmp_path: Path) -> None:
    with serving(tmp_path, web_grace=0) as site:
        _, secret = site.own.store.accounts.keys.create(site.account_id, "ci", test=True)
        with waiting(site, secret, prompt="test:processing:600") as call:
            told(site)
            refused(call.result(), 503, "restarted")


def test_who_knocks_as_it_closes_is_answered(tmp_path: Path) -> None:
    """The system accepts connections, and takes in calls, that nobody has seen when the socket is closed."""
    with serving(tmp_path) as site, dial(site.address) as known:
        call = call_bytes("GET", "/health", "", b"")
        known.sendall(call)
        while not known.recv(65536).endswith(b"}"):
            pass
        loop = next(iter(server(site).server_state.connections)).loop

        async def closing() -> list[Any]:
            knocking = [dial(site.address) for _ in range(3)]
            for one in (known, *knocking):
                one.sendall(call)
            assert not server(site)._idle(), "the first one's call is here, though nobody has read it yet"
            told(site)
            await server(site).stop_listening()
            return knocking

        knocking = asyncio.run_coroutine_threadsafe(closing(), loop).result()
        for one in (known, *knocking):
            with one, one.makefile("rb") as answer:
                assert b"connection: close" in (read := answer.read())
                assert read.startswith(b"HTTP/1.1 200")
