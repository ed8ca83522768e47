"""Contract, section 2: calls of a key in a minute and at the same time, and Cancel-After."""

from __future__ import annotations

from datetime import datetime

import httpx2
import pytest

from tests.acceptance.contract.api import Api
from tests.acceptance.test_http_helpers import PRICES, TEXT, left, quick, refused, refused_for_now, result, submit
from tintype.store.billing.ledger import micro


def post(http: httpx2.Client, version: str = "v2", **headers: str) -> httpx2.Response:
    return http.post(
        f"/{version}/{TEXT}",
        json=quick(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"rpm": 2}, "may send 2 per minute. Retry in "),
        ({"concurrency": 2}, "may have 2 at the same time"),
        ({"daily_requests": 2}, "may send 2 per day. Retry after midnight UTC, in "),
        ({"daily_spend": micro(2.5 * PRICES[TEXT])}, "may spend $0.00875 per day, of which $0.00175 is left"),
    ],
)
def test_429_says_when_to_come_back(api: Api, limits: dict[str, int], words: str) -> None:
    http = api.caller(1, **limits)
    with api.paused():
        waiting = [submit(http, TEXT, quick()) for _ in range(2)]
        before = left(http)
        for version in ("v1", "v2"):
            refused_for_now(post(http, version), words)
        assert left(http) == before
        for request_id in waiting:
            http.delete(f"/v2/requests/{request_id}")


def test_polling_and_replays_are_never_refused(api: Api) -> None:
    http = api.caller(1, rpm=1, concurrency=1)
    with api.paused():
        request_id = post(http, idempotency_key="7").json()["request_id"]
        for _ in range(10):
            for path in (f"/v2/requests/{request_id}/status", f"/v2/requests/{request_id}", "/v1/get-user-credits"):
                assert http.get(path).status_code == 200
            assert post(http, idempotency_key="7").json()["request_id"] == request_id
        refused(post(http), 429)
        assert http.delete(f"/v2/requests/{request_id}").status_code == 200


def test_answers_to_a_limited_key_say_what_is_left_of_its_minute(api: Api) -> None:
    http = api.caller(1, rpm=3)
    with api.paused():
        answers = [post(http, idempotency_key=str(number)) for number in range(3)]
        assert [answer.headers["x-rate-limit-remaining"] for answer in answers] == ["2", "1", "0"]
        resets = [datetime.fromisoformat(answer.headers["x-rate-limit-reset-at-utc"]) for answer in answers]
        assert resets == sorted(resets)
        assert "x-rate-limit-remaining" not in http.get("/v1/get-user-credits").headers
        assert "x-rate-limit-remaining" not in post(http, idempotency_key="0").headers
        for answer in answers:
            http.delete(f"/v2/requests/{answer.json()['request_id']}")
    assert "x-rate-limit-remaining" not in post(api.caller()).headers


@pytest.mark.rows
@pytest.mark.parametrize("after", ["", "0", "-1", "soon", "nan", "inf", "86401"])
def test_a_deadline_that_is_none(http: httpx2.Client, after: str) -> None:
    refused(post(http, cancel_after=after), 400, "Cancel-After", "at most 86400")
    assert left(http) == 1


def test_what_is_not_done_in_time_is_cancelled(api: Api, http: httpx2.Client) -> None:
    with api.paused():
        patient, hasty = (post(http, cancel_after=after).json()["request_id"] for after in ("3600", "0.2"))
        ended = result(http, hasty).json()
        assert (ended["status"], ended["error"]) == ("FAILED", "cancelled")
        assert http.get(f"/v2/requests/{patient}/status").json()["status"] == "QUEUED"
        assert left(http) == pytest.approx(1 - 0.0035)
        refused(post(http, "v1", cancel_after="0.2"), 500, "cancelled")
        http.delete(f"/v2/requests/{patient}")
    assert left(http) == 1
    assert api.store.accounts.imbalances() == []
