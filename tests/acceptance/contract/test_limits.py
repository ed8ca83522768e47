"""Contract, sections 3–5, on a server whose limits are tight: sizes, waits and TTLs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.acceptance.contract.api import Api
from tests.acceptance.contract.conftest import WAYS_WITH_SETTINGS, NewApi
from tests.acceptance.harness import KEY, until
from tests.acceptance.test_http_helpers import (
    MEDIUM,
    OLD,
    TEXT,
    credits,
    gradient,
    left,
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


@pytest.fixture(scope="module", params=WAYS_WITH_SETTINGS)
def api(request: pytest.FixtureRequest, new_api: NewApi) -> Iterator[Api]:
    """Small bodies, short waits, short TTLs, and an address of its own."""
    settings = {"max_body": MOST, "sync_timeout": 0.2, "record_ttl": 3, "output_ttl": 0, "cleanup_interval": 0.2}
    with new_api(request.param, **settings, public_url=f"{BASE}/") as strict:
        yield strict


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


def test_a_length_that_lies_is_not_believed(api: Api) -> None:
    with dial(api.address) as connection:
        connection.sendall(call_bytes("POST", f"/v2/{TEXT}", KEY, b"x" * (MOST + 1), length=99_999_999_999))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_504_when_the_wait_runs_out_and_the_request_goes_on(http: httpx2.Client) -> None:
    """Whoever can ask again, with an Idempotency-Key, is told to."""
    once = {"idempotency-key": "order-7"}
    for headers, again in ((once, "true"), ({}, "false")):
        response = http.post(f"/v1/{OLD}", json=slow(), headers=headers)
        refused(response, 504)
        assert response.headers["x-should-retry"] == again
        request_id = response.headers["x-request-id"]
        assert http.get(f"/v2/requests/{request_id}").json()["status"] in ("QUEUED", "PROCESSING")
        assert left(http) < 1
        if headers:
            refused(http.post(f"/v1/{OLD}", json=slow(), headers=headers), 409)
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
    until(lambda: http.get(f"/v2/requests/{request_id}").status_code == 404)
    for path in (f"/v2/requests/{request_id}/status", f"/v2/requests/{request_id}", f"/v1/requests/{request_id}"):
        refused(http.get(path), 404, f"Request {request_id} not found")
    refused(http.delete(f"/v2/requests/{request_id}"), 404)
    until(lambda: http.get(file).status_code == 404)
    again = {"image": f"{BASE}{file}", "prompt": "a fox"}
    refused(http.post(f"/v2/{MEDIUM}", json=again), 400, "image")
    assert left(http) == pytest.approx(1 - 0.0035)


def test_an_input_picture_goes_with_its_record(api: Api, http: httpx2.Client) -> None:
    until(lambda: not list((api.data / "inputs").iterdir()))
    with api.paused():
        posted = http.post(f"/v2/{MEDIUM}", data={"prompt": "x"}, files={"image": gradient(64, 64)})
        assert len(list((api.data / "inputs").iterdir())) == 1
    until(lambda: http.get(f"/v2/requests/{posted.json()['request_id']}").status_code == 404)
    until(lambda: not list((api.data / "inputs").iterdir()))


def test_what_has_expired_leaves_the_disk(api: Api) -> None:
    until(lambda: not list((api.data / "outputs").iterdir()))
