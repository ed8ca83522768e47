"""Servers as if on machines of their own: they share a PostgreSQL database and an object storage, and no folder.

Whichever gets a call, and whatever becomes of the database and the storage meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.harness import Server, until
from tests.databases import PostgresServer
from tests.integration.sse import told
from tests.object_storage import ObjectStorage, object_storage
from tests.toy_weights import small_setting
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.accounts.accounts import Accounts

SLUG, PRICE = SD35_TURBO_TXT2IMG.slug, SD35_TURBO_TXT2IMG.price
ASKED = {"prompt": "a fox", "width": 256, "height": 256, "steps": 20, "guidance_scale": 4, "image_format": "png"}
LONG = ASKED | {"steps": 70, "batch_size": 4}


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    with object_storage() as storage:
        yield storage


@pytest.fixture(scope="module")
def running(
    postgres: PostgresServer, storage: ObjectStorage, new_server: Callable[..., Server], weights: Path
) -> Iterator[tuple[Server, Server]]:
    """Two servers with one database and one storage; the first has the worker."""
    url = postgres.empty()
    shared = {"database_url": url, "weights": small_setting(weights), "lease": 5, "storage_patience": 5}
    shared["poll_with_bell"] = 3600  # whatever begins here began because the bell rang
    first = new_server(**shared, **storage.settings).start()
    second = new_server(**shared, **storage.settings, devices="").start()
    yield first, second
    assert second.stop() == 0
    assert first.stop() == 0
    postgres.drop(url)


@pytest.fixture
def pair(running: tuple[Server, Server]) -> Iterator[tuple[Server, Server]]:
    """Both servers; what a test has left undone is cancelled."""
    yield running
    running[0].cancel_all()


def submit(http: httpx2.Client, body: dict[str, object], **headers: str) -> httpx2.Response:
    return http.post(
        f"/v2/{SLUG}", json=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def ended(http: httpx2.Client, id: str) -> str | None:
    """How a request ended; None while it goes on, or while nobody knows."""
    status = http.get(f"/v2/requests/{id}/status").json().get("status")
    return status if status in ("COMPLETED", "FAILED") else None


def test_whichever_server_gets_the_call(pair: tuple[Server, Server]) -> None:
    one, other = (server.http() for server in pair)
    before, _ = pair[0].money()
    sent = submit(one, LONG, idempotency_key="the-same")  # long enough for several heartbeats
    again = submit(other, LONG, idempotency_key="the-same")
    assert sent.json()["request_id"] == again.json()["request_id"]
    events = [event.name for event in told(other, sent.json()["request_id"])]
    assert events[-1] == "completed"
    assert "progress" in events
    picture = other.get(other.get(f"/v2/requests/{sent.json()['request_id']}").json()["output"])
    assert picture.is_success
    assert pair[1].money() == (before - 4 * PRICE, 0)


def test_a_cancel_at_the_other_server(pair: tuple[Server, Server]) -> None:
    one, other = (server.http() for server in pair)
    before = pair[0].money()
    id = submit(one, LONG).json()["request_id"]
    until(lambda: one.get(f"/v2/requests/{id}/status").json().get("step", 0) > 0)
    assert other.delete(f"/v2/requests/{id}").is_success
    until(lambda: ended(one, id) == "FAILED")
    assert pair[0].money() == before


def test_limits_count_together(pair: tuple[Server, Server]) -> None:
    made = pair[0].store()
    with made as db:
        account = Accounts(db).list()[0]
        _, secret = Accounts(db).keys.create(account.id, "slow down", rpm=3)
    both = [server.http(secret) for server in pair]
    answers = [submit(both[number % 2], ASKED).status_code for number in range(5)]
    assert sorted(answers) == [200, 200, 200, 429, 429]


def test_the_database_crashes_and_comes_back(pair: tuple[Server, Server], postgres: PostgresServer) -> None:
    one, other = (server.http() for server in pair)
    before, _ = pair[0].money()
    ids = [submit(one, ASKED | {"steps": 70, "seed": seed}).json()["request_id"] for seed in range(3)]
    until(lambda: one.get(f"/v2/requests/{ids[0]}/status").json().get("step", 0) > 0)
    postgres.stop("immediate")
    refused = submit(other, ASKED)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    postgres.start()
    until(lambda: all(ended(other, id) for id in ids))
    assert [ended(one, id) for id in ids] == ["COMPLETED"] * 3
    assert pair[0].money() == (before - 3 * PRICE, 0)


def test_a_storage_that_is_away_when_a_picture_is_done(pair: tuple[Server, Server], storage: ObjectStorage) -> None:
    http = pair[0].http()
    before, _ = pair[0].money()
    storage.stop()
    in_time = submit(http, ASKED).json()["request_id"]
    until(lambda: http.get(f"/v2/requests/{in_time}/status").json().get("step") == ASKED["steps"])
    storage.start()
    until(lambda: ended(http, in_time))
    assert http.get(http.get(f"/v2/requests/{in_time}").json()["output"]).is_success
    assert pair[0].money() == (before - PRICE, 0)


def test_a_storage_that_stays_away(pair: tuple[Server, Server], storage: ObjectStorage) -> None:
    http = pair[0].http()
    before, _ = pair[0].money()
    storage.stop()
    waits = submit(http, ASKED).json()["request_id"]
    until(lambda: pair[0].seen_worker().paused)
    assert http.get(f"/v2/requests/{waits}/status").json()["status"] == "QUEUED"
    storage.start()
    until(lambda: ended(http, waits))
    assert http.get(http.get(f"/v2/requests/{waits}").json()["output"]).is_success
    assert pair[0].money() == (before - PRICE, 0)
