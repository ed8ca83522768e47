"""A storage of pictures that refuses: workers pause and say so, nothing fails, and all is done once it is back."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import gradient
from tests.object_storage import ObjectStorage, object_storage
from tests.small_disk import small_disk
from tests.toy_weights import small_setting
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database
from tintype.store.db.tables import requests

SLUG, PRICE = SD35_TURBO_TXT2IMG.slug, SD35_TURBO_TXT2IMG.price
ASKED = {"prompt": "a fox", "width": 256, "height": 256, "steps": 4, "guidance_scale": 1, "image_format": "png"}
#: Twice as many as the worker takes at once, so that some are done and some wait.
MANY = 8


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    with object_storage() as storage:
        yield storage


@pytest.fixture(scope="module")
def server(storage: ObjectStorage, new_server: Callable[..., Server], weights: Path) -> Iterator[Server]:
    """As README has it: the bucket in the settings, its keys in AWS_…."""
    place = {name: value for name, value in storage.settings.items() if name in ("storage_url", "storage_endpoint")}
    server = new_server(**place, weights=small_setting(weights), sync_wait=2, sweep=1, metrics="open", max_pictures=4)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield server.start()
    assert server.stop() == 0


def statuses(db: Database, ids: list[str]) -> Counter[str]:
    with db.read() as view:
        return Counter(view.scalars(select(requests.c.status).where(requests.c.id.in_(ids))))


def submitted(http: httpx2.Client, **more: Any) -> str:
    return str(http.post(f"/v2/{SLUG}", json=ASKED, **more).json()["request_id"])


def workers(http: httpx2.Client, state: str) -> float:
    """How many there are by `/metrics`."""
    line = f'tintype_workers{{state="{state}"}} '
    return float(next(one for one in http.get("/metrics").text.splitlines() if one.startswith(line)).split()[-1])


def lines(server: Server, since: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text()[since:].splitlines() if line.startswith("{")]


def a_pause(server: Server, db: Database, begin: Callable[[], object], end: Callable[[], object], why: str) -> None:
    """The storage begins to refuse under load, and ends to."""
    http, before = server.http(), server.money()
    since = len(server.log.read_text())
    ids = [submitted(http) for _ in range(MANY)]
    until(lambda: statuses(db, ids)["COMPLETED"] > 0)
    begin()
    until(lambda: workers(http, "paused") == 1)
    until(lambda: not http.get("/ready").json()["worker"])  # what it found last counts for a second
    ready = http.get("/ready")
    assert (ready.status_code, ready.json()["worker"]) == (503, False)
    assert (server.seen_worker().paused or "").startswith(why)
    until(lambda: not statuses(db, ids)["PROCESSING"])
    assert set(statuses(db, ids)) == {"COMPLETED", "QUEUED"}
    overdue = submitted(http, headers={"Cancel-After": "0.5"})
    call = http.post(f"/v1/{SLUG}", json=ASKED)
    assert (call.status_code, call.headers["x-should-retry"]) == (502, "false")
    assert "Images can't be stored" in call.json()["error"]
    ids.append(call.headers["x-request-id"])
    until(lambda: statuses(db, [overdue])["FAILED"] == 1)
    for told in (ready, call):
        assert "bucket" not in told.text
    end()
    until(lambda: statuses(db, ids) == {"COMPLETED": MANY + 1})
    until(lambda: http.get("/ready").is_success)  # what it found last counts for a second
    assert server.money() == (before[0] - PRICE * (MANY + 1), 0)
    assert Accounts(db).imbalances() == []
    told = Counter(line["event"] for line in lines(server, since))
    assert told["paused: the storage of pictures can't be used"] == 1
    assert told["the storage of pictures can be used; work goes on"] == 1
    assert not {event for event in told if "failed" in event or "unforeseen" in event}
    assert {told[event] for event in told if "can't be" in event} == {1}, "a state is told once"
    assert "Traceback" not in server.log.read_text()


def test_a_bucket_that_is_gone(server: Server, storage: ObjectStorage) -> None:
    with server.store() as db:
        a_pause(server, db, storage.lose_bucket, storage.make_bucket, "there is no such bucket")


@pytest.mark.nightly
def test_a_key_that_is_taken_away(server: Server, storage: ObjectStorage) -> None:
    def take() -> None:
        storage.know_no_key()
        picture = base64.b64encode(gradient(64, 64)).decode()
        refused = server.http().post("/upload-asset", json={"data_urls": [f"data:image/png;base64,{picture}"]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")

    def give() -> None:
        storage.know_no_key(whosever=False)

    with server.store() as db:
        a_pause(server, db, take, give, "the key is wrong, or may not write there")


@pytest.fixture
def disk(tmp_path: Path) -> AbstractContextManager[Any]:
    return small_disk(tmp_path / "disk", megabytes=8)


@pytest.mark.nightly  # test_readiness has a full disk refuse what is put there; what the worker does is as above
def test_a_disk_that_is_full(disk: AbstractContextManager[Any], tmp_path: Path, weights: Path) -> None:
    quick = {"sync_wait": 2, "sweep": 1, "metrics": "open", "max_pictures": 4}
    with disk as small:
        server = Server(
            small.folder / "data",
            database_url=f"sqlite:///{tmp_path}/store.db",
            weights=small_setting(weights),
            **quick,
        )
        server.log = tmp_path / "server.log"
        server.start()
        try:
            with server.store() as db:
                a_pause(server, db, small.fill, small.free, "the disk is full")
        finally:
            assert server.stop() == 0
