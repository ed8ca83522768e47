"""Test mode over HTTP, without any worker: every magic prompt on v1 and v2, nothing charged, nothing live touched."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from segmind import InferenceFailed, SegmindClient
from sqlalchemy import func, select
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import MEDIUM, OLD, TEXT, gradient, left, opened, quick, refused, result, submit
from tests.integration.website import Website, serving

from tintype.errors import KINDS
from tintype.store.db.records import Status
from tintype.store.db.tables import deliveries, ledger, requests
from tintype.testmode.scenario import FAILURES, INTERRUPTIONS, REFUSALS, table

SAMPLE = "/sd-img2img-input.jpeg"
PICTURE = f"data:image/png;base64,{b64encode(gradient(192, 128)).decode()}"
ELSEWHERE = "https://pictures.example/cat.jpeg"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("site"), sync_timeout=60, heartbeat=0.05) as site:
        yield site


@pytest.fixture(scope="module")
def secret(site: Website) -> str:
    """A test key's; it may spend nothing."""
    return site.own.store.accounts.keys.create(site.account_id, "ci", test=True, spend_cap=0)[1]


@pytest.fixture
def http(site: Website, secret: str) -> Iterator[httpx2.Client]:
    """A client with the test key; whatever the test did, the ledger holds the live account's grant alone."""
    with site.http(secret) as http:
        yield http
    with site.own.store.db.read() as view:
        assert view.scalar(select(func.count()).where(ledger.c.account_id != site.account_id)) == 0
    assert site.own.store.accounts.account(site.account_id).remaining == 1_000_000


def rows(site: Website) -> int:
    with site.own.store.db.read() as view:
        return view.scalar(select(func.count()).select_from(requests)) or 0


def test_a_picture_at_once_for_nothing(http: httpx2.Client) -> None:
    first, again = (http.post(f"/v1/{TEXT}", json=quick(width=192)) for _ in range(2))
    assert first.status_code == 200
    assert opened(first.content).tobytes() == opened(again.content).tobytes()
    assert (opened(first.content).size, opened(first.content).format) == ((192, 128), "PNG")
    told = {name: first.headers[name] for name in ("x-mode", "x-cost", "x-remaining-credits", "x-generation-time")}
    assert told == {"x-mode": "test", "x-cost": "0", "x-remaining-credits": "1", "x-generation-time": "0"}
    assert "x-weights" not in first.headers
    assert http.post(f"/v1/{TEXT}", json=quick(prompt="a cat")).content != first.content


def test_a_drawn_seed_depends_on_the_request_alone(http: httpx2.Client) -> None:
    asked = {"prompt": "a fox", "image": SAMPLE, "samples": 2}
    first, again = (result(http, submit(http, OLD, asked)).json() for _ in range(2))
    assert first["seed"] == again["seed"]
    assert [image["seed"] for image in first["images"]] == [first["seed"], str(int(first["seed"]) + 1)]
    files = [[opened(http.get(image["url"]).content) for image in body["images"]] for body in (first, again)]
    assert [one.tobytes() for one in files[0]] == [one.tobytes() for one in files[1]]
    assert files[0][0].size == (512, 512)
    assert (first["mode"], first["metrics"]["cost"], first["recipe"]) == ("test", 0, None)


@pytest.mark.parametrize(
    ("image", "size"),
    [(SAMPLE, (512, 512)), (PICTURE, (192, 128)), (ELSEWHERE, (1024, 1024))],
)
def test_the_size_of_an_input_picture(http: httpx2.Client, image: str, size: tuple[int, int]) -> None:
    response = http.post(f"/v1/{MEDIUM}", json={"prompt": "a fox", "image": image})
    assert opened(response.content).size == size


def test_parameters_are_checked_as_ever(site: Website, http: httpx2.Client) -> None:
    before = rows(site)
    for path in (f"/v1/{TEXT}", f"/v2/{TEXT}"):
        refused(http.post(path, json=quick(steps=71)), 400, "steps")
        response = http.post(path, json=quick(prompt="test:fail:nothing"))
        refused(response, 400, "test:fail:nothing", "test:retries:1|2", *REFUSALS, *INTERRUPTIONS)
        assert response.headers["x-mode"] == "test"
    assert rows(site) == before


@pytest.mark.parametrize("name", REFUSALS)
def test_every_refusal(site: Website, http: httpx2.Client, name: str) -> None:
    before, error = rows(site), REFUSALS[name]()
    for path in (f"/v1/{TEXT}", f"/v2/{TEXT}"):
        response = http.post(path, json=quick(prompt=f"test:refuse:{name}"))
        refused(response, error.status, error.message)
        assert response.headers.get("retry-after") == error.public_headers().get("retry-after")
        if error.status == 429:
            assert response.headers["x-rate-limit-remaining"] == "0"
    assert rows(site) == before


@pytest.mark.parametrize("name", FAILURES)
def test_every_failure(http: httpx2.Client, name: str) -> None:
    failing = FAILURES[name]
    response = http.post(f"/v1/{TEXT}", json=quick(prompt=f"test:fail:{name}"))
    refused(response, failing.status if failing.status in (400, 422) else 500, failing.error)
    advice = response.json()["error_description"]
    assert advice == KINDS[failing.kind].advice if failing.kind else "TINTYPE_FETCH_ALLOW" not in advice
    for path in ("/v2/requests/{}", "/v2/requests/{}/status", "/v1/requests/{}"):
        found = http.get(path.format(response.headers["x-request-id"]))
        assert (found.status_code, found.json()["error_description"]) == (422, advice)
        body = found.json()
        assert (body["status"], body["error"], body["mode"]) == ("FAILED", failing.error, "test")
        assert body["metrics"].get("retry_count", 0) == (2 if failing.retried else 0)


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_every_interruption_and_the_request_goes_on(http: httpx2.Client, name: str) -> None:
    response = http.post(f"/v1/{TEXT}", json=quick(prompt=f"test:interrupt:{name}"))
    refused(response, INTERRUPTIONS[name].status, INTERRUPTIONS[name]().message)
    assert result(http, response.headers["x-request-id"]).json()["status"] == "COMPLETED"


def test_retries_and_delays(http: httpx2.Client) -> None:
    body = result(http, submit(http, TEXT, quick(prompt="test:retries:2"))).json()
    assert (body["status"], body["metrics"]["retry_count"]) == ("COMPLETED", 2)
    metrics = result(http, submit(http, TEXT, quick(prompt="test:queued:0.2 test:processing:0.1"))).json()["metrics"]
    assert metrics["inference_time"] == 0.1
    assert metrics["queue_time"] >= 0.2
    assert metrics["total_time"] >= 0.3
    assert "retry_count" not in metrics


def test_what_is_queued_or_runs_for_long_is_cancelled(site: Website, http: httpx2.Client) -> None:
    queued = submit(http, TEXT, quick(prompt="test:queued:600"))
    running = submit(http, TEXT, quick(prompt="test:processing:600"), **{"x-webhook-url": "https://hook.example/"})
    overdue = submit(http, TEXT, quick(prompt="test:processing:600"), **{"cancel-after": "0.1"})
    until(lambda: http.get(f"/v2/requests/{running}/status").json()["status"] == "PROCESSING")
    assert http.get(f"/v2/requests/{queued}").json()["status"] == "QUEUED"
    assert site.own.store.leases.claim("w1", idle=True) is None, "a worker takes no test request, whatever its state"
    for id in (queued, running):
        http.delete(f"/v2/requests/{id}")
    for id in (queued, running, overdue):
        assert result(http, id).json()["error"] == "cancelled"
    with site.own.store.db.read() as view:
        [sent] = view.execute(select(deliveries.c.body).where(deliveries.c.request_id == running)).all()
    told = json.loads(sent.body)
    assert (told["type"], told["data"]["mode"]) == ("REQUEST_FAILED", "test")


def test_an_idempotency_key_as_ever(site: Website, http: httpx2.Client) -> None:
    once = {"idempotency-key": "order-7"}
    before = rows(site)
    first, again = (http.post(f"/v1/{TEXT}", json=quick(), headers=once) for _ in range(2))
    assert (first.content, first.headers["x-request-id"]) == (again.content, again.headers["x-request-id"])
    assert again.headers["idempotent-replayed"] == "true"
    assert rows(site) == before + 1
    refused(http.post(f"/v1/{TEXT}", json=quick(prompt="a cat"), headers=once), 422)


def test_events(http: httpx2.Client) -> None:
    request_id = submit(http, TEXT, quick(prompt="test:fail:safety"))
    body = http.get(f"/v2/requests/{request_id}/events").text
    assert "event: failed" in body
    assert '"mode":"test"' in body


def test_test_and_live_are_apart(site: Website, http: httpx2.Client) -> None:
    mine = submit(http, TEXT, quick())
    assert http.get("/inference-request/request-history").json()["total"] >= 1
    assert http.get("/api/auth/authenticate").json()["api_key"]["mode"] == "test"
    with site.http() as live:
        hook = {"webhook_url": "https://hook.example/", "event": {"types": ["REQUEST_COMPLETED"]}}
        added = live.post("/webhook/add", json=hook).json()["webhook"]
        assert added["webhook_id"] not in http.get("/webhook/get").text
        assert live.get("/inference-request/request-history").json()["total"] == 0
        refused(live.get(f"/v2/requests/{mine}"), 404)
        theirs = site.submit()
        try:
            for call in (http.get, http.delete):
                refused(call(f"/v2/requests/{theirs.id}"), 404)
        finally:
            site.own.store.queue.cancel(theirs.id, site.account_id)
            with site.own.store.db.read() as view:
                kinds = view.scalars(select(ledger.c.kind).where(ledger.c.request_id == theirs.id)).all()
    assert kinds == ["hold", "release"]


def test_a_test_key_has_limits_like_others(site: Website) -> None:
    create, own = site.own.store.accounts.keys.create, site.account_id
    limited = create(own, "limited", models=[TEXT], rpm=1, test=True)[1]
    looking = create(own, "looking", read_only=True, test=True)[1]
    gone, gone_secret = create(own, "gone", test=True)
    site.own.store.accounts.keys.revoke(gone.id)
    with site.http(limited) as http:
        refused(http.post(f"/v2/{OLD}", json={"prompt": "a fox", "image": SAMPLE}), 403)
        assert http.post(f"/v2/{TEXT}", json=quick()).status_code == 200
        refused(http.post(f"/v2/{TEXT}", json=quick()), 429, "may send 1 per minute. Retry in ")
    for secret, status in ((looking, 403), (gone_secret, 401)):
        with site.http(secret) as http:
            refused(http.post(f"/v2/{TEXT}", json=quick()), status)


def test_magic_is_nothing_to_a_live_key(tmp_path: Path) -> None:
    prompts = ["test:refuse:forbidden", "test:fail:safety", "test:nothing", "test:ok"]
    with serving(tmp_path) as site, site.http() as http:
        ids = [submit(http, TEXT, quick(prompt=prompt)) for prompt in prompts]
        assert left(http) == pytest.approx(1 - len(prompts) * 0.0035)
        test, secret = site.own.store.accounts.keys.create(site.account_id, "ci", test=True)
        with site.http(secret) as other:  # the fake worker is at work, and takes this one alone
            response = other.post(f"/v1/{TEXT}", json=quick())
            assert response.status_code == 200
            assert response.headers["x-remaining-credits"] == "0.986"
        for prompt, id in zip(prompts, ids, strict=True):
            claimed = site.claim()
            assert (claimed.id, claimed.params["prompt"], claimed.test) == (id, prompt, False)
            response = http.get(f"/v2/requests/{id}")
            assert "mode" not in response.json()
            assert "x-mode" not in response.headers
        assert test.account_id != site.account_id


def test_the_vendors_package(site: Website, secret: str) -> None:
    client = SegmindClient(api_key=secret, base_url=f"{site.address}/v1")
    try:
        done: Any = client.run(TEXT, **quick())
        assert done["status"] == Status.COMPLETED
        with pytest.raises(InferenceFailed, match="safety check"):
            client.run(TEXT, **quick(prompt="test:fail:safety"))
    finally:
        client._client.close()


def test_the_documentation_is_the_codes_own(site: Website, http: httpx2.Client) -> None:
    page = Path(__file__).parents[2] / "docs" / "test-mode.md"
    assert table() in page.read_text()
    assert table() in http.get("/openapi.json").json()["info"]["description"]
