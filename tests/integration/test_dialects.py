"""A dialect is one object: its addresses, bodies, answers and errors, over the queue that all have."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from tests.acceptance.harness import until
from tests.integration.website import Website, serving

from tintype.catalog.spec import Catalogue, ModelSpec, Parsed
from tintype.core import Json
from tintype.errors import TintypeError
from tintype.web import app
from tintype.web.generate import answers
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.submit import CallDep, generate
from tintype.web.threads import Threaded

PATH, SLUG = "/v1/plain/images", "stable-diffusion-3.5-turbo-txt2img"


class Plain:
    """Asks for images by `text`, and is answered in lines of text."""

    waits = True

    def owns(self, path: str) -> bool:
        return path.startswith("/v1/plain/")

    def routes(self, catalogue: Catalogue) -> APIRouter:
        router = APIRouter(route_class=Threaded)

        @router.post(PATH)
        async def images(call: CallDep) -> Response:
            return await generate(call, self, lambda body: catalogue.find(body["model"]))

        return router

    def parse(self, spec: ModelSpec, body: Json, /) -> Parsed:
        return spec.parse({"prompt": body.get("text"), "batch_size": body.get("how_many")})

    def render(self, call: Call, accepted: Accepted) -> Response:
        if accepted.request.result is None:
            raise answers.failure(accepted.request)
        names = [f"{call.base}/files/{one.name}" for one in accepted.request.result.outputs]
        return PlainTextResponse("\n".join(names), headers=accepted.headers)

    def error(self, error: TintypeError) -> Response:
        return JSONResponse({"plainly": error.message}, error.status, error.public_headers())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "DIALECTS", (Plain(), *app.DIALECTS))
        with serving(tmp_path_factory.mktemp("dialects")) as website:
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
    with httpx2.Client(base_url=site.address) as anybody:
        assert [*anybody.post(PATH, json={}).json()] == ["plainly"]
    assert {"error", "status_code"} <= http.post("/v1/nothing", json={}).json().keys()
