"""Replicate's API over one app without workers: predictions, models, files and errors, the tests playing the worker."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest
import replicate
from PIL import Image
from replicate.exceptions import ReplicateError
from replicate.pagination import paginate
from tests.acceptance.harness import until
from tests.clients import under_way
from tests.image_files import saved
from tests.integration.website import Website, serving

from tintype.catalog.models import MODELS
from tintype.core import STORED_INPUT, Callback
from tintype.errors import StoreUnavailable
from tintype.store.billing.ledger import plain
from tintype.store.db.records import Request, Status
from tintype.store.webhooks.predictions import prediction_id, request_id
from tintype.web.dialects import replicate as dialect
from tintype.web.dialects import replicate_files

SLUG, EDITS, OLD = "stable-diffusion-3.5-turbo-txt2img", "sd3-med-img2img", "sd1.5-img2img"
PREDICTIONS, HERE = "/v1/predictions", f"/v1/models/tintype/{SLUG}/predictions"
FOX = {"input": {"prompt": "a fox", "seed": 7}}
HOOK = "https://receiver.example/hook"
KEYS = {"id", "model", "version", "source", "status", "input", "output", "error", "data_removed", "logs", "metrics",
        "created_at", "started_at", "completed_at", "urls"}  # fmt: skip
RED = saved(Image.new("RGB", (8, 8), "red"))
ALIASES = f"""
[aliases]
"stability-ai/stable-diffusion" = "{OLD}"
"{"ab" * 32}" = "{OLD}"
both = {{generate = "{SLUG}", edit = "{EDITS}"}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    file = tmp_path_factory.mktemp("models") / "models.toml"
    file.write_text(ALIASES)
    with serving(tmp_path_factory.mktemp("replicate"), models_file=file) as website:
        website.accounts.credit(website.account_id, 10**9)
        yield website


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    with site.http() as client:
        yield client
    site.cancel_all()


def made(answer: httpx2.Response) -> dict[str, Any]:
    """The prediction of an answer that made one."""
    assert answer.status_code == 201, answer.text
    assert answer.json().keys() == KEYS
    return dict(answer.json())


@contextmanager
def opened(site: Website, secret: str | None = None) -> Iterator[replicate.Client]:
    """The client package, which has no way to close its connections."""
    client = replicate.Client(api_token=secret or site.secret, base_url=site.address)
    yield client
    client._client.close()


def row(site: Website, known: dict[str, Any]) -> Request:
    return site.own.store.queue.find(request_id(known["id"]), site.account_id)


def claimed(site: Website, known: dict[str, Any]) -> Request:
    """The request of a prediction, once a worker has it."""
    request = site.claim()
    assert prediction_id(request.id) == known["id"]
    return request


def refused(answer: httpx2.Response, status: int, title: str, words: str = "") -> dict[str, Any]:
    problem = dict(answer.json())
    assert (answer.status_code, problem["status"], problem["title"]) == (status, status, title), answer.text
    assert problem["type"] == "about:blank"
    assert words in problem["detail"]
    return problem


# A prediction


def test_ids_are_the_requests_own_in_base_32() -> None:
    id = "543757aa-bd2c-4a5c-9d0f-6a1f0e8b7c21"
    assert prediction_id(id) == "kq3vpkv5frffzhipnipq5c34ee"
    for one in ("kq3vpkv5frffzhipnipq5c34ee", "KQ3VPKV5FRFFZHIPNIPQ5C34EE", id, id.upper()):
        assert request_id(one) == id
    for wrong in ("", "none", "!" * 26, "1" * 26, "x" * 36):
        assert request_id(wrong) == wrong


def test_a_prediction_from_its_queue_to_its_end(site: Website, http: httpx2.Client) -> None:
    answer = http.post(HERE, json=FOX)
    known = made(answer)
    assert answer.headers["x-request-id"] == str(UUID(request_id(known["id"])))
    assert "x-remaining-credits" in answer.headers
    assert "x-cost" not in answer.headers
    own = f"{site.address}{PREDICTIONS}/{known['id']}"
    assert known["urls"] == {"get": own, "cancel": f"{own}/cancel", "web": f"{site.address}/account"}
    assert (known["status"], known["output"], known["error"], known["metrics"]) == ("starting", None, None, {})
    assert (known["model"], known["input"], known["logs"]) == (f"tintype/{SLUG}", FOX["input"], "Using seed: 7\n")
    assert (known["started_at"], known["completed_at"], known["data_removed"]) == (None, None, False)
    request = claimed(site, known)
    site.step(request, 2)
    running = http.get(own).json()
    assert running["status"] == "processing"
    assert re.fullmatch(r"Using seed: 7\n50%\|█{5} {5}\| 2/4 \[\d\d:\d\d<\d\d:\d\d\]\n", running["logs"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", running["started_at"])
    site.complete(request, 2)
    ended = http.get(f"{PREDICTIONS}/{request.id}")
    assert ended.headers["x-cost"] == "0.0035"
    done = ended.json()
    assert (done["status"], len(done["output"]), done["metrics"]["predict_time"]) == ("succeeded", 2, 1.5)
    assert done["metrics"].keys() == {"predict_time", "total_time"}
    assert [http.get(one).content for one in done["output"]] == [b"picture"] * 2
    assert "\n100%|██████████| 4/4 [" in done["logs"]
    assert known["version"] == running["version"] == done["version"]
    assert http.head(own).status_code == 200


def test_a_failure_and_what_is_cancelled(site: Website, http: httpx2.Client) -> None:
    failing, running, queued = (made(http.post(HERE, json=FOX)) for _ in range(3))
    site.fail(claimed(site, failing), "no such picture", 400)
    known = http.get(failing["urls"]["get"]).json()
    assert (known["status"], known["error"], known["output"]) == ("failed", "no such picture", None)
    request = claimed(site, running)
    assert http.post(running["urls"]["cancel"]).json()["status"] == "processing", "it stops at its next step"
    assert site.own.store.queue.find(request.id, site.account_id).lease.cancel_requested
    site.own.store.leases.end_cancelled([(request.id, request.attempt)])
    for one in (queued, running):
        cancelled = http.post(one["urls"]["cancel"]).json()
        assert (cancelled["status"], cancelled["error"]) == ("canceled", None)
        assert http.get(one["urls"]["get"]).json() == cancelled
    assert http.post(failing["urls"]["cancel"]).json()["status"] == "failed"
    assert site.account.held == 0


@pytest.mark.parametrize("prefer", ["wait", "WAIT=60", "respond-async, wait=5", 'wait="3"', "wait=600"])
def test_it_waits_where_it_is_preferred(site: Website, http: httpx2.Client, prefer: str) -> None:
    before = site.account.balance
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.post, HERE, json=FOX, headers={"prefer": prefer})
        until(lambda: site.own.store.queue.depth()[0])
        site.complete()
        answer = call.result()
    assert made(answer)["status"] == "succeeded"
    assert answer.headers["x-cost"] == "0.0035"
    assert answer.headers["x-remaining-credits"] == plain(before - 3_500)


def test_what_has_not_ended_is_starting_and_goes_on(site: Website, http: httpx2.Client) -> None:
    """Anything else would be taken for an end; nothing is cancelled, whether the wait ends or its caller leaves."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.post, HERE, json=FOX, headers={"prefer": "wait=2"})
        until(lambda: site.own.store.queue.depth()[0])
        request = site.claim()
        known = made(call.result())
    assert (known["status"], known["started_at"] is None) == ("starting", False)
    assert http.get(known["urls"]["get"]).json()["status"] == "processing"
    site.complete(request)
    with under_way(site.address, site.secret, HERE, FOX, {"prefer": "wait"}):
        until(lambda: site.own.store.queue.depth()[0])
    until(lambda: not site.own.runtime.waits.open)
    held = site.account.held
    left = site.claim()
    assert (held, left.lease.cancel_requested) == (3_500, False)
    assert site.complete(left).status is Status.COMPLETED


def test_what_is_queued_is_no_error_however_the_wait_ends(http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be sent, and paid for, again."""

    async def away(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(dialect, "up_to", away)
    assert made(http.post(HERE, json=FOX, headers={"prefer": "wait"}))["status"] == "starting"


@pytest.mark.parametrize("prefer", [None, "respond-async", "wait=0", "wait=x", "return=minimal", ""])
def test_else_it_answers_at_once(http: httpx2.Client, prefer: str | None) -> None:
    assert made(http.post(HERE, json=FOX, headers={"prefer": prefer} if prefer is not None else {}))["logs"]


def test_waits_are_counted_with_all_others(site: Website, http: httpx2.Client) -> None:
    waits = site.own.runtime.waits
    before = site.account.held
    most = site.own.runtime.settings.limits.account_waits
    for _ in range(most):
        waits.enter(site.account_id)
    try:
        refused(http.post(HERE, json=FOX, headers={"prefer": "wait"}), 429, "Too Many Requests")
        assert site.account.held == before
        made(http.post(HERE, json=FOX))
    finally:
        for _ in range(most):
            waits.leave(site.account_id)


def test_a_key_makes_it_safe_to_send_again(site: Website, http: httpx2.Client) -> None:
    """Without one, each call is a request of its own, which is charged."""
    before = site.account.balance - site.account.held
    once = {"idempotency-key": "once"}
    first, again = (http.post(HERE, json=FOX, headers=once) for _ in range(2))
    assert made(first)["id"] == made(again)["id"]
    assert again.headers["idempotent-replayed"] == "true"
    site.complete(claimed(site, first.json()))
    third = http.post(HERE, json=FOX, headers=once)
    assert (made(third)["status"], third.headers["x-cost"]) == ("succeeded", "0.0035")
    assert site.account.balance - site.account.held == before - 3_500
    refused(http.post(PREDICTIONS, json={"version": SLUG, **FOX}, headers=once), 422, "Idempotency-Key used before")
    made(http.post(HERE, json=FOX)), made(http.post(HERE, json=FOX))
    assert site.account.balance - site.account.held == before - 3 * 3_500


# Lists


def test_pages_lead_there_and_back(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "PAGE", 2)
    account = site.own.store.accounts.create("pages", 10**9)
    _, secret = site.accounts.keys.create(account.id, "key")
    with site.http(secret) as http:
        empty = http.get(PREDICTIONS).json()
        assert empty == {"previous": None, "next": None, "results": []}
        ids = [made(http.post(HERE, json=FOX))["id"] for _ in range(4)]
        other = http.post(f"/v2/{OLD}", json={"prompt": "x", "image": "/sd-img2img-input.jpeg", "seed": 1}).json()
        ids.append(prediction_id(other["request_id"]))
        with opened(site, secret) as client:
            pages = [*paginate(client.predictions.list)]
        assert [[one.id for one in found] for found in pages] == [ids[:2:-1], ids[2:0:-1], ids[0::-1]]
        assert pages[0].previous is None
        assert pages[0][0].input["image"] == f"{site.address}/sd-img2img-input.jpeg"
        back = http.get(pages[2].previous or "").json()
        assert [one["id"] for one in back["results"]] == ids[2:0:-1]
        first = http.get(back["previous"]).json()
        assert ([one["id"] for one in first["results"]], first["previous"]) == (ids[:2:-1], None)
        assert http.get(first["next"]).json()["results"] == back["results"]
        far = b64encode(b"[true,1e999,-" + b"9" * 99 + b"]").decode()
        assert http.get(PREDICTIONS, params={"cursor": far}).json()["results"] == []
        for id in ids:
            http.post(f"{PREDICTIONS}/{id}/cancel")
        for wrong in ("x", *(b64encode(one).decode() for one in (b"[1,2,3]", b'[true,"x",3]', b"[" * 999)), "%00", "é"):
            refused(http.get(PREDICTIONS, params={"cursor": wrong}), 422, "Input validation failed", "- cursor: ")
    with site.http() as stranger:
        refused(stranger.get(f"{PREDICTIONS}/{ids[0]}"), 404, "Not found")
        refused(stranger.post(f"{PREDICTIONS}/{ids[0]}/cancel"), 404, "Not found")


# Models and versions


def version(http: httpx2.Client, slug: str) -> str:
    return str(http.get(f"/v1/models/tintype/{slug}").json()["latest_version"]["id"])


def test_a_model_its_version_and_its_schema(site: Website, http: httpx2.Client) -> None:
    model = http.get(f"/v1/models/tintype/{EDITS}").json()
    assert (model["owner"], model["name"], model["url"]) == ("tintype", EDITS, f"{site.address}/models/{EDITS}")
    assert http.get(model["cover_image_url"]).is_success
    assert http.get(f"/v1/models/tintype/{EDITS}/versions").json()["results"] == [model["latest_version"]]
    id = model["latest_version"]["id"]
    assert http.get(f"/v1/models/tintype/{EDITS}/versions/{id}").json() == model["latest_version"]
    schemas = model["latest_version"]["openapi_schema"]["components"]["schemas"]
    spec = MODELS[EDITS]
    assert [*schemas["Input"]["properties"]] == [one.name for one in spec.parameters]
    assert schemas["Input"]["required"] == ["prompt"]
    said = schemas["Input"]["properties"]
    assert [one["x-order"] for one in said.values()] == [*range(len(spec.parameters))]
    assert (said["image"]["format"], "default" in said["seed"]) == ("uri", False)
    assert (said["strength"]["default"], said["strength"]["minimum"], said["strength"]["maximum"]) == (0.7, 0, 1)
    assert said["scheduler"]["enum"][0] == "normal"
    assert "x-cog-array-type" not in schemas["Output"]
    assert version(http, SLUG) != id, "other weights"


def test_the_list_has_something_for_three_readers(site: Website) -> None:
    """Without a key; links are the server's as each caller reaches it."""
    with httpx2.Client(base_url=site.address, timeout=60) as anybody:
        answer = anybody.get("/v1/models")
        listed = answer.json()
        assert [*listed] == ["models", "object", "data", "previous", "next", "results"]
        assert (listed["models"][0]["slug"], listed["results"][0]["name"]) == (OLD, OLD)
        assert {one["latest_version"]["openapi_schema"] == {} for one in listed["results"]} == {True}
        unchanged = anybody.get("/v1/models", headers={"if-none-match": answer.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        elsewhere = anybody.get("/v1/models", headers={"host": "elsewhere.example", "accept-encoding": "identity"})
        assert elsewhere.json()["results"][0]["url"] == f"http://elsewhere.example/models/{OLD}"
        assert elsewhere.headers["etag"] != answer.headers["etag"]


def test_what_names_a_version(site: Website, http: httpx2.Client) -> None:
    own, old = version(http, SLUG), version(http, OLD)
    for name in (SLUG, f"tintype/{SLUG}", own, f"tintype/{SLUG}:{own}", "both", "default"):
        assert made(http.post(PREDICTIONS, json={"version": name, **FOX}))["model"] == f"tintype/{SLUG}"
    pinned, alias = "ab" * 32, "stability-ai/stable-diffusion"
    for name in (pinned, alias, f"{alias}:{pinned}", f"{alias}:{old}"):
        answer = http.post(PREDICTIONS, json={"version": name, **FOX})
        assert (made(answer)["model"], made(answer)["version"]) == (f"tintype/{OLD}", old)
        assert "drawn on a grey canvas" in answer.headers["x-warning"]
    assert made(http.post(PREDICTIONS, json={"model": f"tintype/{SLUG}", **FOX}))
    assert made(http.post(f"/v1/models/{alias}/predictions", json=FOX))["model"] == f"tintype/{OLD}"
    edit = {"input": {"prompt": "x", "image": "/sd-img2img-input.jpeg"}}
    assert made(http.post(PREDICTIONS, json={"version": "both", **edit}))["model"] == f"tintype/{EDITS}"
    assert http.get(f"/v1/models/{alias}").json()["name"] == OLD
    assert http.get(f"/v1/models/{alias}/versions/{pinned}").json()["id"] == old
    for name in (
        "0" * 64,
        "none",
        "nobody/none",
        f"tintype/{SLUG}:{old}",
        f"tintype/{SLUG}:x",
        f"nobody/{SLUG}",
        "a/b/c",
    ):
        answer = http.post(PREDICTIONS, json={"version": name, **FOX})
        refused(answer, 422, "Invalid version or not permitted")
    for path in ("nobody/none", "tintype/none", "tintype/both", f"nobody/{SLUG}"):
        refused(http.get(f"/v1/models/{path}"), 404, "Not found")
        refused(http.post(f"/v1/models/{path}/predictions", json=FOX), 404, "Not found")
    refused(http.get(f"/v1/models/tintype/{SLUG}/versions/{old}"), 404, "Not found")
    refused(http.post(PREDICTIONS, json=FOX), 422, "Input validation failed", "- version: required")
    refused(http.post(PREDICTIONS, json={"version": 7, **FOX}), 422, "Input validation failed", "- version: 7 was")


# Input


def test_what_is_ignored_is_said_and_a_canvas_too(site: Website, http: httpx2.Client) -> None:
    body = {"input": {"prompt": "a fox", "go_fast": True, "num_frames": None, "strength": 0.5}, "stream": True, "x": 1}
    answer = http.post(f"/v1/models/tintype/{OLD}/predictions", json=body)
    known = made(answer)
    assert answer.headers["x-ignored-parameters"] == "go_fast, strength, stream, x"
    note = f"{OLD} takes a picture: drawn on a grey canvas"
    assert answer.headers["x-warning"] == note
    lines = known["logs"].splitlines()
    assert lines[1:] == [f"Warning: {note}", "Warning: ignored input: go_fast, strength, stream, x"]
    assert known["input"] == {"prompt": "a fox", "go_fast": True, "strength": 0.5}
    request = row(site, known)
    assert request.generation
    assert (request.generation.format, request.generation.strength, request.params["strength"]) == ("webp", 1, 1)
    assert request.generation.source.startswith(STORED_INPUT)


def test_pictures_in_the_body_however_large(site: Website, http: httpx2.Client) -> None:
    noise = Image.effect_noise((400, 300), 90).convert("RGB")
    data = f"data:image/png;base64,{b64encode(saved(noise)).decode()}"
    assert len(data) > 2**17
    known = made(http.post(f"/v1/models/tintype/{EDITS}/predictions", json={"input": {"prompt": "x", "image": data}}))
    assert known["input"] == {"prompt": "x"}
    assert site.own.store.queue.input_size(request_id(known["id"])) == (400, 300)
    wrong = {"input": {"prompt": "x", "image": b64encode(b"no picture").decode()}}
    problem = refused(http.post(f"/v1/models/tintype/{EDITS}/predictions", json=wrong), 422, "Input validation failed")
    assert problem["invalid_fields"][0]["field"] == "input.image"


def test_every_text_can_be_told_again(http: httpx2.Client) -> None:
    body = json.dumps({"input": {"prompt": "é", "x": "\ud800"}}).encode()
    answer = http.post(HERE, content=body, headers={"content-type": "application/json"})
    if answer.status_code == 201:  # as far as the database stores it
        assert http.get(answer.json()["urls"]["get"]).json()["input"]["prompt"] == "é"
    else:
        assert answer.status_code == 400


@pytest.mark.parametrize(("after", "seconds"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("45", 45), ("2.5", 2.5)])
def test_a_deadline_may_have_units(site: Website, http: httpx2.Client, after: str, seconds: float) -> None:
    timing = row(site, made(http.post(HERE, json=FOX, headers={"cancel-after": after}))).timing
    assert (timing.cancel_at or 0) - timing.submitted_at == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize("after", ["", "0s", "x", "25h", "1.5h", "-1", "s"])
def test_a_deadline_that_is_none(http: httpx2.Client, after: str) -> None:
    answer = http.post(HERE, json=FOX, headers={"cancel-after": after})
    refused(answer, 422, "Input validation failed", "- Cancel-After: ")


# Webhooks


@pytest.mark.parametrize(
    ("said", "events"),
    [
        ({"webhook": HOOK}, ("start", "completed")),
        ({"webhook": HOOK, "webhook_events_filter": []}, ("start", "completed")),
        ({"webhook": HOOK, "webhook_events_filter": ["output", "logs", "output"]}, ("output", "logs")),
        ({"webhook_completed": HOOK}, ("completed",)),
        ({"webhook_completed": HOOK, "webhook_events_filter": ["start"]}, ("completed",)),
    ],
)
def test_where_a_prediction_is_sent(
    site: Website, http: httpx2.Client, said: dict[str, Any], events: tuple[str, ...]
) -> None:
    known = made(http.post(HERE, json={**FOX, **said}))
    metadata = row(site, known).metadata
    assert metadata.callback == Callback(HOOK, events, known["version"])
    assert metadata.webhook_url is None
    secret = http.get("/v1/webhooks/default/secret").json()["key"]
    assert secret == site.own.store.webhooks.own(site.account_id).secret


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"webhook": "ftp://a.example"}, "- webhook: "),
        ({"webhook": 7}, "- webhook: 7 was sent"),
        ({"webhook": "http://127.0.0.1/"}, "- webhook: 127.0.0.1: not a public address"),
        ({"webhook_completed": "x"}, "- webhook_completed: "),
        ({"webhook": HOOK, "webhook_events_filter": ["end"]}, "- webhook_events_filter: "),
        ({"webhook": HOOK, "webhook_events_filter": "start"}, "- webhook_events_filter: "),
        ({"webhook": HOOK, "webhook_events_filter": [["start"]]}, "- webhook_events_filter: "),
    ],
)
def test_an_address_that_is_none(site: Website, http: httpx2.Client, said: dict[str, Any], words: str) -> None:
    before = site.account.held
    refused(http.post(HERE, json={**FOX, **said}), 422, "Input validation failed", words)
    assert site.account.held == before


# Files


def upload(http: httpx2.Client, name: str = "fox.png", data: bytes = RED, **form: Any) -> httpx2.Response:
    return http.post("/v1/files", files={"content": (name, data, "image/png")}, data=form)


def test_a_file_is_kept_listed_drawn_from_and_deleted(site: Website, http: httpx2.Client) -> None:
    answer = upload(http, "../a dir/fox.png", metadata=json.dumps({"of": "a test"}))
    assert answer.status_code == 201, answer.text
    file = answer.json()
    assert (file["name"], file["content_type"], file["size"]) == ("fox.png", "image/png", len(RED))
    assert (file["metadata"], file["etag"]) == ({"of": "a test"}, file["checksums"]["sha256"])
    address = file["urls"]["get"]
    assert address == f"{site.address}/v1/files/{file['id']}"
    assert http.get(address).json() == file
    assert http.get("/v1/files").json() == {"previous": None, "next": None, "results": [file]}
    body = {"input": {"prompt": "x", "image": address}}
    known = made(http.post(f"/v1/models/tintype/{EDITS}/predictions", json=body))
    assert known["input"] == {"prompt": "x", "image": f"{site.address}/files/{file['id']}"}
    assert site.own.store.queue.input_size(request_id(known["id"])) == (8, 8)
    with site.http(site.accounts.keys.create(site.accounts.create("other", 10**6).id, "key")[1]) as other:
        refused(other.get(address), 404, "Not found")
        refused(other.delete(address), 404, "Not found")
        theirs = other.post(f"/v1/models/tintype/{EDITS}/predictions", json=body)
        refused(theirs, 422, "Input validation failed", "- input.image: ")
    assert http.delete(address).status_code == 204
    refused(http.get(address), 404, "Not found", "File ")
    refused(http.delete(address), 404, "Not found")
    assert http.get("/v1/files").json()["results"] == []


def test_files_page_by_page(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicate_files, "PAGE", 2)
    with site.http(site.accounts.keys.create(site.accounts.create("files", 10**6).id, "key")[1]) as http:
        http.post("/upload-asset", json={"data_urls": [f"data:image/png;base64,{b64encode(RED).decode()}"]})
        ids = [upload(http).json()["id"] for _ in range(3)]
        first = http.get("/v1/files").json()
        second = http.get(first["next"]).json()
        assert [one["id"] for one in first["results"] + second["results"]] == ids[::-1]
        assert (len(first["results"]), second["next"]) == (2, None)
        refused(http.get("/v1/files?cursor=x"), 422, "Input validation failed", "- cursor: ")


@pytest.mark.parametrize(
    ("files", "form", "words"),
    [
        ({"content": ("a.txt", b"no picture")}, {}, "- content: "),
        ({}, {"metadata": "{}"}, "- content: required"),
        ({"content": ("a.png", RED)}, {"metadata": "["}, "- metadata: "),
        ({"content": ("a.png", RED)}, {"metadata": json.dumps({"a": "x" * 5000})}, "- metadata: "),
        ({}, {"content": "https://a.example/x.png"}, "- content: "),
    ],
)
def test_what_is_no_file(http: httpx2.Client, files: Any, form: dict[str, str], words: str) -> None:
    answer = http.post("/v1/files", files=files or None, data=form)
    refused(answer, 422, "Input validation failed", words)


# Who may


def test_what_kinds_of_keys_may_do(site: Website, http: httpx2.Client) -> None:
    known = made(http.post(HERE, json=FOX))
    keys, own = site.accounts.keys, site.account_id
    reads = (
        PREDICTIONS,
        known["urls"]["get"],
        f"/v1/models/tintype/{SLUG}",
        "/v1/files",
        "/v1/account",
        "/v1/hardware",
    )
    with site.http(keys.create(own, "reads", read_only=True)[1]) as reader:
        assert [reader.get(path).status_code for path in reads] == [200] * len(reads)
        for answer in (
            reader.post(HERE, json=FOX),
            reader.post(known["urls"]["cancel"]),
            upload(reader),
            reader.get("/v1/webhooks/default/secret"),
        ):
            refused(answer, 403, "Forbidden")
    with site.http(keys.create(own, "another model", models=[OLD])[1]) as limited:
        for path, body in (
            (HERE, FOX),
            (PREDICTIONS, {"version": SLUG, **FOX}),
            (PREDICTIONS, {"version": "both", **FOX}),
        ):
            refused(limited.post(path, json=body), 403, "Forbidden", "may not run")
    with site.http(keys.create(own, "server", operator=True, read_only=True)[1]) as server:
        assert [server.get(path).status_code for path in reads] == [403] * len(reads)


@pytest.mark.parametrize("given", ["Bearer {}", "Token {}", "token {}", "Basic {}"])
def test_keys_of_old_clients(site: Website, given: str) -> None:
    secret = b64encode(f"x:{site.secret}".encode()).decode() if "Basic" in given else site.secret
    with httpx2.Client(base_url=site.address, headers={"authorization": given.format(secret)}, timeout=60) as http:
        account = http.get("/v1/account").json()
        assert account == {"type": "organization", "username": "one", "name": "one", "github_url": None}
        assert http.get("/v1/hardware").json() == [{"name": "Here", "sku": "tintype"}]
    with httpx2.Client(base_url=site.address, headers={"authorization": given.format("SG_x")}, timeout=60) as stranger:
        problem = refused(stranger.post(HERE, json=FOX), 401, "Unauthenticated")
        assert problem["detail"]


# Errors


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", HERE, 405),
        ("PUT", PREDICTIONS, 405),
        ("DELETE", f"{PREDICTIONS}/x", 405),
        ("POST", "/v1/account", 405),
        ("GET", f"{PREDICTIONS}/none", 404),
        ("GET", f"{PREDICTIONS}/none/logs", 404),
        ("POST", f"/v1/models/tintype/{SLUG}/versions/x/trainings", 404),
        ("DELETE", f"/v1/models/tintype/{SLUG}", 404),
        ("GET", "/v1/webhooks/other", 404),
        ("GET", "/v1/files/none", 404),
        ("GET", "/v1/collections", 404),
        ("GET", "/v1/deployments/owner/name", 404),
        ("POST", "/v1/trainings/x/cancel", 404),
        ("POST", f"/v1{HERE}", 404),  # a base URL with one /v1 too many
    ],
)
def test_addresses_that_are_none(http: httpx2.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    refused(answer, status, "Not found" if status == 404 else "Method Not Allowed")
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/v1/trainingsx", "/v1/predictionsx", "/v1/webhooks"])
def test_addresses_of_others_keep_their_errors(http: httpx2.Client, path: str) -> None:
    assert http.get(path).json()["status_code"] == 404


@pytest.mark.parametrize(
    ("kind", "content", "status", "title"),
    [
        ("application/json", b"{", 400, "Bad Request"),
        ("application/json", b'{"input": {"prompt": "x"}, "input": {}}', 400, "Bad Request"),
        ("application/x-www-form-urlencoded", b"input=x", 415, "Unsupported Media Type"),
        ("text/plain", b"x", 415, "Unsupported Media Type"),
        ("", b'{"input": {"prompt": "x"}}', 201, ""),
    ],
)
def test_bodies_that_are_not_understood(
    http: httpx2.Client, kind: str, content: bytes, status: int, title: str
) -> None:
    answer = http.post(HERE, content=content, headers={"content-type": kind})
    assert answer.status_code == status
    if title:
        refused(answer, status, title)


@pytest.mark.parametrize(
    ("prompt", "status", "title"),
    [
        ("test:refuse:out-of-credits", 402, "Insufficient credit"),
        ("test:refuse:forbidden", 403, "Forbidden"),
        ("test:refuse:too-many-requests", 429, "Too Many Requests"),
    ],
)
def test_what_a_test_key_asks_for(site: Website, prompt: str, status: int, title: str) -> None:
    with site.http(site.accounts.keys.create(site.account_id, "test", test=True)[1]) as http:
        answer = http.post(HERE, json={"input": {"prompt": prompt}})
        refused(answer, status, title)
        assert ("retry-after" in answer.headers) == (status == 429)


def test_the_client_raises_what_it_reads(site: Website) -> None:
    with opened(site) as client, pytest.raises(ReplicateError) as failed:
        client.run(f"tintype/{SLUG}", input={"prompt": "x", "scheduler": "DPM fast", "steps": 1})
    assert (failed.value.status, failed.value.title) == (422, "Input validation failed")
    assert (failed.value.detail or "").startswith("- input: dpm_fast needs at least 2 steps")
