"""Contract, sections 3–5, on a server whose limits are tight: sizes, waits and lives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.acceptance.harness import KEY, Server, until
from tests.acceptance.test_http_helpers import (
    MEDIUM,
    OLD,
    TEXT,
    credits,
    gradient,
    left,
    new_key,
    quick,
    refused,
    result,
    slow,
    submit,
)
from tests.clients import call_bytes, dial

MOST = 20_000
BASE = "https://pictures.example/api"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def strict(new_server: Callable[..., Server]) -> Server:
    """Small bodies, short waits, short lives, and an address of its own."""
    settings = {"max_body": MOST, "sync_wait": 0.2, "retention": 3, "sweep": 0.2, "public_url": f"{BASE}/"}
    return new_server(**settings).start()


@pytest.fixture
def http(strict: Server) -> httpx2.Client:
    """A new account's."""
    return strict.http(new_key(strict, 1))


def body_of(size: int) -> bytes:
    """A request that is fine but for its size in bytes."""
    padding = size - len(json.dumps(quick(x="")))
    return json.dumps(quick(x="y" * padding)).encode()


def in_pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 4096):
        yield data[start : start + 4096]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("size", [MOST + 1, 3_000_000])
def test_413_with_a_length_and_without(http: httpx2.Client, version: str, size: int) -> None:
    path = f"/{version}/{TEXT}"
    for content in (body_of(size), in_pieces(body_of(size))):
        response = http.post(path, content=content, headers=JSON)
        refused(response, 413, str(MOST))
        assert credits(response) == 1


def test_413_for_forms(http: httpx2.Client) -> None:
    big = gradient(64, 64) + b"\0" * MOST
    refused(http.post(f"/v2/{MEDIUM}", data={"prompt": "a fox"}, files={"image": big}), 413)
    refused(http.post(f"/v2/{MEDIUM}", data={"prompt": "a fox", "image": "x" * MOST}), 413)


def test_a_body_that_just_fits(http: httpx2.Client) -> None:
    for content in (body_of(MOST), in_pieces(body_of(MOST))):
        assert http.post(f"/v2/{TEXT}", content=content, headers=JSON).status_code == 200


def test_a_length_that_lies_is_not_believed(strict: Server) -> None:
    with dial(strict.address, timeout=10) as connection:
        connection.sendall(call_bytes("POST", f"/v2/{TEXT}", KEY, b"x" * (MOST + 1), length=99_999_999_999))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_goes_away_within_its_body_is_no_error_of_ours(strict: Server) -> None:
    before = strict.log.read_text()
    with dial(strict.address) as connection:
        connection.sendall(call_bytes("POST", f"/v2/{TEXT}", KEY, b"{", length=100))
    assert strict.http().get("/v1/get-user-credits").status_code == 200
    assert "ClientDisconnect" not in strict.log.read_text().removeprefix(before)


def test_504_when_the_wait_runs_out_and_the_request_goes_on(http: httpx2.Client) -> None:
    response = http.post(f"/v1/{OLD}", json=slow())
    refused(response, 504)
    assert response.headers["x-should-retry"] == "false"
    request_id = response.headers["x-request-id"]
    assert http.get(f"/v2/requests/{request_id}").json()["status"] in ("QUEUED", "PROCESSING")
    assert left(http) < 1
    http.delete(f"/v2/requests/{request_id}")
    until(lambda: left(http) == 1)


def test_urls_begin_with_the_public_address(http: httpx2.Client) -> None:
    body = http.post(f"/v2/{TEXT}", json=quick(), headers={"host": "other.example"}).json()
    request_id = body["request_id"]
    assert body["poll_url"] == f"{BASE}/v1/requests/{request_id}"
    assert body["status_url"] == f"{BASE}/v2/requests/{request_id}/status"
    assert body["response_url"] == f"{BASE}/v2/requests/{request_id}"
    made = result(http, request_id).json()
    assert made["output"].startswith(f"{BASE}/files/")
    again = {"image": made["output"], "prompt": "a fox", "num_inference_steps": 1}
    assert result(http, submit(http, MEDIUM, again)).status_code == 200


def test_records_and_files_expire(http: httpx2.Client) -> None:
    request_id = submit(http, TEXT, quick())
    file = result(http, request_id).json()["output"].removeprefix(BASE)
    assert http.get(file).status_code == 200
    until(lambda: http.get(f"/v2/requests/{request_id}").status_code == 404, 20)
    for path in (f"/v2/requests/{request_id}/status", f"/v2/requests/{request_id}", f"/v1/requests/{request_id}"):
        refused(http.get(path), 404, f"Request {request_id} not found")
    refused(http.delete(f"/v2/requests/{request_id}"), 404)
    until(lambda: http.get(file).status_code == 404, 20)
    again = {"image": f"{BASE}{file}", "prompt": "a fox"}
    refused(http.post(f"/v2/{MEDIUM}", json=again), 400, "image")
    assert left(http) == pytest.approx(1 - 0.0035)


def test_an_input_picture_goes_with_its_record(strict: Server, http: httpx2.Client) -> None:
    until(lambda: not list((strict.data / "inputs").iterdir()), 20)
    posted = http.post(f"/v2/{MEDIUM}", data={"prompt": "x"}, files={"image": gradient(64, 64)})
    assert len(list((strict.data / "inputs").iterdir())) == 1
    until(lambda: http.get(f"/v2/requests/{posted.json()['request_id']}").status_code == 404, 20)
    until(lambda: not list((strict.data / "inputs").iterdir()), 20)


def test_what_has_expired_leaves_the_disk(strict: Server) -> None:
    until(lambda: not list((strict.data / "outputs").iterdir()), 20)
