"""Images outlast their requests' records on a real server; kept ones outlast the budget, deleted ones nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import TEXT, refused

KEY = "SG_test" + "0123456789abcdef" * 2
RECORD_TTL = 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One whose hour is two seconds, and whose disk has room for two images: of a test key, so that none is drawn."""
    quick = {"record_ttl": RECORD_TTL, "cleanup_interval": 0.2, "images_budget": 2 * 2**17, "fleet": "none"}
    server = Server(tmp_path, **quick, bootstrap_key=KEY).start(wait_for_worker=False)
    yield server
    server.stop()


def test_images_last(server: Server) -> None:
    http = server.http(KEY)

    def made() -> dict[str, Any]:
        body = {"prompt": "a fox", "width": 256, "height": 256}
        id = http.post(f"/v2/{TEXT}", json=body).json()["request_id"]
        until(lambda: http.get("/v2/images", params={"request": id}).json()["images"])  # whatever of its record
        (image,) = http.get("/v2/images", params={"request": id}).json()["images"]
        path = server.data / "outputs" / image["name"]
        path.write_bytes(path.read_bytes().ljust(2**17, b"\0"))  # as large as one that was drawn
        return image

    kept = made()
    assert http.post("/v2/images/keep", json={"names": [kept["name"]], "kept": True}).json()["images"][0]["kept"]
    deleted = made()
    assert http.post("/v2/images/delete", json={"names": [deleted["name"]]}).is_success
    refused(http.get(deleted["url"]), 404, "was deleted by its account")
    other = made()  # a third one that is there would have the cleanup make room
    until(lambda: http.get(f"/v2/requests/{other['request_id']}").status_code == 404)
    listed = http.get("/v2/images").json()["images"]
    assert [one["name"] for one in listed] == [other["name"], kept["name"]]
    archive = ZipFile(io.BytesIO(http.post("/v2/images/zip", json={"names": [one["name"] for one in listed]}).content))
    with Image.open(io.BytesIO(archive.read(archive.namelist()[0]))) as image:
        assert image.size == (256, 256)
    new = made()
    until(lambda: http.head(other["url"]).status_code == 404)  # a body may break off as its file goes
    refused(http.get(other["url"]), 404, "to make room")
    assert [one["name"] for one in http.get("/v2/images").json()["images"]] == [new["name"], kept["name"]]
    assert [http.get(one["url"]).status_code for one in (new, kept)] == [200, 200]
