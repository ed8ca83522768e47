"""The pages as the server sends them: what they are, what they may do, and what they are drawn from."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from typing import Any, cast
from urllib.parse import urljoin

import httpx2
import pytest
from tests.acceptance.harness import until
from tests.integration.website import Website, serving
from tests.toy_weights import BUILTIN

from tintype.catalog.models import MODELS
from tintype.catalog.parameters import planned_steps, speed_key
from tintype.media.images import read_note
from tintype.web.pages.shell import STATIC

HTML = {"accept": "text/html,*/*"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("pages"), prices={"sd1.5-img2img": 0}) as website:
        yield website


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=site.address, timeout=60) as client:
        yield client


class Fetched(dict[str, httpx2.Response]):
    """What is at each path, asked once."""

    def __init__(self, http: httpx2.Client) -> None:
        super().__init__()
        self._http = http

    def __missing__(self, path: str) -> httpx2.Response:
        self[path] = self._http.get(path)
        return self[path]


@pytest.fixture(scope="module")
def fetched(site: Website) -> Iterator[Fetched]:
    with httpx2.Client(base_url=site.address, timeout=60) as client:
        yield Fetched(client)


@pytest.mark.parametrize("path", ["/", "/account", "/images", "/verify", *(f"/models/{slug}" for slug in MODELS)])
def test_a_page_may_run_nothing_but_this_server_s_own_files(http: httpx2.Client, fetched: Fetched, path: str) -> None:
    answer = http.get(path, headers=HTML)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'" in policy
    assert "unsafe" not in policy
    own = "../static/" if path.startswith("/models/") else "./static/"
    assert not re.search(rf'<style|<script(?! type="module" src="{own})|style=|\son\w+=|https?:', answer.text)
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
    addresses.remove(f"{own}manifest.webmanifest")  # an installed page is known by its address
    files = [address for address in addresses if address.startswith(own)]
    for address in files:
        file = fetched[urljoin(path, address)]
        assert file.status_code == 200, address
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
    for address in set(addresses) - set(files):
        assert f'<link rel="preload" as="fetch" crossorigin href="{address}">' in answer.text
        assert fetched[urljoin(path, address)].headers["content-type"] == "application/json"


TEXTS = (
    *("/", "/models/sd1.5-img2img", "/static/model.page.js", "/static/style/all.css", "/static/icon.svg"),
    *("/v1/models", "/inference-model-information/list", "/openapi.json", "/about.json"),
)


@pytest.mark.parametrize("path", TEXTS)
def test_text_is_sent_compressed_to_those_who_take_it_so(http: httpx2.Client, path: str) -> None:
    plain = http.get(path, headers={**HTML, "accept-encoding": "gzip;q=0, deflate"})
    small = http.get(path, headers={**HTML, "accept-encoding": "br, gzip"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.content == plain.content
    assert int(small.headers["content-length"]) < len(plain.content) * 0.8
    assert small.headers["etag"] != plain.headers["etag"]
    for answer in (plain, small):
        assert "accept-encoding" in answer.headers["vary"]
    again = {"accept-encoding": "gzip", **HTML, "if-none-match": small.headers["etag"]}
    assert http.get(path, headers=again).status_code == 304


def test_what_changes_with_each_call_and_what_is_compressed_already_is_sent_as_it_is(site: Website) -> None:
    with site.http() as http:
        submitted = http.post("/v2/stable-diffusion-3.5-turbo-txt2img", json={"prompt": "a fox"})
        status = http.get(f"/v2/requests/{submitted.json()['request_id']}/status")
        sample = http.get("/static/samples/sd1.5-img2img.webp")
        with http.stream("GET", f"/v2/requests/{submitted.json()['request_id']}/events") as events:
            answers = [submitted, status, sample, events]
    assert [answer.headers.get("content-encoding") for answer in answers] == [None] * 4
    site.cancel_all()


def test_the_list_of_models_is_compressed_again_only_once_it_has_changed(site: Website, http: httpx2.Client) -> None:
    [listed] = [
        cast(Any, route).endpoint.__self__
        for route in site.app.routes
        if getattr(route, "path", "") == "/v1/models" and "GET" in cast(Any, route).methods
    ]
    http.get("/v1/models")
    before = listed._body
    listed._expires = 0
    http.get("/v1/models")
    assert listed._body is before


def test_a_file_of_another_version_is_not_cached_for_good(http: httpx2.Client) -> None:
    """As while servers behind one address are upgraded one by one: a page of one asks another for its modules."""
    for address in ("/static/model.page.js", "/static/v-0123456789ab/model.page.js"):
        answer = http.get(address)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


def test_the_front_door_speaks_html_to_browsers_and_json_to_others(http: httpx2.Client) -> None:
    assert http.get("/", headers=HTML).headers["content-type"].startswith("text/html")
    assert http.get("/", headers={"accept": "*/*"}).json()["models"] == "/v1/models"
    assert http.get("/").headers["vary"] == "accept"


@pytest.mark.parametrize("path", ["/nope", "/a/b%2Fc/d"])
def test_a_link_to_nothing_has_a_page_for_browsers_and_json_for_others(http: httpx2.Client, path: str) -> None:
    answer = http.get(path, headers=HTML)
    assert (answer.status_code, answer.headers["vary"]) == (404, "accept, accept-encoding")
    for address in re.findall(r'(?:src|href)="([^"#]+)"', answer.text):
        assert http.get(urljoin(path, address)).status_code == 200
    assert http.get(path).json()["error"] == f"Nothing is at GET {path.replace('%2F', '/')}"
    for other in (f"/v1/models{path}", "/a" * 21 + path):
        assert http.get(other, headers=HTML).headers["content-type"] == "application/json"


def test_the_manifest_leads_to_this_server_s_root_and_to_icons(http: httpx2.Client) -> None:
    address = "/static/manifest.webmanifest"
    answer = http.get(address)
    assert answer.headers["content-type"] == "application/manifest+json"
    manifest = answer.json()
    assert urljoin(address, manifest["start_url"]) == "/"
    for icon in manifest["icons"]:
        assert http.get(urljoin(address, icon["src"])).headers["content-type"] == icon["type"]


def test_an_unknown_model_has_a_page_that_says_so(http: httpx2.Client) -> None:
    answer = http.get("/models/<script>", headers=HTML)
    assert answer.status_code == 404
    assert "No such model" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize("path", ["/static/", "/static/nothing.js", "/static/../shell.py", "/static/%2e%2e/shell.py"])
def test_only_the_pages_own_files_are_served(http: httpx2.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")


def test_the_type_is_small_and_comes_with_its_licence(http: httpx2.Client) -> None:
    sizes = []
    for path in re.findall(r'url\("\.\./(fonts/[^"]+)"\)', (STATIC / "style" / "base.css").read_text("utf-8")):
        answer = http.get(f"/static/{path}")
        assert answer.headers["content-type"] == "font/woff2"
        sizes.append(len(answer.content))
        assert path.rpartition("/")[2] in (STATIC / "fonts" / "OFL.txt").read_text("utf-8")
    assert len(sizes) == 3
    assert sum(sizes) <= 60_000


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
        assert slug not in BUILTIN or model["first"]["prompt"] in model["prompts"]


def test_a_model_s_seconds_are_measured_here(site: Website, http: httpx2.Client) -> None:
    assert described(http)["sd1.5-img2img"]["measured_seconds"] is None
    site.submit()
    site.complete(site.claim())
    until(lambda: described(http)["sd1.5-img2img"]["measured_seconds"] is not None)  # the list is made once a second
    measured = described(http)["sd1.5-img2img"]["measured_seconds"]
    # 1.5 seconds for 4 steps; the example takes three quarters of 25.
    assert measured == pytest.approx(1.5 / 4 * 18, abs=0.01)
    assert described(http)["sd1.5-img2img"]["pace"]["seconds"] == {"18 1": 1.5 / 4}


def test_the_modules_build_no_html_from_text_and_one_keeps_the_key() -> None:
    said = {module.name: module.read_text("utf-8") for module in STATIC.rglob("*.js")}
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|document\.cookie"
    assert not re.findall(forbidden, "\n".join(said.values()))
    assert {name for name, module in said.items() if "tintype-key" in module} == {"key.js"}


@pytest.mark.parametrize("slug", BUILTIN)
def test_every_model_has_a_sample_picture(http: httpx2.Client, slug: str) -> None:
    model = described(http)[slug]
    address = model["sample"]
    answer = http.get(address)
    assert answer.headers["content-type"] == "image/webp"
    assert len(answer.content) < 60_000
    assert http.get(address.replace(".webp", ".jpeg")).content == answer.content, "its address of old"
    assert json.loads(read_note(answer.content))["model"] == slug, "it can be replayed"
    made = model["sample_parameters"]
    assert made["prompt"]
    assert made.keys() <= model["parameters"]["properties"].keys(), "the stage shows them, the form takes them"


ESTIMATE = """
import { readFileSync } from "node:fs";
import { estimate, drawnSteps, stepsInWords } from "%s/estimate.js";
const asked = JSON.parse(readFileSync(0));
const said = asked.map(([model, values]) => [
  estimate(model, values), drawnSteps(model, values), stepsInWords(model, values)
]);
console.log(JSON.stringify(said));
"""


def test_the_form_s_seconds_and_steps_are_those_that_the_server_plans(site: Website, http: httpx2.Client) -> None:
    """Of each model, each sampler, with and without guidance, for several images, at a low strength."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js, which runs the page's module")
    asked, expected = [], []
    models = described(http)
    for slug, spec in MODELS.items():
        model = models[slug]
        names = {schema["x-means"]: name for name, schema in model["parameters"]["properties"].items()}
        samplers = model["parameters"]["properties"].get(names.get("sampler", ""), {}).get("enum", [None])
        few = {"steps": 21, "guidance": 1, "count": 3, "strength": 0.4, "aspect_ratio": "3:4 portrait 896x1152"}
        for chosen, sampler in product(({}, few), samplers):
            values = {names[means]: value for means, value in {**chosen, "sampler": sampler}.items() if means in names}
            values = {**spec.defaults, **spec.example, **values}
            params = spec.parse(values).params
            pace = {**model["pace"], "seconds": {speed_key(spec, params).partition(" ")[2]: 0.5, "1 1": 9}}
            fields = [
                {"name": name, "means": means, "default": spec.defaults.get(name)} for means, name in names.items()
            ]
            asked.append([{"pace": pace, "fields": fields}, values])
            expected.append([planned_steps(params) * 0.5, params.steps_run])
    command, sent = [node, "--input-type=module", "-e", ESTIMATE % STATIC], json.dumps(asked)
    said = json.loads(subprocess.run(command, input=sent, capture_output=True, check=True, text=True).stdout)
    assert [one[:2] for one in said] == expected
    assert {words for *_, words in said} >= {"", "21 steps × strength 0.4 = 8 drawn"}
