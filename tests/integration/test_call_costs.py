"""What a call costs beside its work: how often it changes threads, which takes longer than all its checks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx2
import pytest
from sqlalchemy import Connection, event
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import OLD, TEXT, quick
from tests.integration.website import Website, serving

from tintype.store.accounts.accounts import Accounts
from tintype.web.body import SHORT
from tintype.web.generate.submit import submit_together
from tintype.web.threads import Threads

SAMPLE = "/sd-img2img-input.jpeg"
SEVERAL, LONG = 6, 60.0
#: On the clock of what is known of keys.
MOMENT = 1e6


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("costs")) as website:
        yield website


@pytest.fixture
def http(site: Website, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx2.Client]:
    """With a key that has just been used, however long the test takes."""
    monkeypatch.setattr(site.own.store.accounts.keys.cache, "_clock", lambda: MOMENT)
    with site.http() as client:
        assert client.get("/v1/get-user-credits").is_success
        yield client


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """What was done in a thread since the test began."""
    works: list[Callable[[], Any]] = []
    plain = Threads.start

    def start(self: Threads, work: Callable[[], Any]) -> asyncio.Future[Any]:
        works.append(work)
        return plain(self, work)

    monkeypatch.setattr(Threads, "start", start)
    return works


def test_a_call_changes_threads_once(http: httpx2.Client, crossed: list[Callable[[], Any]]) -> None:
    submitted = http.post(f"/v2/{TEXT}", json=quick())
    assert len(crossed) == 1, "neither for its key, nor for its body or its credits"
    id = submitted.json()["request_id"]
    for path in (f"/v2/requests/{id}/status", f"/v2/requests/{id}", f"/v1/requests/{id}", "/v1/get-user-credits"):
        crossed.clear()
        assert "x-remaining-credits" in http.get(path).headers
        assert len(crossed) == 1, path


def bunches(crossed: list[Callable[[], Any]]) -> list[int]:
    """How many submits each thread has made; others may have looked up a key, or the credits that a refusal tells."""
    jobs = [work for work in crossed if isinstance(work, partial) and work.func is submit_together]
    return [len(job.args[1]) for job in jobs]


def test_submits_that_come_together_share_a_thread_and_a_commit(
    site: Website, http: httpx2.Client, crossed: list[Callable[[], Any]]
) -> None:
    """Those that find the lock taken; what is wrong with one is told to its caller alone."""
    asked = [quick() for _ in range(SEVERAL)] + [quick(width=7), quick(image_format="gif")]
    commits: list[str] = []

    def commit(_: Connection) -> None:
        commits.append(threading.current_thread().name)

    with ThreadPoolExecutor(len(asked) + 1) as callers:
        with site.own.store.db.write():
            first = callers.submit(http.post, f"/v2/{TEXT}", json=quick())
            until(lambda: len(bunches(crossed)) == 1, LONG)
            calls = [callers.submit(http.post, f"/v2/{TEXT}", json=one) for one in asked]
            until(lambda: sum(map(len, site.app.state.submissions._waiting.values())) == len(asked), LONG)
            event.listen(site.own.store.db._engine, "commit", commit)
        answers = [one.result() for one in (first, *calls)]
    event.remove(site.own.store.db._engine, "commit", commit)
    assert [one.status_code for one in answers] == [200] * (1 + SEVERAL) + [400, 400]
    assert len({one.json().get("request_id") for one in answers[: 1 + SEVERAL]}) == 1 + SEVERAL
    assert bunches(crossed) == [1, len(asked)], "the first one, and all others"
    assert commits.count("call") <= 2, "beside the lock's holder's, and whatever the server itself looks after"
    remaining = sorted(float(one.headers["x-remaining-credits"]) for one in answers[: 1 + SEVERAL])
    assert len({*remaining}) == 1 + SEVERAL, "each tells what its own hold has left"


def test_a_long_body_is_parsed_in_a_thread(http: httpx2.Client, crossed: list[Callable[[], Any]]) -> None:
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
