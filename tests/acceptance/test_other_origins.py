"""A page of another origin in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.acceptance.test_http_helpers import TEXT, quick
from tests.integration.website import serving


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of an empty page of another origin."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>app</title>")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


#: A page that does all that it may; what came of it.
APP_PAGE = """
async ([base, slug, key, body]) => {
  const told = {};
  const headers = { "x-api-key": key, "content-type": "application/json" };
  const ask = (path, more = {}) => fetch(base + path, { headers, ...more });
  const post = (path, more) => ask(path, { method: "POST", body: JSON.stringify(body), ...more });
  const v1 = await post(`/v1/${slug}`);
  told.v1 = [v1.status, (await v1.blob()).type];
  const wanted = ["x-cost", "x-request-id", "x-seed-value", "x-remaining-credits"];
  told.exposed = wanted.filter((name) => v1.headers.get(name));
  const once = { ...headers, "idempotency-key": "7", "cancel-after": "60" };
  const submitted = await post(`/v2/${slug}`, { headers: once });
  const { request_id: id } = await submitted.json();
  const events = await (await ask(`/v2/requests/${id}/events`)).text();
  told.events = events.includes("event: completed");
  told.status = (await (await ask(`/v2/requests/${id}/status`)).json()).status;
  const { output } = await (await ask(`/v2/requests/${id}`)).json();
  const image = new Image();
  image.crossOrigin = "anonymous";
  image.src = [output].flat()[0];
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  told.pixel = context.getImageData(0, 0, 1, 1).data[3];
  const refused = await ask("/v1/get-user-credits", { headers: { authorization: "Bearer SG_nobody" } });
  told.refused = [refused.status, typeof (await refused.json()).error];
  told.deleted = (await ask(`/v2/requests/${id}`, { method: "DELETE" })).status;
  return told;
}
"""


@pytest.mark.parametrize("allowed", [True, False])
def test_a_page_of_another_origin(tmp_path: Path, chromium: Browser, elsewhere: str, allowed: bool) -> None:
    """It submits, follows, reads the headers and draws the picture on a canvas; or nothing at all."""
    with serving(tmp_path, cors_origins=elsewhere if allowed else "http://127.0.0.1:1") as site:
        key = site.own.store.accounts.keys.create(site.account_id, "app", test=True)[1]
        page = chromium.new_page()
        page.goto(elsewhere)
        ask = [site.address, TEXT, key, quick()]
        if not allowed:
            told = page.evaluate(f"(ask) => ({APP_PAGE.strip()})(ask).catch((error) => error.message)", ask)
            assert told == "Failed to fetch"
        else:
            assert page.evaluate(APP_PAGE.strip(), ask) == {
                "v1": [200, "image/png"],
                "exposed": ["x-cost", "x-request-id", "x-seed-value", "x-remaining-credits"],
                "events": True,
                "status": "COMPLETED",
                "pixel": 255,
                "refused": [401, "string"],
                "deleted": 200,
            }
        page.close()
