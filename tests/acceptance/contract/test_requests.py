"""Contract, section 5: a queued request from submit to result, and the other ways it can end."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import update

from tests.acceptance.contract.api import Api
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import (
    MEDIUM,
    OLD,
    PRICES,
    TEXT,
    left,
    quick,
    refused,
    result,
    slow,
    submit,
)
from tests.clients import under_way
from tintype.store.db.tables import requests


@pytest.fixture(scope="module")
def http(api: Api) -> httpx2.Client:
    return api.caller(10)


@pytest.fixture(scope="module")
def done(http: httpx2.Client) -> str:
    """The id of a completed request."""
    request_id = submit(http, TEXT, quick(seed=42, image_format="jpeg"))
    result(http, request_id)
    return request_id


def progress_of(http: httpx2.Client, request_id: str) -> float:
    body = http.get(f"/v2/requests/{request_id}/status").json()
    return float(body["progress"]) if body["status"] == "PROCESSING" else 0.0


def test_the_answer_to_a_submit(api: Api, http: httpx2.Client) -> None:
    response = http.post(f"/v2/{TEXT}", json=quick())
    assert response.status_code == 200
    body = response.json()
    request_id = body["request_id"]
    assert str(UUID(request_id)) == request_id
    assert body == {
        "request_id": request_id,
        "status": "QUEUED",
        "poll_url": f"{api.address}/v1/requests/{request_id}",
        "status_url": f"{api.address}/v2/requests/{request_id}/status",
        "response_url": f"{api.address}/v2/requests/{request_id}",
    }
    assert response.headers["x-request-id"] == request_id
    ended = result(http, request_id)
    assert [http.get(body[name]).json()["status"] for name in ("poll_url", "status_url", "response_url")] == [
        "COMPLETED"
    ] * 3
    assert http.get(body["poll_url"]).json() == ended.json()


def test_urls_follow_the_host_header_and_nothing_that_anybody_can_forward(http: httpx2.Client, done: str) -> None:
    host = {"host": "pictures.example:8080", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    host |= {"forwarded": "host=evil.example;proto=https"}
    submitted = http.post(f"/v2/{TEXT}", json=quick(), headers=host)
    running = http.get(f"/v2/requests/{submitted.json()['request_id']}", headers=host)
    made = http.get(f"/v2/requests/{done}", headers=host)
    for text in (submitted.text, running.text, made.text):
        assert "evil" not in text
        addresses = re.findall(r'"(\w+://[^"]+)"', text)
        assert addresses
        assert all(address.startswith("http://pictures.example:8080/") for address in addresses)


@pytest.mark.rows
@pytest.mark.parametrize("host", ["evil.example/x", "a b", "[::1", "x?y=", "user@evil.example", ""])
def test_a_host_that_is_none_gets_into_no_url(http: httpx2.Client, host: str) -> None:
    refused(http.post(f"/v2/{TEXT}", json=quick(), headers={"host": host}), 400, "Host")


def test_the_status_of_a_completed_request_is_light(http: httpx2.Client, done: str) -> None:
    response = http.get(f"/v2/requests/{done}/status")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "COMPLETED"
    assert body["request_id"] == done
    assert body["metrics"].keys() == {"inference_time"}
    assert body["metrics"]["inference_time"] > 0
    assert not {"output", "images", "prompt", "seed"} & body.keys()


def test_the_result(http: httpx2.Client, done: str) -> None:
    response = http.get(f"/v2/requests/{done}")
    body = response.json()
    image = body["images"][0]
    name = image["file_name"]
    assert re.fullmatch(r"[0-9a-f]{32}\.jpeg", name)
    file = http.get(body["output"])
    metrics = body.pop("metrics")
    assert datetime.fromisoformat(image.pop("kept_until")) > datetime.now(UTC) + timedelta(days=29)
    assert body.pop("recipe")["order"]["prompt"] == "a fox"
    assert body == {
        "status": "COMPLETED",
        "request_id": done,
        "error": None,
        "output": image["url"],
        "images": [
            {
                "url": f"{http.base_url}/files/{name}".replace("//files", "/files"),
                "content_type": "image/jpeg",
                "file_name": name,
                "file_size": str(len(file.content)),
                "seed": "42",
            }
        ],
        "seed": "42",
        "prompt": "a fox",
    }
    first = {"cold_start"}  # where nothing was drawn before
    assert metrics.keys() - first == {"cost", "remaining_credits", "inference_time", "queue_time", "total_time"}
    assert metrics["cost"] == PRICES[TEXT]
    assert metrics["remaining_credits"] == left(http)
    assert metrics["inference_time"] > 0
    assert metrics["queue_time"] >= 0
    assert metrics["total_time"] >= metrics["queue_time"]
    assert http.get(f"/v1/requests/{done}").json() == response.json()


def test_output_is_a_string_with_base64_too(http: httpx2.Client) -> None:
    body = result(http, submit(http, TEXT, quick(base64=True, batch_size=2))).json()
    assert len(body["images"]) == 2
    assert b64decode(body["output"], validate=True) == http.get(body["images"][0]["url"]).content
    assert body["metrics"]["cost"] == 2 * PRICES[TEXT]


def test_running_work_reports_its_progress_and_can_be_cancelled(api: Api) -> None:
    http = api.caller(1)
    request_id = submit(http, OLD, slow())
    until(lambda: progress_of(http, request_id) > 0)
    for address in (f"/v2/requests/{request_id}/status", f"/v2/requests/{request_id}", f"/v1/requests/{request_id}"):
        response = http.get(address)
        assert response.status_code == 200
        body = response.json()
        assert body["status"] == "PROCESSING"
        assert body["request_id"] == request_id
        assert body["status_url"] == f"{api.address}/v2/requests/{request_id}/status"
        assert body["response_url"] == f"{api.address}/v2/requests/{request_id}"
        assert body["metrics"] == {}
        assert 0 < body["step"] < body["steps"]
        assert body["progress"] == pytest.approx(body["step"] / body["steps"], abs=1e-3)
        assert "output" not in body
    cancelled = http.put(f"/v2/requests/{request_id}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["request_id"] == request_id
    ended = result(http, request_id)
    assert ended.status_code == 422
    assert ended.json()["error"] == "cancelled"
    assert left(http) == 1


def test_a_cancelled_v1_call_says_so(api: Api) -> None:
    http = api.caller(1)
    request_id = submit(http, OLD, slow())
    http.delete(f"/v2/requests/{request_id}")
    assert result(http, request_id).json()["error"] == "cancelled"


def test_cancelling_what_has_ended_changes_nothing(http: httpx2.Client, done: str) -> None:
    before = http.get(f"/v2/requests/{done}").json()
    for response in (http.delete(f"/v2/requests/{done}"), http.put(f"/v2/requests/{done}/cancel")):
        assert response.status_code == 200
        assert response.json()["status"] == "COMPLETED"
    assert http.get(f"/v2/requests/{done}").json() == before


def test_a_failed_request_is_422_and_free(api: Api) -> None:
    http = api.caller(1)
    picture = {"image": "http://127.0.0.1:9/a.png", "prompt": "a fox"}
    request_id = submit(http, MEDIUM, picture)
    whole = result(http, request_id)
    light = http.get(f"/v2/requests/{request_id}/status")
    for response in (whole, light, http.get(f"/v1/requests/{request_id}")):
        assert response.status_code == 422
        body = response.json()
        assert body.keys() == {"status", "request_id", "error", "error_description", "metrics"}
        assert (body["status"], body["request_id"]) == ("FAILED", request_id)
        assert body["error"] == "127.0.0.1: not a public address"
        assert body["metrics"].keys() == {"inference_time", "queue_time", "total_time"}
        assert all(isinstance(seconds, float) and seconds >= 0 for seconds in body["metrics"].values())
    assert left(http) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_another_accounts_request_is_not_there(api: Api, done: str, method: str) -> None:
    other = api.caller(1)
    for request_id in (done, "00000000-0000-0000-0000-000000000000", "x" * 300, "%F0%9F%A6%8A", done.upper()):
        shown = request_id if request_id == done else ""
        refused(other.request(method, f"/v2/requests/{request_id}"), 404, f"Request {shown}", "not found")
        if method == "GET":
            refused(other.get(f"/v2/requests/{request_id}/status"), 404, "not found")
            refused(other.get(f"/v1/requests/{request_id}"), 404, "not found")
        else:
            refused(other.put(f"/v2/requests/{request_id}/cancel"), 404, "not found")


def test_a_v1_client_that_goes_away_cancels_its_request(api: Api) -> None:
    key = api.new_key(1)
    http = api.http(key)
    with under_way(api.address, key, f"/v1/{OLD}", slow()):
        until(lambda: http.get("/inference-request/request-history").json()["data"])
    [row] = http.get("/inference-request/request-history").json()["data"]
    assert result(http, row["request_id"]).json()["error"] == "cancelled"
    assert left(http) == 1


def test_an_error_of_ours_is_500_with_the_credits_and_no_inner_words(api: Api) -> None:
    http = api.caller(1)
    request_id = submit(http, TEXT, quick(base64=True))
    result(http, request_id)
    with api.store.db.write() as tx:
        tx.execute(update(requests).where(requests.c.id == request_id).values(result={"hush": 1}))  # nobody writes that
    response = http.get(f"/v2/requests/{request_id}")
    error = refused(response, 500)
    assert response.headers["x-should-retry"] == "false"
    assert float(response.headers["x-remaining-credits"]) == pytest.approx(1 - PRICES[TEXT])
    assert not [word for word in ("KeyError", "pictures", "hush") if word in response.text], error


def test_a_disk_that_gives_nothing_is_a_503_without_its_words(api: Api) -> None:
    http = api.caller(1)
    request_id = submit(http, TEXT, quick(base64=True))
    name = result(http, request_id).json()["images"][0]["file_name"]
    file = api.data / "outputs" / name
    file.unlink()
    file.mkdir()  # as good as a broken disk
    response = http.get(f"/v2/requests/{request_id}")
    file.rmdir()
    error = refused(response, 503)
    assert response.headers["x-should-retry"] == "true"
    assert float(response.headers["x-remaining-credits"]) == pytest.approx(1 - PRICES[TEXT])
    assert str(api.data) not in error
