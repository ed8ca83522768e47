"""Below a path of a proxy's, `/tintype/`: a real nginx, and the pages in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.browser import OLD, PATIENCE, Visitor
from tests.acceptance.harness import KEY, Server
from tests.acceptance.nginx import nginx
from tests.acceptance.test_http_helpers import TEXT, quick
from tests.clients import NO_TLS
from tests.integration.website import serving
from tintype.catalog.models import MODELS

SITE = """
server {
    listen 127.0.0.1:PORT;
    location / { return 404 "another program's"; }
    location /tintype/ {
        proxy_pass SERVER/;
        proxy_set_header Host $http_host;
        proxy_buffering off;
        MORE
    }
}
"""


def site(server: str, more: str = "") -> str:
    """nginx's lines for a server below /tintype/."""
    return SITE.replace("SERVER", server).replace("MORE", more)


@pytest.fixture
def visitor(chromium: Browser, builtin: Server, tmp_path: Path) -> Iterator[Visitor]:
    """Somebody who knows the server through a proxy that the server knows nothing of."""
    with nginx(tmp_path, site(builtin.address)) as address:
        came = Visitor(chromium, f"{address}/tintype", None)
        wrong: list[str] = []
        came.page.on("request", lambda asked: wrong.append(asked.url) if "/tintype/" not in asked.url else None)
        yield came
        came.leave()
        assert [url for url in wrong if not url.startswith(("data:", "blob:"))] == []


def test_the_pages(visitor: Visitor) -> None:
    """From page to page by their links, as a person goes."""
    page = visitor.go(f"{visitor.address}/")
    expect(page.locator(".card")).to_have_count(len(MODELS))
    for picture in page.locator(".card img").all():
        expect(picture).to_have_js_property("complete", value=True)
        assert picture.evaluate("image => image.naturalWidth") > 0
    page.get_by_role("link", name="Account").click()
    expect(page).to_have_url(f"{visitor.address}/account")
    expect(page.get_by_role("link", name="Account")).to_have_attribute("aria-current", "page")
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(page.get_by_role("alert")).to_have_count(0)
    visitor.go(f"{visitor.address}/operator")
    page.get_by_role("link", name="tintype, to the models").click()
    expect(page).to_have_url(f"{visitor.address}/")
    page.goto(f"{visitor.address}/models/nothing")
    page.get_by_role("link", name="Stable Diffusion 1.5 image to image").click()
    expect(page).to_have_url(visitor.address + OLD)


def test_a_picture_from_a_picture(visitor: Visitor) -> None:
    """A sample goes in, what is made goes in again, and all of it is shown."""
    page = visitor.go(visitor.address + OLD)
    visitor.field("strength").fill("0.1")
    visitor.generate()
    picture = page.locator(".result img").first
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.get_by_role("button", name="Use as input").click()
    assert visitor.field("image").input_value().startswith("/files/")
    expect(page.get_by_role("img", name="The input image")).to_have_js_property("complete", value=True)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".shelf [data-state=done]")).to_have_count(2, timeout=PATIENCE)
    page.get_by_role("tab", name="API").click()
    expect(page.locator(".code pre")).to_contain_text(f"{visitor.address}/v1/")
    page.get_by_role("tab", name="History").click()
    shown = page.locator(".requests img").first
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_the_api(tmp_path: Path) -> None:
    """Addresses in answers have the prefix that a trusted proxy names, and lead back in as input pictures."""
    named = "proxy_set_header X-Forwarded-Prefix /tintype;"
    with (
        serving(tmp_path / "data", trusted_proxies="127.0.0.1") as website,
        nginx(tmp_path, site(website.address, named)) as address,
        httpx2.Client(verify=NO_TLS, headers={"x-api-key": website.secret}, timeout=60) as http,
    ):
        base = f"{address}/tintype"
        assert http.get(f"{base}/openapi.json").json()["servers"] == [{"url": base}]
        assert http.get(f"{website.address}/openapi.json").json()["servers"] == [{"url": website.address}]
        submitted = http.post(f"{base}/v2/{TEXT}", json=quick()).json()
        assert submitted["status_url"].startswith(f"{base}/v2/requests/")
        assert http.get(submitted["status_url"]).json()["status"] == "QUEUED"
        website.complete(website.claim())
        output = http.get(submitted["response_url"]).json()["images"][0]["url"]
        assert output.startswith(f"{base}/files/")
        assert http.get(output).content == b"picture"
        assert KEY not in output
