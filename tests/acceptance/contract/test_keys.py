"""Contract, section 2: keys, what they may do, and the money."""

from __future__ import annotations

import time

import httpx2
import pytest

from tests.acceptance.contract.api import Api
from tests.acceptance.harness import KEY, until
from tests.acceptance.test_http_helpers import (
    MEDIUM,
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
from tintype.store.billing.ledger import micro

WRONG = "SG_00000000000000000000000000000000"


@pytest.mark.rows
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": WRONG},
        {"x-api-key": KEY.lower()},
        {"x-api-key": KEY[:-1]},
        {"x-api-key": f"{KEY}0"},
        {"x-api-key": f"Bearer {KEY}"},
        {"x-api-key": "SG_\xe4\xe4"},
        {"x-api-key": "' OR 1=1 --"},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {WRONG}"},
        {"x-api-key": WRONG, "authorization": f"Bearer {KEY}"},
    ],
)
def test_401_wherever_a_key_is_needed(anybody: httpx2.Client, headers: dict[str, str]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answers = [
        anybody.post(f"/v1/{TEXT}", json=quick(), headers=raw),
        anybody.post(f"/v2/{TEXT}", json=quick(), headers=raw),
        anybody.post(f"/v2/{TEXT}", content=b"not json", headers=raw),
        anybody.get("/v1/get-user-credits", headers=raw),
        anybody.get("/v1/requests/x", headers=raw),
        anybody.get("/v2/requests/x", headers=raw),
        anybody.get("/v2/requests/x/status", headers=raw),
        anybody.delete("/v2/requests/x", headers=raw),
        anybody.put("/v2/requests/x/cancel", headers=raw),
        anybody.post("/v1/no-such-model", json={}, headers=raw),
    ]
    for answer in answers:
        error = refused(answer, 401)
        assert "x-remaining-credits" not in answer.headers
        assert KEY not in error
        assert WRONG not in error


@pytest.mark.rows
@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY},
        {"X-API-Key": KEY},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {KEY}"},
        {"x-api-key": KEY, "authorization": f"Bearer {WRONG}"},
        {"x-api-key": "", "authorization": f"Bearer {KEY}"},
    ],
)
def test_a_key_in_either_header(anybody: httpx2.Client, headers: dict[str, str]) -> None:
    response = anybody.get("/v1/get-user-credits", headers=headers)
    assert response.status_code == 200
    assert response.json().keys() == {"credits", "free-credits"}
    assert response.json()["credits"] == credits(response)


def test_x_api_key_wins(api: Api, anybody: httpx2.Client) -> None:
    poor = api.new_key(0.5)
    both = {"x-api-key": poor, "authorization": f"Bearer {KEY}"}
    assert anybody.get("/v1/get-user-credits", headers=both).json()["credits"] == 0.5


def test_a_key_for_some_models(api: Api) -> None:
    http = api.http(api.cli("keys", "create", "--models", f"{TEXT}, {OLD}"))
    for version in ("v1", "v2"):
        response = http.post(f"/{version}/{MEDIUM}", json={"prompt": "a fox", "image": "/sd3-img2img-ip.jpg"})
        refused(response, 403, MEDIUM)
        assert credits(response) > 0
    assert http.post(f"/v1/{TEXT}", json=quick()).status_code == 200
    assert http.get("/v1/get-user-credits").status_code == 200


def test_a_read_only_key(api: Api) -> None:
    http = api.http(api.cli("keys", "create", "--scopes", "read"))
    for version in ("v1", "v2"):
        response = http.post(f"/{version}/{TEXT}", json=quick())
        refused(response, 403)
        assert credits(response) > 0
    request_id = submit(api.http(), OLD, slow())
    for refusal in (http.delete(f"/v2/requests/{request_id}"), http.put(f"/v2/requests/{request_id}/cancel")):
        refused(refusal, 403)
    assert http.get(f"/v2/requests/{request_id}/status").status_code == 200
    assert http.get(f"/v2/requests/{request_id}").status_code == 200
    assert http.get(f"/v1/requests/{request_id}").status_code == 200
    api.http().delete(f"/v2/requests/{request_id}")


def test_a_revoked_key(api: Api) -> None:
    secret = api.new_key(1)
    http = api.http(secret)
    assert left(http) == 1
    which = next(key.id for key in api.store.accounts.keys.list() if key.hint == secret[:7])
    api.cli("keys", "revoke", which)
    revoked, calls = time.monotonic(), list[float]()

    def refuses() -> bool:
        calls.append(time.monotonic())
        return http.get("/v1/get-user-credits").status_code == 401

    until(refuses)
    assert all(began < revoked + 1 for began in calls[:-1]), "let in although another process had revoked it"
    refused(http.get("/v1/get-user-credits"), 401, "revoked")


def test_an_expired_key(api: Api) -> None:
    for seconds in (0.5, 5, 50):  # a busy machine may take longer than that for the first call
        http = api.caller(1, expires_in=seconds)
        if http.get("/v1/get-user-credits").is_success:
            break
    else:
        pytest.fail("it never worked")
    until(lambda: http.get("/v1/get-user-credits").status_code == 401)
    refused(http.post(f"/v1/{TEXT}", json=quick()), 401, "expired on 20")


def test_a_rotated_key(api: Api) -> None:
    old = api.new_key(1)
    new = api.cli("keys", "rotate", old)
    assert left(api.http(old)) == left(api.http(new)) == 1
    newest = api.cli("keys", "rotate", new, "--overlap", "0")
    until(lambda: api.http(new).get("/v1/get-user-credits").status_code == 401)
    refused(api.http(old).get("/v1/get-user-credits"), 401)
    refused(api.http(new).get("/v1/get-user-credits"), 401, "replaced")
    assert left(api.http(newest)) == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_key_for_so_many_pixels(api: Api, version: str) -> None:
    http = api.caller(1, max_pixels=2 * 128 * 128)
    refused(http.post(f"/{version}/{TEXT}", json=quick(batch_size=3)), 403, "32768 pixels", "49152")
    refused(http.post(f"/{version}/{MEDIUM}", json={"prompt": "x", "image": "/sd3-img2img-ip.jpg"}), 403, "1048576")
    assert left(http) == 1
    assert http.post(f"/{version}/{TEXT}", json=quick(batch_size=2)).status_code == 200


def test_a_key_with_a_spend_cap(api: Api) -> None:
    http = api.caller(1, spend_cap=micro(PRICES[TEXT] * 1.5))
    assert http.post(f"/v1/{TEXT}", json=quick()).status_code == 200
    refused(http.post(f"/v1/{TEXT}", json=quick()), 406, "may spend $0.00525", "$0.00175 is left", "$0.0035")
    assert left(http) == pytest.approx(1 - PRICES[TEXT])


def test_every_answer_to_an_authenticated_call_says_what_is_left(api: Api) -> None:
    http = api.caller(0.25)
    answers = [
        http.post(f"/v1/{TEXT}", json={}),
        http.post(f"/v2/{TEXT}", content=b"{", headers={"content-type": "application/json"}),
        http.post(f"/v2/{TEXT}", content=b"", headers={"content-type": "text/plain"}),
        http.post("/v1/no-such-model", json={}),
        http.get(f"/v1/{TEXT}"),
        http.get("/v2/requests/no-such-request"),
        http.delete("/v2/requests/no-such-request"),
        http.get("/v1/get-user-credits"),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 415, 404, 405, 404, 404, 200]
    assert {credits(answer) for answer in answers} == {0.25}


def test_a_price_is_held_then_settled(api: Api) -> None:
    http = api.caller(1)
    submitted = http.post(f"/v2/{OLD}", json=slow())
    held = 1 - 4 * PRICES[OLD]
    assert credits(submitted) == pytest.approx(held)
    own = f"/v2/requests/{submitted.json()['request_id']}"
    assert credits(http.get(f"{own}/status")) == pytest.approx(held)
    assert left(http) == pytest.approx(held)
    http.delete(own)
    refusal = result(http, submitted.json()["request_id"])
    assert refusal.status_code == 422
    assert credits(refusal) == 1
    made = result(http, submit(http, TEXT, quick()))
    assert made.json()["metrics"]["cost"] == PRICES[TEXT]
    assert made.json()["metrics"]["remaining_credits"] == pytest.approx(1 - PRICES[TEXT])
    assert [credits(http.get(f"/v2/requests/{made.json()['request_id']}")) for _ in range(3)] == [0.9965] * 3


def test_out_of_credits_is_406_and_queues_nothing(api: Api) -> None:
    http = api.caller(0.0069)
    for version in ("v1", "v2"):
        response = http.post(f"/{version}/{TEXT}", json=quick(batch_size=2))
        refused(response, 406, "$0.0069", "$0.007")
        assert "x-request-id" not in response.headers
        assert credits(response) == 0.0069
    assert http.post(f"/v1/{TEXT}", json=quick()).status_code == 200
    response = http.post(f"/v1/{TEXT}", json=quick())
    refused(response, 406, "$0.0034", "$0.0035")


def test_the_last_cent_can_be_spent(api: Api) -> None:
    http = api.caller(0.0035)
    response = http.post(f"/v1/{TEXT}", json=quick())
    assert response.status_code == 200
    assert response.headers["x-remaining-credits"] == "0"
