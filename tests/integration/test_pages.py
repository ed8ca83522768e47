"""The pages as the server sends them: what they are, what they may do, and what they are drawn from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest
from tests.acceptance.harness import until
from tests.integration.website import Website, serving

from tintype.catalog.models import MODELS
from tintype.web.pages.shell import STATIC

HTML = {"accept": "text/html,*/*"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("pages"), prices={"sd1.5-img2img": 0}) as website:
        yield website


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=site.address) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/account", *(f"/models/{slug}" for slug in MODELS)])
def test_a_page_may_run_nothing_but_this_server_s_own_files(http: httpx2.Client, path: str) -> None:
    answer = http.get(path, headers=HTML)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    own = "../static/" if path.startswith("/models/") else "./static/"
    assert not re.search(rf'<style|<script(?! type="module" src="{own})|style=|\son\w+=|https?:', answer.text)
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
    assert len(addresses) == 9
    for address in addresses:
        assert address.startswith(own)
        file = http.get(urljoin(path, address))
        assert file.status_code == 200, address
        assert file.headers["x-content-type-options"] == "nosniff"
        assert http.get(urljoin(path, address), headers={"if-none-match": file.headers["etag"]}).status_code == 304


def test_the_front_door_speaks_html_to_browsers_and_json_to_others(http: httpx2.Client) -> None:
    assert http.get("/", headers=HTML).headers["content-type"].startswith("text/html")
    assert http.get("/", headers={"accept": "*/*"}).json()["models"] == "/v1/models"
    assert http.get("/").headers["vary"] == "accept"


def test_an_unknown_model_has_a_page_that_says_so(http: httpx2.Client) -> None:
    answer = http.get("/models/<script>", headers=HTML)
    assert answer.status_code == 404
    assert "No such model" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize("path", ["/static/", "/static/nothing.js", "/static/../shell.py", "/static/%2e%2e/shell.py"])
def test_only_the_pages_own_files_are_served(http: httpx2.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")


def test_what_the_pages_know_of_this_server(http: httpx2.Client) -> None:
    about = http.get("/about.json").json()
    assert about["kept_seconds"]["record"] == 3600
    assert list(about["states"]) == ["QUEUED", "PROCESSING", "COMPLETED", "FAILED"]
    assert about["billing"] is True


def described(http: httpx2.Client) -> dict[str, Any]:
    return {model["slug"]: model for model in http.get("/v1/models").json()["models"]}


def test_every_parameter_has_its_place_in_a_form(http: httpx2.Client) -> None:
    for slug, model in described(http).items():
        for name, schema in model["parameters"]["properties"].items():
            assert schema["x-group"] in ("picture", "prompt", "method", "size", "answer")
            assert schema["description"], (slug, name)
        means = {schema["x-means"] for schema in model["parameters"]["properties"].values()}
        assert {"prompt", "seed", "format"} & means >= {"prompt", "seed"}
        assert model["first"]["prompt"] in model["prompts"]


def test_a_model_s_seconds_are_measured_here(site: Website, http: httpx2.Client) -> None:
    assert described(http)["sd1.5-img2img"]["measured_seconds"] is None
    site.submit()
    site.complete(site.claim())
    until(lambda: described(http)["sd1.5-img2img"]["measured_seconds"] is not None)  # the list is made once a second
    measured = described(http)["sd1.5-img2img"]["measured_seconds"]
    # 1.5 seconds for 4 steps; the example takes three quarters of 25.
    assert measured == pytest.approx(1.5 / 4 * 18, abs=0.01)


def test_every_module_that_is_imported_is_there() -> None:
    for module in STATIC.rglob("*.js"):
        for name in re.findall(r'from "(\.[^"]+)"', module.read_text("utf-8")):
            assert (module.parent / name).is_file(), (module.name, name)


def test_the_modules_build_no_html_from_text_and_keep_nothing() -> None:
    said = "\n".join(module.read_text("utf-8") for module in STATIC.rglob("*.js"))
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage|document\.cookie"
    assert not re.findall(forbidden, said)


@pytest.mark.parametrize("slug", MODELS)
def test_every_model_has_a_sample_picture(http: httpx2.Client, slug: str) -> None:
    answer = http.get(f"/static/samples/{slug}.jpeg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert len(answer.content) < 150_000
