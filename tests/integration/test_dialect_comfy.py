"""Comfy Router's addresses: what they answer, whom they charge, and what an Idempotency-Key means there."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from comfy_sdk.router_exceptions import ROUTER_ERROR_TYPES
from tests.acceptance.harness import until
from tests.clients import call_bytes, dial
from tests.integration.website import PATIENT, Website, serving

from tintype import errors
from tintype.catalog.models import MODELS
from tintype.core import Json
from tintype.errors import BadPicture, NoRoom
from tintype.store.billing.ledger import plain
from tintype.store.db.records import Request
from tintype.web.dialects.comfy import Comfy
from tintype.web.dialects.comfy_words import ERROR_TYPE

SLUG, OTHER = "stable-diffusion-3.5-turbo-txt2img", "sd1.5-img2img"
PATH = f"/v2/models/tintype/{SLUG}"
SAMPLE = "/sd-img2img-input.jpeg"
ALIASES = f"""
[aliases]
"stability-ai/stable-diffusion" = {{generate = "{SLUG}", edit = "{OTHER}"}}
"flat" = "{SLUG}"
"tintype/{SLUG}" = "{OTHER}"
"tintype/ours" = "{OTHER}"
"""
ONCE = {"idempotency-key": "order-7"}
FOX = {"prompt": "a fox"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    data = tmp_path_factory.mktemp("comfy")
    (models := data / "models.toml").write_text(ALIASES)
    with serving(data, models_file=models) as website:
        yield website


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    with site.http() as client:
        yield client
    site.cancel_all()


@pytest.fixture
def test_mode(site: Website) -> Iterator[httpx2.Client]:
    """With a test key."""
    _, secret = site.store.accounts.keys.create(site.account_id, "test", test=True)
    with site.http(secret) as client:
        yield client


def spent(site: Website) -> float:
    """Dollars that the account has spent; nothing may be held."""
    account = site.account
    assert account.held == 0
    return (1_000_000 - account.balance) / 10**6


def refused(answer: httpx2.Response, status: int, kind: str) -> Any:
    """Check an error; its `detail`."""
    assert (answer.status_code, answer.headers["x-comfy-error-type"]) == (status, kind), answer.text
    UUID(answer.headers["x-comfy-request-id"])
    if answer.request.method == "HEAD":
        return None
    body = answer.json()
    if isinstance(body["detail"], str):
        assert body.keys() == {"detail", "error_type"}
        assert body["error_type"] == kind
    else:
        assert body.keys() == {"detail"}
    if status >= 500 or status in (409, 429):
        assert answer.headers["x-should-retry"] in ("true", "false")
    return body["detail"]


def post(http: httpx2.Client, body: Json, path: str = PATH, **headers: str) -> httpx2.Response:
    return http.post(path, content=json.dumps(body), headers={"content-type": "application/json", **headers})


def run(site: Website, http: httpx2.Client, body: Json = FOX, **headers: str) -> tuple[Request, httpx2.Response]:
    """A run whose request is completed; and its answer."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(post, http, body, **headers)
        until(lambda: site.own.store.queue.depth()[0])
        return site.complete(site.claim()), call.result()


def test_a_run_is_answered_with_its_result(site: Website, http: httpx2.Client) -> None:
    before = spent(site)
    request, answer = run(site, http, {**FOX, "seed": 7, "nonsense": 1})
    assert answer.status_code == 200
    body = answer.json()
    assert body == http.get(f"/v2/requests/{request.id}").json()
    assert body["images"][0]["url"] == f"{site.address}/files/{body['images'][0]['file_name']}"
    price = plain(MODELS[SLUG].price)
    told = {name: answer.headers[name] for name in ("x-comfy-request-id", "x-comfy-credits-used", "x-cost")}
    assert told == {"x-comfy-request-id": request.id, "x-comfy-credits-used": price, "x-cost": price}
    assert answer.headers["x-ignored-parameters"] == "nonsense"
    assert answer.headers["x-remaining-credits"] == plain(site.account.remaining)
    assert "x-committed-spend-remaining" not in answer.headers
    assert round(spent(site) - before, 6) == float(price)
    assert (request.metadata.dialect, request.metadata.asked) == ("comfy", {**FOX, "seed": 7, "nonsense": 1})


def test_a_submit_its_status_and_its_result(site: Website, http: httpx2.Client) -> None:
    queued = post(http, FOX, f"{PATH}/requests")
    assert (queued.status_code, queued.headers["retry-after"]) == (201, "1")
    body = queued.json()
    own = f"{site.address}{PATH}/requests/{body['request_id']}"
    places = {"status_url": f"{own}/status", "response_url": own, "cancel_url": f"{own}/cancel"}
    assert body == {"request_id": body["request_id"], "status": "IN_QUEUE", "queue_position": 1, **places}

    waiting = http.get(body["status_url"])
    assert waiting.headers["retry-after"] == "1"
    known = {"metrics": {}, "progress": 0, "step": 0, "steps": 4, "eta": waiting.json()["eta"]}
    assert waiting.json() == body | known
    assert "not ended" in refused(early := http.get(own), 409, "invalid_input")
    assert "retry-after" not in early.headers
    assert early.headers["x-comfy-request-id"] == body["request_id"]

    site.step(claimed := site.claim(), 2)
    running = http.get(body["status_url"]).json()
    assert (running["status"], running["progress"], running["step"]) == ("IN_PROGRESS", 0.5, 2)
    assert "queue_position" not in running

    site.complete(claimed)
    done = http.get(body["status_url"])
    assert "retry-after" not in done.headers
    assert (done.json()["status"], done.json()["progress"]) == ("COMPLETED", 1)
    assert done.json()["metrics"].keys() >= {"inference_time", "queue_time", "total_time"}
    assert "error_type" not in done.json()
    result = http.get(own)
    assert result.json() == http.get(f"/v2/requests/{body['request_id']}").json()
    assert result.headers["x-comfy-credits-used"] == plain(MODELS[SLUG].price)
    assert [http.head(one).status_code for one in (own, f"{own}/status")] == [200, 200]


def test_a_cancel_is_accepted_once(site: Website, http: httpx2.Client) -> None:
    before = spent(site)
    places = post(http, FOX, f"{PATH}/requests").json()
    cancelled = http.put(places["cancel_url"])
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "COMPLETED")
    assert (cancelled.json()["error_type"], cancelled.json()["detail"]) == ("cancelled", "cancelled")
    assert cancelled.headers["x-remaining-credits"] == plain(site.account.remaining)
    assert cancelled.json() == http.get(places["status_url"]).json() == http.get(places["response_url"]).json()
    again = http.put(places["cancel_url"])
    assert (again.status_code, again.json()) == (409, {"status": "ALREADY_COMPLETED"})
    assert "x-comfy-error-type" not in again.headers
    assert again.headers["x-comfy-request-id"] == places["request_id"]
    assert spent(site) == before


def test_a_running_one_ends_with_its_worker_s_next_word(site: Website, http: httpx2.Client) -> None:
    places = post(http, FOX, f"{PATH}/requests").json()
    claimed = site.claim()
    cancelled = http.put(places["cancel_url"])
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "IN_PROGRESS")
    assert cancelled.headers["retry-after"] == "1"
    site.store.leases.end_cancelled([(claimed.id, claimed.attempt)])
    assert http.get(places["response_url"]).json()["error_type"] == "cancelled"


def test_what_cancel_after_ends_has_waited_too_long(site: Website, http: httpx2.Client) -> None:
    for claims in (False, True):
        places = post(http, FOX, f"{PATH}/requests", **{"cancel-after": "30"}).json()
        claimed = site.claim() if claims else None
        site.own.store.db.move_clock(31)
        if claimed:
            site.store.leases.end_cancelled([(claimed.id, claimed.attempt)])
        else:
            site.store.queue.end_overdue()
        until(lambda: http.get(places["status_url"]).json()["status"] == "COMPLETED")  # noqa: B023
        assert http.get(places["status_url"]).json()["error_type"] == "queue_timeout"


@pytest.mark.parametrize(
    ("fails", "status", "kind"),
    [
        ("bad-picture", 422, "invalid_input"),
        ("unreachable-picture", 422, "invalid_input"),
        ("refused-address", 422, "invalid_input"),
        ("safety", 400, "content_policy_violation"),
        ("weights", 500, "internal_error"),
        ("model", 500, "internal_error"),
    ],
)
def test_a_failure_is_a_completion_or_a_run_s_status(
    test_mode: httpx2.Client, fails: str, status: int, kind: str
) -> None:
    body = {"prompt": f"test:fail:{fails}"}
    said = refused(failed := post(test_mode, body, **ONCE), status, kind)
    assert failed.headers["x-comfy-request-id"] == failed.headers["x-request-id"]
    assert "retry-after" not in failed.headers
    again = post(test_mode, body, **ONCE)
    assert (refused(again, status, kind), again.headers["idempotent-replayed"]) == (said, "true")
    places = post(test_mode, body, f"{PATH}/requests").json()
    until(lambda: test_mode.get(places["status_url"]).json()["status"] == "COMPLETED")
    completion = test_mode.get(places["status_url"])
    assert (completion.status_code, completion.json()["error_type"], completion.json()["detail"]) == (200, kind, said)
    assert test_mode.get(places["response_url"]).json() == completion.json()


def test_other_failures(site: Website, http: httpx2.Client) -> None:
    places = [post(http, FOX, f"{PATH}/requests").json() for _ in range(2)]
    for error in (NoRoom.of(2**40, 2**30), BadPicture("image: a broken file")):
        site.fail(error=error.message, status=error.status)
    ends = [http.get(one["response_url"]).json() for one in places]
    assert [end["error_type"] for end in ends] == ["internal_error", "invalid_input"]


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        ("out-of-credits", 402, "insufficient_credits"),
        ("spend-cap", 402, "insufficient_credits"),
        ("forbidden", 403, "forbidden"),
        ("too-large", 413, "invalid_input"),
        ("unsupported-body", 415, "invalid_input"),
        ("too-many-requests", 429, "rate_limited"),
        ("queue-full", 429, "queue_backlog_full"),
        ("internal", 500, "internal_error"),
        ("store-unavailable", 503, "service_unavailable"),
    ],
)
@pytest.mark.parametrize("path", [PATH, f"{PATH}/requests"])
def test_the_key_of_a_refused_call_is_free_again(
    test_mode: httpx2.Client, path: str, refusal: str, status: int, kind: str
) -> None:
    refused(answer := post(test_mode, {"prompt": f"test:refuse:{refusal}"}, path, **ONCE), status, kind)
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    again = post(test_mode, FOX, path, **ONCE)
    assert again.is_success
    assert "idempotent-replayed" not in again.headers


@pytest.mark.parametrize("interruption", ["no-worker", "wait-ran-out"])
def test_a_504_always_says_when_to_collect(test_mode: httpx2.Client, interruption: str) -> None:
    body = {"prompt": f"test:interrupt:{interruption}"}
    refused(alone := post(test_mode, body), 504, "deadline_exceeded")
    refused(keyed := post(test_mode, body, **ONCE), 504, "deadline_exceeded")
    assert [one.headers["retry-after"] for one in (alone, keyed)] == ["2", "2"]
    assert [one.headers["x-should-retry"] for one in (alone, keyed)] == ["false", "true"]
    until(lambda: post(test_mode, body, **ONCE).is_success)
    collected = post(test_mode, body, **ONCE)
    assert collected.headers["idempotent-replayed"] == "true"
    assert collected.json()["request_id"] == keyed.headers["x-request-id"]
    result = test_mode.get(f"{PATH}/requests/{alone.headers['x-comfy-request-id']}")
    assert result.json()["status"] == "COMPLETED"


def test_a_repeat_is_answered_alike(site: Website, http: httpx2.Client) -> None:
    _, first = run(site, http, **ONCE)
    again = post(http, FOX, **ONCE)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-comfy-credits-used"] == first.headers["x-comfy-credits-used"]

    key = {"idempotency-key": "order-8"}
    queued, repeated = (post(http, FOX, f"{PATH}/requests", **key) for _ in range(2))
    assert (repeated.status_code, repeated.json()) == (201, queued.json())
    assert repeated.headers["idempotent-replayed"] == "true"
    site.complete(site.claim())
    assert post(http, FOX, f"{PATH}/requests", **key).json() == queued.json()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, {"prompt": "a cat"}),
        (f"{PATH}?strict_mode=true", FOX),
        (f"{PATH}/requests", FOX),
        ("/v2/models/stability-ai/stable-diffusion", FOX),
        ("/v2/models/tintype/sd1.5-txt2img", FOX),
    ],
)
def test_another_call_with_the_same_key_is_a_conflict(test_mode: httpx2.Client, path: str, body: Json) -> None:
    assert post(test_mode, FOX, **ONCE).status_code == 200
    refused(answer := post(test_mode, body, path, **ONCE), 409, "invalid_input")
    assert (answer.headers["x-should-retry"], "retry-after" in answer.headers) == ("false", False)


def test_a_repeat_while_it_runs_comes_again_later(site: Website, http: httpx2.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, http, FOX, **{"idempotency-key": "order-9"})
        until(lambda: site.own.store.queue.depth()[0])
        refused(early := post(http, FOX, **{"idempotency-key": "order-9"}), 409, "concurrency_limit_exceeded")
        assert early.headers["retry-after"] == "2"
        request = site.complete(site.claim())
        assert first.result().json()["request_id"] == request.id == early.headers["x-comfy-request-id"]


def test_who_hangs_up_pays_only_for_what_can_be_collected(site: Website, http: httpx2.Client) -> None:
    """The worst cases of a caller's bill: gone without a key, gone with one, sent again without one."""
    before, price = spent(site), MODELS[SLUG].price / 10**6
    hang_up(site)
    until(lambda: not site.account.held)
    assert spent(site) == before

    hang_up(site, idempotency_key="gone")
    request = site.complete(site.claim())
    collected = post(http, FOX, **{"idempotency-key": "gone"})
    assert (collected.status_code, collected.json()["request_id"]) == (200, request.id)
    assert round(spent(site) - before, 6) == price

    first, second = run(site, http)[0], run(site, http)[0]
    assert first.id != second.id
    assert round(spent(site) - before, 6) == 3 * price


def hang_up(site: Website, **headers: str) -> None:
    """Send a run, and close the connection once it is queued."""
    with dial(site.address) as client:
        client.sendall(call_bytes("POST", PATH, site.secret, b'{"prompt": "a fox"}', **headers))
        until(lambda: site.own.store.queue.depth()[0])


def test_a_wait_that_ran_out_is_charged_once(tmp_path: Path) -> None:
    with serving(tmp_path, sync_timeout=0.2, **PATIENT) as site, site.http() as http:
        site.beat()
        refused(keyed := post(http, FOX, **ONCE), 504, "deadline_exceeded")
        refused(alone := post(http, FOX), 504, "deadline_exceeded")
        refused(post(http, FOX, **ONCE), 409, "concurrency_limit_exceeded")
        for _ in range(2):
            site.complete(site.claim())
        price = MODELS[SLUG].price / 10**6
        assert post(http, FOX, **ONCE).json()["request_id"] == keyed.headers["x-comfy-request-id"]
        assert http.get(f"{PATH}/requests/{alone.headers['x-comfy-request-id']}").json()["metrics"]["cost"] == price
        assert round(spent(site), 6) == 2 * price


def test_the_catalogue_in_pages(site: Website, http: httpx2.Client) -> None:
    slugs = [one["slug"] for one in http.get("/v1/models").json()["models"] if one.get("weights") != "needs weights"]
    whole = http.get("/v2/models")
    UUID(whole.headers["x-comfy-request-id"])
    billing = {"charges_on_policy_rejection": False}
    data = [{"id": f"tintype/{slug}", "provider": "tintype", "model": slug, "billing": billing} for slug in slugs]
    assert whole.json() == {"data": data, "has_more": False, "next_cursor": None, "limit": 50}
    for limit in (1, 2, len(slugs) - 1, len(slugs), 100, 5000):
        found, query = [], {"limit": str(limit)}
        while True:
            page = http.get("/v2/models", params=query).json()
            assert page["limit"] == min(limit, 100)
            assert len(page["data"]) <= limit
            found += page["data"]
            if not page["has_more"]:
                break
            query["cursor"] = page["next_cursor"]
        assert (found, page["next_cursor"]) == (data, None)
    assert http.head("/v2/models").status_code == 200


def test_a_model_s_own_document(site: Website, http: httpx2.Client) -> None:
    answer = http.get(f"{PATH}/openapi.json")
    document, etag = answer.json(), answer.headers["etag"]
    run = document["paths"][PATH]["post"]
    [shape] = run["requestBody"]["content"]["application/json"]["schema"].values()
    properties = document["components"]["schemas"][shape.rpartition("/")[2]]["properties"]
    assert properties.keys() == MODELS[SLUG].names
    assert document["openapi"].startswith("3.1")
    assert etag.startswith('"')
    same = http.get(f"{PATH}/openapi.json", headers={"if-none-match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    UUID(same.headers["x-comfy-request-id"])
    assert http.get(f"{PATH}/openapi.json", headers={"if-none-match": '"other"'}).json() == document
    assert http.get(f"/v2/models/tintype/{OTHER}/openapi.json").headers["etag"] != etag
    refused(http.get("/v2/models/tintype/none/openapi.json"), 404, "model_not_found")


def test_an_alias_means_a_model_for_each_task(site: Website, http: httpx2.Client) -> None:
    path = "/v2/models/stability-ai/stable-diffusion"
    bodies = (FOX, {**FOX, "image": None}, {**FOX, "image": SAMPLE})
    places = [post(http, body, f"{path}/requests").json() for body in bodies]
    assert [site.find(site.claim()).slug for _ in bodies] == [SLUG, SLUG, OTHER]
    for one in places:
        assert one["status_url"] == f"{site.address}{path}/requests/{one['request_id']}/status"
        assert http.get(one["status_url"]).json()["status"] == "IN_PROGRESS"
    assert http.get(f"{PATH}/requests/{places[0]['request_id']}/status").status_code == 200
    refused(http.get(f"{PATH}/requests/{places[2]['request_id']}/status"), 404, "request_not_found")
    [shapes] = http.get(f"{path}/openapi.json").json()["paths"].values()
    assert len(shapes["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"]) == 2
    refused(post(http, FOX, "/v2/models/tintype/flat"), 404, "model_not_found")
    [fault] = refused(post(http, FOX, "/v2/models/tintype/ours"), 422, "invalid_input")
    assert fault["loc"] == ["body", "image"], "it is the other model: a slug's own address is no alias"


NOWHERE = f"{PATH}/requests/{UUID(int=7)}"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/v2/models", {}, 405, "invalid_input"),
        ("GET", "/v2/models?limit=0", None, 422, "invalid_input"),
        ("GET", "/v2/models?limit=many", None, 422, "invalid_input"),
        ("GET", "/v2/models?cursor=bm9uZQ", None, 400, "invalid_input"),
        ("GET", "/v2/models?limit=1&limit=2", None, 400, "invalid_input"),
        ("GET", PATH, None, 405, "invalid_input"),
        ("DELETE", f"{NOWHERE}/cancel", None, 405, "invalid_input"),
        ("GET", f"{PATH}/other", None, 404, "request_not_found"),
        ("POST", "/v2/models/tintype/none", {}, 404, "model_not_found"),
        ("POST", f"/v2/models/nobody/{OTHER}", {}, 404, "model_not_found"),
        ("POST", "/v2/models/tintype/none/requests", {}, 404, "model_not_found"),
        ("POST", f"{PATH}?model_provider=other", FOX, 400, "invalid_input"),
        ("POST", PATH, [], 400, "invalid_input"),
        *((method, f"{NOWHERE}{end}", None, 404, "request_not_found") for method, end in
          (("GET", ""), ("HEAD", ""), ("GET", "/status"), ("PUT", "/cancel"))),
    ],
)  # fmt: skip
def test_errors(http: httpx2.Client, method: str, path: str, body: Any, status: int, kind: str) -> None:
    refused(http.request(method, path, json=body), status, kind)


@pytest.mark.parametrize(
    ("body", "headers", "fault"),
    [
        ({}, {}, {"loc": ["body", "prompt"], "type": "missing", "input": None}),
        ({**FOX, "steps": "x"}, {}, {"loc": ["body", "steps"], "type": "value_error", "input": "x"}),
        ({**FOX, "width": 7}, {}, {"loc": ["body", "width"], "type": "value_error", "input": 7}),
        ({"prompt": "\ud800"}, {}, {"loc": ["body", "prompt"], "type": "value_error", "input": "\\ud800"}),
        ({**FOX, "seed": [7]}, {}, {"loc": ["body", "seed"], "type": "value_error", "input": [7]}),
        (FOX, {"cancel-after": "-1"}, {"loc": ["header", "Cancel-After"], "type": "value_error", "input": "-1"}),
    ],
)
def test_faults_name_their_field(http: httpx2.Client, body: Json, headers: dict[str, str], fault: Json) -> None:
    before = http.get("/v2/models").headers["x-remaining-credits"]
    [found] = refused(answer := post(http, body, **headers), 422, "invalid_input")
    assert found.pop("msg").startswith(fault["loc"][1])
    assert found == fault
    assert answer.headers["x-remaining-credits"] == before


@pytest.mark.parametrize("query", ["model_provider=tintype", "strict_mode=true", "fallback_provider=false"])
def test_there_is_one_provider(test_mode: httpx2.Client, query: str) -> None:
    assert post(test_mode, FOX, f"{PATH}?{query}").status_code == 200


def test_who_may_do_what(site: Website) -> None:
    place = f"{PATH}/requests/{site.submit(SLUG).id}"
    with site.http("SG_0000000000000000") as nobody:
        for method, path in (("GET", "/v2/models"), ("GET", f"{PATH}/openapi.json"), ("POST", PATH), ("GET", place)):
            refused(nobody.request(method, path), 401, "unauthorized")
    keys = site.store.accounts.keys
    _, reads = keys.create(site.account_id, "reads", read_only=True)
    with site.http(reads) as reader:
        assert [reader.get(path).status_code for path in ("/v2/models", f"{place}/status")] == [200, 200]
        for refusal in (post(reader, FOX), post(reader, FOX, f"{PATH}/requests"), reader.put(f"{place}/cancel")):
            refused(refusal, 403, "forbidden")
    _, other = keys.create(site.account_id, "other", models=[OTHER])
    with site.http(other) as limited:
        refused(post(limited, FOX), 403, "forbidden")
        refused(post(limited, FOX, "/v2/models/stability-ai/stable-diffusion"), 403, "forbidden")
    _, stranger = keys.create(site.store.accounts.create("stranger", 0).id, "stranger")
    with site.http(stranger) as another:
        refused(another.get(place), 404, "request_not_found")
        refused(post(another, FOX), 402, "insufficient_credits")
    site.cancel_all()


@pytest.mark.parametrize("scheme", ["Bearer {}", "token {}"])
def test_the_schemes(site: Website, scheme: str) -> None:
    headers = {"authorization": scheme.format(site.secret)}
    with httpx2.Client(base_url=site.address, headers=headers, timeout=60) as http:
        assert http.get("/v2/models").status_code == 200


def test_what_a_key_s_cap_leaves(site: Website) -> None:
    _, secret = site.store.accounts.keys.create(site.account_id, "capped", spend_cap=5_000)
    with site.http(secret) as http:
        _, answer = run(site, http)
        left = plain(5_000 - MODELS[SLUG].price)
        assert answer.headers["x-committed-spend-remaining"] == left
        again = http.get(f"{PATH}/requests/{answer.json()['request_id']}/status")
        assert again.headers["x-committed-spend-remaining"] == left
        assert "may spend" in refused(post(http, FOX), 402, "insufficient_credits")


def test_loading_a_model_stays_as_it_is(site: Website, http: httpx2.Client) -> None:
    site.beat()
    for method in ("POST", "GET"):
        assert http.request(method, f"/v2/models/{OTHER}/warm").json()["slug"] == OTHER
    for refusal in (http.put(f"/v2/models/{OTHER}/warm"), http.get("/v2/models/none/warm"), http.get("/v2/models/x")):
        assert {"error", "status_code"} <= refusal.json().keys()


@pytest.mark.parametrize("kind", [one for _, one in inspect.getmembers(errors, inspect.isclass)])
def test_every_error_has_a_type_that_the_client_knows(kind: type[Exception]) -> None:
    """Also those that no address of this API raises by itself."""
    if not issubclass(kind, errors.TintypeError):
        return
    about = {"InvalidParameter": ("steps", 0, "1"), "MissingParameter": ("steps", "1")}.get(kind.__name__, ("x",))
    answer = Comfy().error(kind(*about))
    assert answer.headers[ERROR_TYPE] in ROUTER_ERROR_TYPES
    if answer.status_code == 504:
        assert answer.headers["retry-after"] == "2"
