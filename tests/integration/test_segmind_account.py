"""The vendor's own package on the account's surface: its hard-coded hosts are led to a local server, no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from segmind import SegmindClient
from tests.integration.website import Website, serving

from tintype.catalog.models import MODELS
from tintype.sdk import segmind_client


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Website]:
    with serving(tmp_path) as site:
        yield site


@pytest.fixture
def client(web: Website) -> Iterator[SegmindClient]:
    with segmind_client(web.address, web.secret) as client:
        yield client


def test_models_and_account(web: Website, client: SegmindClient) -> None:
    [models] = client.models.list().values()
    assert [model["slug"] for model in models] == list(MODELS)
    assert client.accounts.current()["id"] == web.account_id


def test_generations(web: Website, client: SegmindClient) -> None:
    web.submit()
    request = web.claim()
    web.complete(request)
    [row] = client.generations.history(status="COMPLETED", sort_by="model_created", sort_order="asc")["data"]
    assert row["request_id"] == request.id
    assert client.generations.get(request.id) == row
    assert client.generations.list(model_name=request.slug, user_id=web.account_id)["data"] == [row]
    assert client.generations.recent(request.slug)["data"] == [row]


def test_files(web: Website, client: SegmindClient, tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    urls = client.files.upload([tmp_path / "a.png", tmp_path / "b.jpg"])["file_urls"]
    assert [httpx.get(url).content for url in urls] == [(tmp_path / name).read_bytes() for name in ("a.png", "b.jpg")]


def test_webhooks(web: Website, client: SegmindClient) -> None:
    added = client.webhooks.add("https://one.example/hook", ["REQUEST_COMPLETED", "REQUEST_FAILED"])["webhook"]
    assert client.webhooks.get()["webhooks"] == [added]
    updated = client.webhooks.update(added["webhook_id"], "https://two.example/", ["REQUEST_FAILED"])["webhook"]
    assert updated["webhook_url"] == "https://two.example/"
    web.submit()
    request = web.claim()
    web.own.store.leases.fail(request.id, request.attempt, "why", 500)
    [log] = client.webhooks.logs(added["webhook_id"])["logs"]
    assert (log["request_id"], log["status"], log["event"]) == (request.id, "PENDING", "REQUEST_FAILED")
    client.webhooks.delete(added["webhook_id"])
    assert client.webhooks.get()["webhooks"] == []
