"""What needs no key and is the same for everybody is made once, however many ask, and given out without a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import Request
from tests.integration.website import Website, serving

from tintype.errors import StoreUnavailable
from tintype.media import samples
from tintype.media.samples import SAMPLES, draw
from tintype.media.samples.canvas import Canvas
from tintype.web.dialects import model_list
from tintype.web.responses import CachedEndpoint


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("constants")) as website:
        yield website


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    with site.http() as client:
        client.headers.pop("x-api-key")
        yield client


def test_a_sample_is_drawn_once_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, drawn = SAMPLES[0], []
    plain = samples.DRAWINGS[path]

    def counted() -> Canvas:
        drawn.append(path)
        return plain()

    monkeypatch.setitem(samples.DRAWINGS, path, counted)
    draw.cache_clear()
    with serving(tmp_path) as site, site.http() as http, ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda method: http.request(method, path), ["GET", "HEAD"] * 16)]
    assert {answer.status_code for answer in answers} == {200}
    assert {len(answer.content) > 10_000 for answer in answers[::2]} == {True}
    assert {answer.headers["content-length"] for answer in answers} == {str(len(answers[0].content))}
    assert drawn == [path]
    draw.cache_clear()


@pytest.mark.parametrize(
    "path", [*SAMPLES, "/v1/models", "/openapi.json", "/about.json", "/inference-model-information/list"]
)
def test_who_has_it_is_told_so(http: httpx2.Client, path: str) -> None:
    first = http.get(path)
    assert first.status_code == 200
    known = http.get(path, headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert http.get(path, headers={"if-none-match": '"other"'}).content == first.content


def test_the_list_of_models_is_made_once_a_while(
    site: Website, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    plain = model_list.all_described

    def counted(*own: Any) -> list[dict[str, object]]:
        made.append(own)
        return plain(*own)

    monkeypatch.setattr(model_list, "all_described", counted)
    first = http.get("/v1/models")
    for _ in range(20):
        assert http.get("/v1/models").content == first.content
    assert len(made) < 20


def ask(site: Website, constant: CachedEndpoint, times: int) -> list[object]:
    """So many calls at once, in one event loop; what each is answered, or why not."""

    async def play() -> list[object]:
        http = Request({"type": "http", "app": site.app, "headers": []})
        asked = (constant.answer(http, site.own.store, site.own.runtime) for _ in range(times))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    return asyncio.run(play())


def test_who_asks_while_it_is_made_waits_for_that(site: Website) -> None:
    calls: list[str] = []

    def make(*_: object) -> bytes:
        calls.append(threading.current_thread().name)
        return b"{}"

    answers = ask(site, CachedEndpoint(make), 50)
    assert len(calls) == 1
    assert calls != [threading.current_thread().name], "off the event loop"
    assert {answer.body for answer in answers} == {b"{}"}  # type: ignore[attr-defined]


def test_what_can_t_be_made_is_tried_again(site: Website) -> None:
    outcomes: list[Callable[[], bytes]] = [lambda: b"{}", _away]
    constant = CachedEndpoint(lambda *_: outcomes.pop()())
    assert {type(answer) for answer in ask(site, constant, 5)} == {StoreUnavailable}
    assert {answer.body for answer in ask(site, constant, 5)} == {b"{}"}  # type: ignore[attr-defined]


def _away() -> bytes:
    raise StoreUnavailable
