"""What a call costs beside its work: how often it changes threads, which takes longer than all its checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from tests.acceptance.test_http_helpers import OLD, TEXT, quick
from tests.integration.website import Website, serving

from tintype.store.accounts.accounts import Accounts
from tintype.web.body import SHORT
from tintype.web.threads import Threads

SAMPLE = "/sd-img2img-input.jpeg"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("costs")) as website:
        yield website


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    """With a key that has just been used."""
    with site.http() as client:
        assert client.get("/v1/get-user-credits").is_success
        yield client


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose work was done in a thread since the test began, once for each time."""
    holders: list[str] = []
    plain = Threads.run

    async def run(self: Threads, holder: str, work: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        holders.append(holder)
        return await plain(self, holder, work, *args, **named)

    monkeypatch.setattr(Threads, "run", run)
    return holders


def test_a_call_changes_threads_once(site: Website, http: httpx2.Client, crossed: list[str]) -> None:
    submitted = http.post(f"/v2/{TEXT}", json=quick())
    assert crossed == [site.account_id], "neither for its key, nor for its body or its credits"
    id = submitted.json()["request_id"]
    for path in (f"/v2/requests/{id}/status", f"/v2/requests/{id}", f"/v1/requests/{id}", "/v1/get-user-credits"):
        crossed.clear()
        assert "x-remaining-credits" in http.get(path).headers
        assert crossed == [site.account_id], path


def test_a_long_body_is_parsed_in_a_thread(http: httpx2.Client, crossed: list[str]) -> None:
    params = {"prompt": "a fox " * (SHORT // 6), "image": SAMPLE}
    assert http.post(f"/v2/{OLD}", json=params).is_success
    assert len(crossed) == 2


def test_a_submit_tells_the_credits_that_its_transaction_leaves(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = http.get("/v1/get-user-credits")
    with monkeypatch.context() as patch:
        patch.delattr(Accounts, "remaining")
        answer = http.post(f"/v2/{OLD}", json={"prompt": "a fox", "image": SAMPLE})
    after = http.get("/v1/get-user-credits")
    assert answer.headers["x-remaining-credits"] == after.headers["x-remaining-credits"]
    assert answer.headers["x-remaining-credits"] != before.headers["x-remaining-credits"]
