"""What a browser is told of pages of other origins; tests/acceptance/test_other_origins.py has one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click import UsageError
from tests.acceptance.test_http_helpers import TEXT, quick
from tests.integration.website import Website, serving

from tintype.catalog.samples import LANDSCAPE
from tintype.cli.options import load_settings

APP = "https://app.example"
ALLOWED = "access-control-allow-origin"
PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,cancel-after,content-type,idempotency-key,last-event-id,x-api-key",
}


#: What openai 6.49.0 sends from a page, and replicate 1.4.0: counted with a `fetch` that prints.
LIBRARIES = {
    "/v1/images/generations": "accept,authorization,content-type,user-agent,x-stainless-arch,x-stainless-lang,"
    "x-stainless-os,x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout",
    "/v1/predictions": "authorization,content-type,prefer,user-agent",
}


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """A server that pages of APP may call."""
    with serving(tmp_path_factory.mktemp("cors"), cors_origins=APP, max_body=2_000, key_rpm=3) as website:
        yield website


def broken() -> None:
    """What nobody foresaw."""
    raise RuntimeError


def test_every_answer_can_be_read_by_an_allowed_page(open_site: Website) -> None:
    """A refusal that a browser keeps from its page is a riddle."""
    open_site.app.add_api_route("/broken", broken)
    seen = {}
    with open_site.http() as http:
        for method, path, more in (
            ("GET", "/health", {}),
            ("GET", "/v1/get-user-credits", {"headers": {"x-api-key": "SG_nobody's"}}),
            ("GET", "/nothing", {}),
            ("DELETE", "/health", {}),
            ("POST", f"/v2/{TEXT}", {"json": {"prompt": "x" * 5_000}}),
            ("POST", f"/v2/{TEXT}", {"content": b"x", "headers": {"content-type": "text/plain"}}),
            *[("POST", f"/v2/{TEXT}", {"json": quick()})] * 4,
            ("GET", "/broken", {}),
        ):
            for origin in (APP, "https://other.example", None):
                headers = {**more.get("headers", {}), **({"origin": origin} if origin else {})}
                answer = http.request(method, path, **{**more, "headers": headers})
                assert answer.headers.get(ALLOWED) == (APP if origin == APP else None)
                assert "origin" in answer.headers["vary"].lower()
                assert "access-control-allow-credentials" not in answer.headers
                seen[answer.status_code] = answer.headers.get("access-control-expose-headers", "")
    assert seen.keys() >= {200, 401, 404, 405, 413, 415, 429, 500}


def test_a_preflight_needs_no_key(open_site: Website) -> None:
    with open_site.http("SG_nobody's") as http:
        for path in (f"/v1/{TEXT}", f"/v2/{TEXT}", "/v2/requests/7", "/upload-asset"):
            for method in ("GET", "POST", "DELETE"):
                answer = http.options(path, headers={**PREFLIGHT, "access-control-request-method": method})
                assert (answer.status_code, answer.headers[ALLOWED]) == (200, APP)
                named = answer.headers["access-control-allow-headers"].lower()
                assert set(PREFLIGHT["access-control-request-headers"].split(",")) <= set(named.split(", "))
        for change in ({"origin": "https://other.example"}, {"access-control-request-headers": "x-other"}):
            answer = http.options(f"/v1/{TEXT}", headers={**PREFLIGHT, **change})
            assert answer.status_code == 400


@pytest.mark.parametrize(("path", "headers"), LIBRARIES.items())
def test_other_apis_libraries_can_be_used_in_a_page(open_site: Website, path: str, headers: str) -> None:
    with open_site.http() as http:
        answer = http.options(path, headers=PREFLIGHT | {"access-control-request-headers": headers})
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, APP)


def test_nobody_may_by_default(tmp_path: Path) -> None:
    """But pictures can be read by anybody who knows their address."""
    with serving(tmp_path) as site, site.http() as http:
        assert http.options(f"/v1/{TEXT}", headers=PREFLIGHT).status_code == 405
        health = http.get("/health", headers={"origin": APP})
        assert {name for name in health.headers if name.startswith("access-control") or name == "vary"} == set()
        name = site.own.files.outputs.put(b"picture", "png")
        for path in (f"/files/{name}", LANDSCAPE.path):
            assert http.get(path, headers={"origin": APP}).headers[ALLOWED] == "*"


@pytest.mark.parametrize("origins", ["*", "*,https://app.example"])
def test_anybody_may_if_the_operator_says_so(tmp_path: Path, origins: str) -> None:
    with serving(tmp_path, cors_origins=origins) as site, site.http() as http:
        assert http.options(f"/v1/{TEXT}", headers=PREFLIGHT).headers[ALLOWED] == "*"
        assert http.get("/health", headers={"origin": "null"}).headers[ALLOWED] == "*"


@pytest.mark.parametrize(
    "wrong",
    [
        "app.example",
        "https://app.example/",
        "https://App.example",
        "https://a:443",
        "http://a:80",
        "null",
        "https://*.a",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"--cors-origins: .* is no origin"):
        load_settings(cors_origins=f"https://good.example:8443,{wrong}")
