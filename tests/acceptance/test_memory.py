"""Loading and leaving: x-cold-start, warming, what is too large, on a worker whose models leave when they rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import new_key, same
from tintype.catalog.models import SD3_MEDIUM_IMG2IMG, SD35_TURBO_TXT2IMG

TEXT = SD35_TURBO_TXT2IMG.slug
SMALL: dict[str, Any] = {
    "prompt": "a fox",
    "width": 64,
    "height": 64,
    "steps": 2,
    "seed": 7,
    "image_format": "png",
    "exact": True,
}
WARM = f"/v2/models/{TEXT}/warm"


@pytest.fixture(scope="module")
def server(new_server: Callable[..., Server]) -> Server:
    """Less than a picture of a megapixel would take; weights leave after four seconds, and no prompt is kept."""
    return new_server(memory=0.5, keep_alive=4, prompt_cache=0).start()


@pytest.fixture(scope="module")
def http(server: Server) -> httpx2.Client:
    return server.http()


def state(http: httpx2.Client) -> str:
    time.sleep(0.2)
    found: str = http.get(WARM).json()["state"]
    return found


def rest(http: httpx2.Client) -> None:
    """Wait until all of the model is known to be loaded, and then until it has left."""
    http.post(WARM)
    until(lambda: state(http) == "WARM")
    until(lambda: state(http) == "COLD")


def draw(http: httpx2.Client, **changes: Any) -> httpx2.Response:
    return http.post(f"/v1/{TEXT}", json=SMALL | changes)


def test_the_first_picture_waits_for_its_model_and_the_next_does_not(http: httpx2.Client) -> None:
    """And the one after the model has left gets the same picture, to the bit."""
    rest(http)
    first, second = draw(http), draw(http)
    assert float(first.headers["x-cold-start"]) > 0
    rest(http)
    third = draw(http)
    assert float(third.headers["x-cold-start"]) > 0
    assert same(first.content, second.content)
    assert same(first.content, third.content)
    assert "x-cold-start" not in second.headers


def test_a_model_that_was_warmed_is_there_for_the_first_picture(http: httpx2.Client) -> None:
    rest(http)
    asked = http.post(WARM)
    assert asked.status_code == 202
    assert asked.json()["state"] == "WARMING"
    assert [worker["device"] for worker in asked.json()["workers"]] == ["cpu"]
    until(lambda: state(http) == "WARM")
    loaded = [worker["seconds"] for worker in http.get(WARM).json()["workers"]]
    assert loaded != [None]
    answer = draw(http)
    assert answer.is_success
    assert "x-cold-start" not in answer.headers


def test_what_can_never_fit_fails_at_once_and_costs_nothing(server: Server, http: httpx2.Client) -> None:
    before = server.money()
    answer = draw(http, width=2048, height=2048)
    assert answer.status_code == 507
    assert "GB of memory, and this server has" in answer.json()["error"]
    assert answer.headers["x-should-retry"] == "false"
    assert server.money() == before
    assert draw(http).is_success


def test_warming_needs_a_key_that_may_run_the_model(server: Server, http: httpx2.Client) -> None:
    other = server.http(new_key(server, 1, models=[SD3_MEDIUM_IMG2IMG.slug]))
    assert other.post(WARM).status_code == 403
    state = other.get(WARM)
    assert state.status_code == 200
    assert "mode" not in state.json(), "that is for test keys"
    assert http.post("/v2/models/nothing/warm").status_code == 404
    assert server.http(None).post(WARM).status_code == 401
