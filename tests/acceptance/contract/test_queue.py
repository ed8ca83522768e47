"""Contract, sections 3 and 5, on a server without workers: what waits, what is said of it, what 502 means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import httpx2
import pytest

from tests.acceptance.contract.api import Api
from tests.acceptance.contract.conftest import WAYS_WITH_SETTINGS, NewApi
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import (
    OLD,
    PRICES,
    TEXT,
    credits,
    left,
    quick,
    refused,
    result,
    slow,
    submit,
)
from tests.clients import under_way


@pytest.fixture(scope="module", params=WAYS_WITH_SETTINGS)
def api(request: pytest.FixtureRequest, new_api: NewApi) -> Iterator[Api]:
    """Has no workers, waits 0.2 s, and trusts a proxy on this machine."""
    with new_api(request.param, devices="", sync_timeout=0.2, trusted_proxies="10.0.0.1, 127.0.0.1") as workerless:
        yield workerless


def test_it_lives_but_is_not_ready(api: Api) -> None:
    http = api.http(None)
    assert http.get("/health").json() == {"status": "ok"}
    response = http.get("/ready")
    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert response.json()["worker"] is False


def test_the_status_of_a_queued_request(api: Api, http: httpx2.Client) -> None:
    first, second = submit(http, TEXT, quick()), submit(http, TEXT, quick())
    address = f"{api.address}/v2/requests/{second}"
    bodies = [http.get(path).json() for path in (f"{address}/status", address, address.replace("v2", "v1"))]
    for body in bodies:
        assert body["status"] == "QUEUED"
        assert body["request_id"] == second
        assert (body["status_url"], body["response_url"]) == (f"{address}/status", address)
        assert body["metrics"] == {}
        assert (body["progress"], body["step"], body["steps"]) == (0, 0, 2)
    before = http.get(f"/v2/requests/{first}/status").json()["queue_position"]
    assert bodies[0]["queue_position"] == before + 1
    http.delete(f"/v2/requests/{first}")
    assert http.get(f"/v2/requests/{second}/status").json()["queue_position"] == before
    http.delete(f"/v2/requests/{second}")


def test_cancelling_queued_work_is_at_once_and_free(http: httpx2.Client) -> None:
    for method, end in (("DELETE", ""), ("PUT", "/cancel")):
        request_id = submit(http, OLD, slow())
        assert left(http) == pytest.approx(1 - 4 * PRICES[OLD])
        response = http.request(method, f"/v2/requests/{request_id}{end}")
        assert response.json() == {"request_id": request_id, "status": "FAILED", "error": "cancelled"}
        assert credits(response) == 1
        for path in (f"/v2/requests/{request_id}/status", f"/v2/requests/{request_id}", f"/v1/requests/{request_id}"):
            ended = http.get(path)
            assert ended.status_code == 422
            assert ended.json()["error"] == "cancelled"
            assert ended.json()["metrics"]["inference_time"] == 0


def test_what_is_held_cannot_be_spent_twice(api: Api) -> None:
    http = api.caller(2 * PRICES[TEXT])
    waiting = [submit(http, TEXT, quick()) for _ in range(2)]
    refused(http.post(f"/v2/{TEXT}", json=quick()), 406, "$0,", "$0.0035")
    http.delete(f"/v2/requests/{waiting[0]}")
    http.delete(f"/v2/requests/{submit(http, TEXT, quick())}")
    http.delete(f"/v2/requests/{waiting[1]}")


def test_502_without_a_worker_and_the_request_stays(http: httpx2.Client) -> None:
    """Whoever can ask again, with an Idempotency-Key, is told to."""
    for headers, again in (({"idempotency-key": "order-7"}, "true"), ({}, "false")):
        response = http.post(f"/v1/{TEXT}", json=quick(), headers=headers)
        refused(response, 502)
        assert response.headers["x-should-retry"] == again
        assert credits(response) == pytest.approx(1 - PRICES[TEXT])
        request_id = response.headers["x-request-id"]
        assert http.get(f"/v2/requests/{request_id}/status").json()["status"] == "QUEUED"
        if headers:
            refused(http.post(f"/v1/{TEXT}", json=quick(), headers=headers), 409)
        http.delete(f"/v2/requests/{request_id}")


def test_a_v1_client_that_goes_away_leaves_nothing_queued(api: Api) -> None:
    key = api.new_key(1)
    http = api.http(key)
    while not hung_up(api, key, http):
        [late] = http.get("/inference-request/request-history").json()["data"]
        http.delete(f"/v2/requests/{late['request_id']}")
    until(lambda: left(http) == 1)


def hung_up(api: Api, key: str, http: httpx2.Client) -> bool:
    """Whether a caller hung up on a call whose request was queued, and before its wait was over."""
    with under_way(api.address, key, f"/v1/{TEXT}", quick()) as call:
        until(lambda: left(http) < 1)
        call.setblocking(False)
        with suppress(BlockingIOError):
            call.recv(1)
            return False
        return True


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"x-forwarded-proto": "https", "x-forwarded-host": "pictures.example"}, "https://pictures.example"),
        ({"x-forwarded-proto": "https, http", "x-forwarded-host": "a.example:8443, b"}, "https://a.example:8443"),
        ({"x-forwarded-host": "pictures.example"}, "http://pictures.example"),
        ({"x-forwarded-proto": "https", "host": "own.example"}, "https://own.example"),
    ],
)
def test_a_trusted_proxys_word_counts(http: httpx2.Client, headers: dict[str, str], base: str) -> None:
    body = http.post(f"/v2/{TEXT}", json=quick(), headers=headers).json()
    own = f"{base}/v2/requests/{body['request_id']}"
    assert (body["status_url"], body["response_url"]) == (f"{own}/status", own)
    assert body["poll_url"] == f"{base}/v1/requests/{body['request_id']}"
    http.delete(f"/v2/requests/{body['request_id']}")


@pytest.mark.parametrize("headers", [{"x-forwarded-proto": "javascript"}, {"x-forwarded-host": "evil/x"}])
def test_a_trusted_proxys_nonsense_does_not(http: httpx2.Client, headers: dict[str, str]) -> None:
    refused(http.post(f"/v2/{TEXT}", json=quick(), headers=headers), 400)
    assert left(http) == 1


def test_a_test_key_needs_no_worker_and_no_money(api: Api) -> None:
    http = api.caller(0, test=True)
    request_id = submit(http, TEXT, quick())
    done = result(http, request_id)
    assert (done.status_code, done.json()["status"], done.json()["mode"]) == (200, "COMPLETED", "test")
    assert (done.headers["x-mode"], credits(done)) == ("test", 0)
    late = http.post(f"/v1/{TEXT}", json=quick(prompt="test:processing:600"))
    refused(late, 504)  # not 502: no worker is what it waits for
    http.delete(f"/v2/requests/{late.headers['x-request-id']}")
    assert result(http, late.headers["x-request-id"]).json()["error"] == "cancelled"
