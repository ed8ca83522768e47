"""deploy/nginx.conf as it is, but for addresses, in a real nginx before a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import h11
import httpx2
import pytest

from tests.acceptance.harness import until
from tests.acceptance.nginx import nginx, shipped
from tests.acceptance.test_http_helpers import TEXT, quick, refused
from tests.clients import NO_TLS, call_bytes, dial
from tests.integration.sse import following
from tests.integration.website import Website, serving

#: Calls under way at once that this file's callers may have.
FEW = 3


@pytest.fixture(scope="module")
def website(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """A server that trusts its proxy."""
    with serving(tmp_path_factory.mktemp("data"), trusted_proxies="127.0.0.1") as site:
        yield site


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, website: Website) -> Iterator[str]:
    """The proxy's address."""
    with nginx(tmp_path_factory.mktemp("nginx"), shipped(website.address, connections=str(FEW))) as address:
        yield address


@pytest.fixture
def http(proxy: str, website: Website) -> Iterator[httpx2.Client]:
    """A caller behind the proxy; what it has left in the queue is cancelled."""
    with httpx2.Client(base_url=proxy, headers={"x-api-key": website.secret}, timeout=60, verify=NO_TLS) as client:
        yield client
    website.cancel_all()


def test_calls_and_events_come_through(http: httpx2.Client, website: Website, proxy: str) -> None:
    submitted = http.post(f"/v2/{TEXT}", json=quick()).json()
    assert submitted["status_url"].startswith(f"{proxy}/v2/")
    with following(http, submitted["request_id"]) as events:
        assert next(events).name == "queued"  # at once: nothing else will happen until it has been seen
        request = website.claim()
        website.complete(request)
        assert [event.name for event in events if event.name != "comment"][-1] == "completed"


def test_a_caller_can_t_speak_for_the_proxy(http: httpx2.Client, proxy: str) -> None:
    lies = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "x-forwarded-prefix": "/evil"}
    answer = http.post(f"/v2/{TEXT}", json=quick(), headers=lies).json()
    assert answer["status_url"].startswith(f"{proxy}/v2/")


def test_a_caller_can_t_choose_the_address_that_is_noted(http: httpx2.Client, website: Website) -> None:
    """A ban by the log would hit whomever it names."""
    made = http.post("/v2/keys", json={"name": "mine"}, headers={"x-forwarded-for": "203.0.113.7"})
    assert made.is_success, made.text
    [deed] = website.own.store.audit.page(act="key.create", size=1)[0]
    assert (deed.by_key, deed.address) == (website.key.id, "127.0.0.1")


def test_refusals_of_the_proxy_are_like_the_api_s(http: httpx2.Client) -> None:
    refused(http.post(f"/v2/{TEXT}", content=b"x" * (34 * 2**20)), 413)
    mine = http.post(f"/v2/{TEXT}", content=b"x" * (33 * 2**20 - 1_000))
    refused(mine, 413, "33554432")


def test_a_server_that_goes_while_it_has_a_call(tmp_path: Path) -> None:
    """What may have been taken isn't sent to anybody again, and its caller isn't told to."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:

        def hang_up() -> bytes:
            one, _ = server.accept()
            with one:
                return one.recv(65536).split(b" ")[0]

        calls = [thread.submit(hang_up) for _ in range(5)]
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            nginx(tmp_path, shipped(address, address)) as proxy,
            httpx2.Client(base_url=proxy, verify=NO_TLS, timeout=60) as http,
        ):
            answer = http.post(f"/v2/{TEXT}", json=quick())
            refused(answer, 502)
            assert "may have been taken" in answer.json()["error_description"]
            assert (answer.headers["x-should-retry"], answer.headers.get("retry-after")) == ("false", None)
            once = {"idempotency-key": "7f"}
            made = http.post(f"/v1/{TEXT}", json=quick(), headers=once)
            assert (made.headers["x-should-retry"], made.headers["retry-after"]) == ("true", "2")
            assert "same Idempotency-Key" in made.json()["error_description"]
            # Of anything else than a model's calls, nobody remembers it.
            assert http.post("/v2/keys", json={}, headers=once).headers["x-should-retry"] == "false"
            assert http.get("/v1/models").headers["x-should-retry"] == "true"
        assert [call.result() for call in calls] == [b"POST", b"POST", b"POST", b"GET", b"GET"]


def test_the_server_does_not_hear_of_half_a_body(proxy: str, website: Website) -> None:
    """It is the proxy that waits for it, and for many others."""
    with dial(proxy) as one:
        one.sendall(call_bytes("POST", f"/v2/{TEXT}", website.secret, b"x" * 50, length=100))
        with httpx2.Client(base_url=proxy, verify=NO_TLS, timeout=60) as http:
            assert http.get("/health").status_code == 200
        states = [other.conn.their_state for other in list(website.server.server_state.connections)]
        assert states
        assert h11.SEND_BODY not in states
        one.sendall(b"x" * 50)
        assert one.recv(65536).startswith(b"HTTP/1.1 4")


def test_one_address_has_a_part_of_the_connections(http: httpx2.Client, website: Website) -> None:
    request = website.submit()
    with ExitStack() as closing:
        streams = [closing.enter_context(following(http, request.id)) for _ in range(FEW)]
        assert [next(stream).name for stream in streams] == ["queued"] * FEW
        refusal = http.get("/health")
        refused(refusal, 429, "this address")
        assert refusal.headers["retry-after"] == "2"
    until(lambda: http.get("/health").is_success)
