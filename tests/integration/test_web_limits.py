"""Contract, sections 2 and 3: 429 with its headers, polling that is never refused, and the Cancel-After header."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import TEXT, left, quick, refused
from tests.integration.website import Website, serving


def post(http: httpx2.Client, version: str = "v2", headers: dict[str, str] | None = None) -> httpx2.Response:
    return http.post(f"/{version}/{TEXT}", json=quick(), headers=headers or {})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_rpm": 2}, "2 requests per minute"),
        ({"key_concurrency": 2}, "2 requests at once"),
        ({"key_max_queued": 2}, "2 pictures at once"),
        ({"queue": 2}, "The queue is full"),
    ],
)
def test_429_says_when_to_come_back(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with serving(tmp_path, **settings) as site, site.http() as http:
        for _ in range(2):
            assert post(http).status_code == 200
        before = left(http)
        for version in ("v1", "v2"):
            refusal = post(http, version)
            refused(refusal, 429, words)
            headers = refusal.headers
            assert (headers["x-should-retry"], headers["x-rate-limit-remaining"]) == ("true", "0")
            reset = datetime.fromisoformat(headers["x-rate-limit-reset-at-utc"]) - datetime.now(UTC)
            assert abs(reset.total_seconds() - int(headers["retry-after"])) < 5
        assert left(http) == before


def test_polling_and_replays_are_never_refused(tmp_path: Path) -> None:
    once = {"idempotency-key": "7"}
    with serving(tmp_path, key_rpm=1, key_concurrency=1) as site, site.http() as http:
        request_id = post(http, headers=once).json()["request_id"]
        for _ in range(10):
            for path in (f"/v2/requests/{request_id}/status", f"/v2/requests/{request_id}", "/v1/get-user-credits"):
                assert http.get(path).status_code == 200
            assert post(http, headers=once).json()["request_id"] == request_id
        refused(post(http), 429)
        assert http.delete(f"/v2/requests/{request_id}").status_code == 200


def test_limits_outlive_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, key_rpm=1) as site, site.http() as http:
        assert post(http).status_code == 200
    with serving(tmp_path, key_rpm=1) as again, again.http(site.secret) as http:
        refused(post(http), 429)


def state(site: Website, http: httpx2.Client, request_id: str) -> tuple[str, str | None]:
    body = http.get(f"/v2/requests/{request_id}/status").json()
    return body["status"], body.get("error")


def test_what_is_not_done_in_time_is_cancelled_by_the_server(tmp_path: Path) -> None:
    with serving(tmp_path) as site, site.http() as http:
        patient, hasty = (post(http, headers={"cancel-after": after}).json() for after in ("3600", "0.2"))
        until(lambda: state(site, http, hasty["request_id"]) == ("FAILED", "cancelled"), 60)
        assert state(site, http, patient["request_id"])[0] == "QUEUED"
        assert left(http) == pytest.approx(1 - 0.0035)
        refused(post(http, "v1", {"cancel-after": "0.2"}), 500, "cancelled")
        assert site.own.accounts.imbalances() == []


@pytest.mark.parametrize("after", ["", "0", "-1", "soon", "nan", "inf", "86401"])
def test_a_deadline_that_is_none(tmp_path: Path, after: str) -> None:
    with serving(tmp_path) as site, site.http() as http:
        refused(post(http, headers={"cancel-after": after}), 400, "Cancel-After", "at most 86400")
        assert left(http) == 1
