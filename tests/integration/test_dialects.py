"""A dialect is one object: its addresses, bodies, answers and errors, over the queue that all have."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from PIL import Image
from tests.acceptance.harness import until
from tests.integration.website import Website, serving

from tintype.catalog.spec import Catalogue, ModelSpec, Parsed
from tintype.core import STORED_INPUT, Json
from tintype.errors import NotFound, TintypeError
from tintype.media.images import encode
from tintype.web import app
from tintype.web.generate import answers
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.submit import CallDep, generate
from tintype.web.threads import Threaded

PATH, SLUG = "/v1/plain/images", "stable-diffusion-3.5-turbo-txt2img"
EDITS = "sd1.5-img2img"


class Plain:
    """Asks for images by `text`, and is answered in lines of text."""

    name = "plain"
    schemes = ("bearer", "token", "basic")
    waits = True
    cancels = True

    def owns(self, path: str) -> bool:
        return path.startswith("/v1/plain/")

    def routes(self, catalogue: Catalogue) -> APIRouter:
        router = APIRouter(route_class=Threaded)

        @router.post(PATH)
        async def images(call: CallDep) -> Response:
            return await generate(call, self, lambda body: catalogue.named(body["model"], "edit"))

        return router

    def parse(self, spec: ModelSpec, body: Json, /) -> Parsed:
        if not spec.takes_image:
            return spec.parse({"prompt": body.get("text"), "batch_size": body.get("how_many")})
        parsed = spec.parse({"prompt": body.get("text"), "image": body.get("picture", "canvas"), "strength": 1})
        if "picture" in body:
            return replace(parsed, size_for=lambda size: (768, 512) if size[0] > size[1] else (512, 768))
        return replace(parsed, canvas=(512, 512), notes=(f"it was asked plainly: {body['text']}",))

    def render(self, call: Call, accepted: Accepted) -> Response:
        if accepted.request.result is None:
            raise answers.failure(accepted.request)
        names = [f"{call.base}/files/{one.name}" for one in accepted.request.result.outputs]
        return PlainTextResponse("\n".join(names), headers=accepted.headers)

    def error(self, error: TintypeError) -> Response:
        return JSONResponse({"plainly": error.message}, error.status, error.public_headers())


@contextmanager
def plainly(data: Path, **settings: float) -> Iterator[Website]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "DIALECTS", (Plain(), *app.DIALECTS))
        with serving(data, **settings) as website:
            yield website


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with plainly(tmp_path_factory.mktemp("dialects")) as website:
        yield website


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    with site.http() as client:
        yield client


def test_it_waits_and_answers_in_its_own_words(site: Website, http: httpx2.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.post, PATH, json={"model": SLUG, "text": "a fox", "how_many": 2})
        until(lambda: site.own.store.queue.depth()[0])
        request = site.claim()
        assert (request.params["prompt"], request.images) == ("a fox", 2)
        site.complete(request, 2)
        answer = call.result()
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == request.id
    assert [http.get(line).content for line in answer.text.splitlines()] == [b"picture"] * 2


def test_one_that_takes_an_image_draws_on_a_plain_one(site: Website, http: httpx2.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.post, PATH, json={"model": EDITS, "text": "a fóx,\r\n狐"})
        until(lambda: site.own.store.queue.depth()[0] or call.done())
        request = site.claim()
        assert request.slug == EDITS
        source = request.generation.source if request.generation else ""
        canvas = Image.open(io.BytesIO(site.own.files.inputs.get(source.removeprefix(STORED_INPUT))))
        assert (canvas.size, canvas.getcolors()) == ((512, 512), [(512 * 512, (127, 127, 127))])
        site.complete(request, 1)
        words = f"{EDITS} takes a picture: drawn on a grey canvas; it was asked plainly: a fóx,  \\u72d0"
        assert call.result().headers["x-warning"] == words
    with pytest.raises(NotFound):
        site.own.files.inputs.get(source.removeprefix(STORED_INPUT))


def test_an_image_s_size_can_decide_and_the_body_is_kept_without_it(site: Website, http: httpx2.Client) -> None:
    wide = b64encode(encode(Image.new("RGB", (600, 300)), "png")).decode()
    body = {
        "model": EDITS,
        "text": "a fox",
        "picture": wide,
        "images": [wide],
        "deep": {"webhook_url": "http://x"},
        "n": 1,
    }
    before = queued_plainly(site)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.post, PATH, json=body)
        until(lambda: site.own.store.queue.depth()[0])
        request = site.claim()
        assert request.generation
        assert (request.generation.width, request.generation.height) == (768, 512)
        assert (request.params["img_width"], request.params["img_height"]) == (768, 512)
        assert request.metadata.dialect == "plain"
        assert request.metadata.asked == {
            "model": EDITS, "text": "a fox", "picture": None, "images": [None], "deep": {"webhook_url": None}, "n": 1
        }  # fmt: skip
        site.complete(request, 1)
        assert call.result().is_success
    assert queued_plainly(site) == before + 1


def queued_plainly(site: Website) -> float:
    said, _ = site.own.runtime.metrics.render("")
    found = re.search(rb'^tintype_queued_requests_total\{dialect="plain"\} (.*)$', said, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_of_a_body_is_kept_what_any_database_takes_and_any_answer_can_say(tmp_path: Path, url: str) -> None:
    sent = """{"model": "%s", "text": "a fox", "image_format": "png", "a": [NaN, 1e999, 0.5, true], "b": "\\ud800",
        "image": {"url": "http://x", "n": 1}, "more": {"image_format": "png", "file": ["http://x"]}, "\\udfff": 1}"""
    with plainly(tmp_path, database_url=url) as site, site.http() as http, ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.post, PATH, content=sent % SLUG, headers={"content-type": "application/json"})
        until(lambda: site.own.store.queue.depth()[0] or call.done())
        request = site.claim()
        assert request.metadata.asked == {
            "model": SLUG, "text": "a fox", "image_format": "png", "a": [None, None, 0.5, True], "b": "\\ud800",
            "image": {"url": None, "n": 1}, "more": {"image_format": "png", "file": [None]}, "\\udfff": 1,
        }  # fmt: skip
        site.complete(request, 1)
        assert call.result().is_success


def test_a_call_that_waits_in_vain_cancels_what_can_t_be_fetched_later(tmp_path: Path) -> None:
    body = {"model": SLUG, "text": "a fox"}
    with plainly(tmp_path, sync_timeout=0.01) as site, site.http() as http:
        for once in (True, False):
            refusal = http.post(PATH, json=body, headers={"idempotency-key": "once"} if once else {})
            request = site.own.store.queue.find(refusal.headers["x-request-id"], site.key.account_id)
            assert (refusal.status_code, request.ended) == (502, not once)
            assert refusal.headers["x-should-retry"] == ("true" if once else "false")
            assert ("it was cancelled" in refusal.json()["plainly"]) == (not once)
        assert site.account.held == request.billing.price


@pytest.mark.parametrize(
    ("scheme", "given"),
    [("Bearer", "{}"), ("token", "{}"), ("Basic", "x:{}"), ("BASIC", "{}:"), ("basic", "{}")],
)
def test_keys_are_where_its_callers_put_them(site: Website, scheme: str, given: str) -> None:
    secret = given.format(site.secret)
    sent = b64encode(secret.encode()).decode() if scheme.lower() == "basic" else secret
    with httpx2.Client(base_url=site.address, headers={"authorization": f"{scheme} {sent}"}, timeout=60) as client:
        assert client.post(PATH, json={"model": SLUG}).status_code == 400
        assert client.post(f"/v1/{SLUG}", json={}).status_code == (400 if scheme == "Bearer" else 401)


@pytest.mark.parametrize("sent", ["Basic", "Basic !", "Basic /w==", "Basic Og==", "Digest x", "Token", ""])
def test_what_is_no_key_is_refused(site: Website, sent: str) -> None:
    with httpx2.Client(base_url=site.address, headers={"authorization": sent}, timeout=60) as client:
        assert client.post(PATH, json={"model": SLUG}).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", PATH, {"model": SLUG}, 400, "prompt: required"),
        ("POST", PATH, {"model": "none"}, 404, "Model none not found"),
        ("GET", PATH, None, 405, "is not allowed"),
        ("POST", "/v1/plain/other", {}, 404, "Nothing is at"),
    ],
)
def test_so_are_its_errors_whoever_raises_them(
    http: httpx2.Client, method: str, path: str, body: Json | None, status: int, said: str
) -> None:
    refusal = http.request(method, path, json=body)
    assert (refusal.status_code, [*refusal.json()]) == (status, ["plainly"])
    assert said in refusal.json()["plainly"]


def test_without_a_key_too_and_the_vendor_s_stay(site: Website, http: httpx2.Client) -> None:
    with httpx2.Client(base_url=site.address, timeout=60) as anybody:
        assert [*anybody.post(PATH, json={}).json()] == ["plainly"]
    assert {"error", "status_code"} <= http.post("/v1/nothing", json={}).json().keys()
