"""The vendor's own package, unmodified: its errors, and the account's surface, whose hard-coded hosts are led here."""

from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from segmind import InferenceFailed, SegmindClient, SegmindError

from tests.acceptance.contract.api import Api
from tests.acceptance.test_http_helpers import OLD, TEXT, quick
from tintype.catalog.models import MODELS
from tintype.sdk import segmind_client

FOX: dict[str, Any] = {"image": "/sd-img2img-input.jpeg", "prompt": "a fox", "num_inference_steps": 20}
NOT_PUBLIC = "127.0.0.1: not a public address"


@pytest.fixture
def key(api: Api) -> str:
    """A new account's."""
    return api.new_key(1)


@pytest.fixture
def client(api: Api, key: str) -> Iterator[SegmindClient]:
    with segmind_client(api.address, key) as client:
        yield client


def test_base64_blocking(api: Api) -> None:
    body = api.sdk().run_sync(TEXT, **quick(base64=True, width=256, height=256, image_format="jpeg")).json()
    assert (body["status"], body["outputs"], body["image_format"]) == ("Success", 1, "jpeg")
    with Image.open(io.BytesIO(b64decode(body["image"]))) as image:
        assert image.size == (256, 256)


def test_a_failed_request_raises_inference_failed(api: Api) -> None:
    params = FOX | {"image": "http://127.0.0.1:9/never.png"}
    with pytest.raises(InferenceFailed) as failed:
        api.sdk().run(OLD, **params)
    assert failed.value.detail == NOT_PUBLIC
    assert failed.value.status_body["status"] == "FAILED"
    with pytest.raises(SegmindError) as refused:
        api.sdk().run_sync(OLD, **params)
    assert (refused.value.status, refused.value.detail) == (400, NOT_PUBLIC)


@pytest.mark.parametrize("call", ["run", "run_sync", "submit_async"])
def test_errors_carry_status_and_words(api: Api, call: str) -> None:
    def refusal(client: SegmindClient, slug: str, **changes: object) -> tuple[int, str]:
        with pytest.raises(SegmindError) as error:
            getattr(client, call)(slug, **FOX | changes)
        return error.value.status, error.value.detail

    assert refusal(api.sdk("SG_00000000000000000000000000000000"), OLD)[0] == 401
    status, words = refusal(api.sdk(), "no-such-model")
    assert status == 404
    assert "no-such-model" in words
    status, words = refusal(api.sdk(), OLD, num_inference_steps=7)
    assert status == 400
    assert words == "num_inference_steps: 7 was sent; allowed: a whole number from 20 to 100"


def test_out_of_credits(api: Api) -> None:
    poor = api.cli("accounts", "create", "--name", "poor", "--credits", "0.005")
    client = api.sdk(api.cli("keys", "create", "--account", poor))
    with pytest.raises(SegmindError) as error:
        client.run(OLD, **FOX | {"samples": 2})
    assert error.value.status == 406
    assert "$0.005" in error.value.detail
    assert "$0.0074" in error.value.detail
    assert client.run(OLD, **FOX)["metrics"]["remaining_credits"] == 0.0013


def test_credits_call_of_the_old_kind(api: Api) -> None:
    body = api.sdk()._request("GET", "/get-user-credits").json()
    assert body["credits"] > 0
    assert body["free-credits"] == 0.0


def test_models_and_account(api: Api, key: str, client: SegmindClient) -> None:
    [models] = client.models.list().values()
    assert [model["slug"] for model in models] == list(MODELS)
    assert client.accounts.current()["id"] == api.store.accounts.keys.authenticate(key).account_id


def test_generations(api: Api, key: str, client: SegmindClient) -> None:
    done = api.sdk(key).run(TEXT, **quick())
    [row] = client.generations.history(status="COMPLETED", sort_by="model_created", sort_order="asc")["data"]
    assert row["request_id"] == done["request_id"]
    assert client.generations.get(row["request_id"]) == row
    own = client.accounts.current()["id"]
    assert client.generations.list(model_name=TEXT, user_id=own)["data"] == [row]
    assert client.generations.recent(TEXT)["data"] == [row]


def test_files(client: SegmindClient, tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    urls = client.files.upload([tmp_path / "a.png", tmp_path / "b.jpg"])["file_urls"]
    assert [httpx.get(url, timeout=60).content for url in urls] == [
        (tmp_path / name).read_bytes() for name in ("a.png", "b.jpg")
    ]


def test_webhooks(api: Api, key: str, client: SegmindClient) -> None:
    added = client.webhooks.add("https://one.example/hook", ["REQUEST_COMPLETED", "REQUEST_FAILED"])["webhook"]
    assert client.webhooks.get()["webhooks"] == [added]
    updated = client.webhooks.update(added["webhook_id"], "https://two.example/", ["REQUEST_FAILED"])["webhook"]
    assert updated["webhook_url"] == "https://two.example/"
    with pytest.raises(InferenceFailed) as failed:
        api.sdk(key).run(OLD, **FOX | {"image": "http://127.0.0.1:9/never.png"})
    [log] = client.webhooks.logs(added["webhook_id"])["logs"]
    ended = failed.value.status_body["request_id"]
    assert (log["request_id"], log["status"], log["event"]) == (ended, "PENDING", "REQUEST_FAILED")
    client.webhooks.delete(added["webhook_id"])
    assert client.webhooks.get()["webhooks"] == []
