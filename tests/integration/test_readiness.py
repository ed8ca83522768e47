"""Three questions: whether a process lives, whether it can take calls, and whether requests can be run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import refused
from tests.integration.website import PATIENT, Website, serving
from tests.object_storage import object_storage
from tests.small_disk import small_disk

from tintype.errors import StoreUnavailable

PARTS = ("worker", "database", "storage", "stopping", "paused")
ALL_WELL = (True, True, True, False, False)
NO_STORAGE = (True, True, False, False, False)
NO_DATABASE = (None, False, True, False, False)
#: Who asks at the same time.
CROWD = 40


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("data"), **PATIENT) as site:
        yield site


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
    with httpx2.Client(base_url=site.address, timeout=60) as client:  # without a key
        until(lambda: client.get("/ready").is_success)
        yield client


def parts(answer: httpx2.Response) -> tuple[bool | None, ...]:
    assert answer.json()["ready"] == (answer.status_code == 200)
    return tuple(answer.json()[part] for part in PARTS)


def missing(http: httpx2.Client, words: str, wanted: tuple[bool | None, ...], path: str = "/ready") -> None:
    """Wait until these words are said, and just that of it; on a busy machine, more is missing for a moment."""
    answers: list[httpx2.Response] = []

    def said() -> bool:
        answers.append(http.get(path))
        return words in answers[-1].json().get("error", "") and parts(answers[-1]) == wanted

    until(said)
    answer = answers[-1]
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")
    assert int(answer.headers["retry-after"]) > 0


def test_the_three_questions(site: Website, http: httpx2.Client) -> None:
    assert parts(http.get("/ready")) == parts(http.get("/ready?web")) == ALL_WELL
    site.own.store.ops.workers.leave("w1")
    missing(http, "no worker takes requests", (False, *ALL_WELL[1:]))
    assert parts(http.get("/ready?web")) == (False, *ALL_WELL[1:])
    assert http.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize("query", ["?web", "?web=", "?web=true", "?web=false", "?other=1", "?web&other"])
def test_how_it_is_asked(http: httpx2.Client, query: str) -> None:
    for method in ("GET", "HEAD"):
        answer = http.request(method, f"/ready{query}")
        assert (answer.status_code, bool(answer.content)) == (200, method == "GET")


@pytest.mark.parametrize("query", ["?web=maybe", "?web=1", "?web=true&web=false"])
def test_what_can_t_be_meant_is_refused(http: httpx2.Client, query: str) -> None:
    refused(http.get(f"/ready{query}"), 400, "web")


def test_a_crowd_costs_one_look_and_one_that_hangs_is_waited_for_by_nobody(
    site: Website, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    go_on = threading.Event()

    def hanging() -> None:
        looks.append(None)
        go_on.wait()

    readiness = site.own.runtime.readiness
    monkeypatch.setattr(readiness._storage, "probe", hanging)
    # Of the database it stays known what it is, however long the machine takes for the crowd.
    monkeypatch.setattr(readiness._database, "_ttl", lambda _: 600.0)
    with ThreadPoolExecutor(CROWD) as threads:
        try:
            until(lambda: parts(http.get("/ready")) == NO_STORAGE)
            answers = list(threads.map(lambda _: httpx2.get(f"{site.address}/ready?web", timeout=60), range(CROWD)))
        finally:
            go_on.set()
            readiness._database._expires = 0.0
    assert {parts(answer) for answer in answers} == {NO_STORAGE}
    assert len(looks) == 1
    until(lambda: http.get("/ready?web").is_success)


def test_a_database_without_room_is_told_from_a_storage_without(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        data, url = tmp_path / "data", f"sqlite:///{disk.folder}/store.db"
        with serving(data, database_url=url, **PATIENT) as site, site.http() as http:
            site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
            until(lambda: http.get("/ready").is_success)
            with disk.full(site.own.store.db):
                with pytest.raises(StoreUnavailable):
                    site.own.runtime.readiness.keep_samples(force=True)
                missing(http, "its database is away, or takes no writes", NO_DATABASE)
                missing(http, "its database", NO_DATABASE, "/ready?web")
            until(lambda: http.get("/ready").is_success)


def test_a_change_that_was_refused_tells_at_once(tmp_path: Path) -> None:
    """Not at the next ten seconds' figures: until then each call would come here, to be refused."""
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        data, url = tmp_path / "data", f"sqlite:///{disk.folder}/store.db"
        with serving(data, database_url=url, **PATIENT) as site, site.http() as http:
            site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
            site.own.runtime.readiness.keep_samples(force=True)
            until(lambda: http.get("/ready").is_success)
            with disk.full(site.own.store.db):
                with pytest.raises(StoreUnavailable):
                    site.own.store.accounts.create("x" * 100_000, 1)
                missing(http, "its database is away, or takes no writes", NO_DATABASE, "/ready?web")
            until(lambda: http.get("/ready?web").is_success)


def test_a_storage_without_room(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", megabytes=2) as disk,
        serving(disk.folder / "data", database_url=f"sqlite:///{tmp_path}/store.db", **PATIENT) as site,
        site.http() as http,
    ):
        site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
        disk.fill()
        missing(http, "its storage of pictures is away, or takes no writes", NO_STORAGE)
        disk.free()
        until(lambda: http.get("/ready?web").is_success)
        assert list((disk.folder / "data/outputs").iterdir()) == []


def test_a_bucket_that_is_away_or_gone(tmp_path: Path) -> None:
    with object_storage() as storage:
        for settings, there in (({}, True), ({"storage_url": "s3://nowhere/tintype"}, False)):
            told: dict[str, Any] = storage.settings | settings | PATIENT
            with serving(tmp_path / str(there), **told) as site, site.http() as http:
                site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
                until(lambda: http.get("/ready").is_success == there)  # noqa: B023
                if there:
                    storage.stop()
                    missing(http, "its storage", NO_STORAGE)
                    storage.start()
                    until(lambda: http.get("/ready?web").is_success)
                else:
                    missing(http, "its storage", NO_STORAGE)
