"""Contract, section 6: what is refused on the account's own surface: history, uploads and webhooks."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.acceptance.contract.api import Api
from tests.acceptance.test_http_helpers import TEXT, left, quick, refused
from tests.image_files import saved

PNG = f"data:image/png;base64,{base64.b64encode(saved(Image.new('RGB', (8, 8), 'red'))).decode()}"
EVENT = {"types": ["REQUEST_COMPLETED", "REQUEST_FAILED"]}
HOOK = {"webhook_url": "https://receiver.example.com/", "event": EVENT}


@pytest.mark.rows
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"page": "0"}, "page: '0' was sent"),
        ({"per_page": "101"}, "from 1 to 100"),
        ({"per_page": "many"}, "per_page"),
        ({"status": "DONE"}, "one of COMPLETED, FAILED, PENDING"),
        ({"sort_by": "price"}, "one of model_created"),
        ({"sort_order": "up"}, "one of desc, asc"),
        ({"from_date": "1.1.2026"}, "YYYY-MM-DD"),
    ],
)
def test_a_history_that_nobody_can_mean(http: httpx2.Client, query: dict[str, str], words: str) -> None:
    answer = http.get("/inference-request/request-history", params=query)
    refused(answer, 400, words)
    assert not answer.json()["error"].endswith(", "), "a choice without a name is none to be told of"


@pytest.mark.rows
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "data_urls: required"),
        ({"data_urls": []}, "data_urls: required"),
        ({"data_urls": ""}, "data_urls: required"),
        ({"data_urls": {}}, "data_urls: required"),
        ({"data_urls": 5}, "a list of 1 to 16"),
        ({"data_urls": "data:,"}, "data_urls[0]: the image is empty"),
        ({"data_urls": [5]}, "data_urls[0]: 5 was sent; allowed: the data: URI of an image"),
        ({"data_urls": [PNG, None]}, "data_urls[1]: null was sent"),
        ({"data_urls": ["data:image/png;base64,AAAA"] * 17}, "17 items"),
        ({"data_urls": ["data:image/svg+xml,<svg/>"]}, "data_urls[0]: not a JPEG"),
        ({"data_urls": ["https://one.example/a.png"]}, "data_urls[0]: not a JPEG"),
        ({"data_urls": ["data:image/png;base64,%%%"]}, "data_urls[0]"),
    ],
)
def test_what_is_no_upload(api: Api, http: httpx2.Client, sent: dict[str, Any], words: str) -> None:
    before = set((api.data / "assets").iterdir())
    refused(http.post("/upload-asset", json=sent), 400, words)
    assert set((api.data / "assets").iterdir()) == before


@pytest.mark.rows
@pytest.mark.parametrize(
    ("path", "wrong", "words"),
    [
        ("add", {"webhook_url": None}, "webhook_url: required, but not sent; allowed: a public http:// or https:// "),
        ("add", {"webhook_url": 5}, "webhook_url: 5 was sent; allowed: a public http:// or https:// address"),
        ("add", {"webhook_url": "ftp://x"}, "webhook_url: 'ftp://x' was sent"),
        ("add", {"webhook_url": "ftp://one.example/"}, "only http:// and https://"),
        ("add", {"webhook_url": "https://one.example/" + "a" * 2000}, "2000 characters"),
        ("add", {"event": None}, "event.types: required, but not sent; allowed: a list of REQUEST_COMPLETED and "),
        ("add", {"event": {"types": []}}, "event.types: required, but not sent"),
        ("add", {"event": "REQUEST_FAILED"}, "event.types: 'REQUEST_FAILED' was sent; allowed: a list of"),
        ("add", {"event": {"types": ["x"]}}, 'event.types: ["x"] was sent; allowed: a list of'),
        ("add", {"event": {"types": ["PIXELFLOW"]}}, "REQUEST_FAILED"),
        ("update", {}, "webhook_id: required"),
        ("rotate", {"webhook_id": ["a"]}, 'webhook_id: ["a"] was sent'),
    ],
)
def test_a_webhook_is_refused_in_words(http: httpx2.Client, path: str, wrong: dict[str, Any], words: str) -> None:
    sent = {name: value for name, value in (HOOK | wrong).items() if value is not None}
    for body in (HOOK | wrong, sent):
        refused(http.post(f"/webhook/{path}", json=body), 400, words)
    assert http.get("/webhook/get").json()["webhooks"] == []


@pytest.mark.rows
@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/x", "https://10.0.0.1/x", "http://[::1]/", "http://169.254.169.254", "http://192.168.1.1/"],
)
def test_a_webhook_that_is_refused_is_not_an_image(http: httpx2.Client, address: str) -> None:
    for answer in (
        http.post("/webhook/add", json={"webhook_url": address, "event": EVENT}),
        http.post(f"/v2/{TEXT}", json=quick(), headers={"x-webhook-url": address}),
    ):
        refused(answer, 400, "not a public address")
        advice = answer.json()["error_description"]
        assert "TINTYPE_WEBHOOK_ALLOW" in advice
        assert not {"picture", "image"} & set(advice.split())
    assert http.get("/webhook/get").json()["webhooks"] == []
    assert left(http) == 1


def test_who_may_not_see_or_change_webhooks(api: Api, anybody: httpx2.Client, http: httpx2.Client) -> None:
    refused(anybody.get("/webhook/get"), 401)
    refused(http.get("/webhook/inactive"), 400, "webhook_id: required")
    refused(http.get("/webhook/dispatch-logs?webhook_id=a&page=0"), 400, "page")
    refused(http.get("/webhook/dispatch-logs?webhook_id=unknown"), 404, "Webhook unknown not found")
    looker = api.caller(0, read_only=True)
    refused(looker.post("/webhook/add", json=HOOK), 403)
    refused(looker.get("/webhook/inactive?webhook_id=a"), 403)
    assert looker.get("/webhook/get").json() == {"webhooks": []}
