"""History and uploads over HTTP: filters, pages and windows, what outlives what, limits of uploads."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from sqlalchemy import select, update
from tests.acceptance.test_http_helpers import refused
from tests.databases import moved_clock
from tests.image_files import saved
from tests.integration.website import Website, serving
from tests.stores import a_result

from tintype.core import LoggedFile
from tintype.errors import BadRequest
from tintype.store.accounts.uploads import MIN_COUNTED, Upload
from tintype.store.db import facts
from tintype.store.db.database import read_clock
from tintype.store.db.tables import assets, history, requests

HISTORY = "/inference-request/request-history"
GENERATIONS = "/inference-request/generations"
DAY = 86_400
OLD, NEW = "sd1.5-img2img", "sd3-med-img2img"


@pytest.fixture
def web(tmp_path: Path, url: str) -> Iterator[Website]:
    with serving(tmp_path, database_url=url, upload_quota=3 * MIN_COUNTED - 1) as site:
        yield site


@pytest.fixture
def http(web: Website) -> Iterator[httpx2.Client]:
    with web.http() as client:
        yield client


def completed(web: Website, slug: str = OLD, pictures: int = 1, **params: Any) -> str:
    web.submit(slug, params={"prompt": "a fox", **params})
    request = web.claim()
    web.complete(request, pictures)
    return request.id


def failed(web: Website, slug: str = OLD) -> str:
    web.submit(slug)
    request = web.claim()
    web.own.store.leases.fail(request.id, request.attempt, "no such picture", 400)
    return request.id


def age(web: Website, request_id: str, days: float) -> None:
    """Let a request have been submitted that long ago."""
    with web.own.store.db.write() as tx:
        then = read_clock(tx) - days * DAY
        tx.execute(update(requests).where(requests.c.id == request_id).values(submitted_at=then, ended_at=then))


def outlive(web: Website) -> None:
    """Let the hour of every ended record be over."""
    with moved_clock(web.own.store.db, web.own.runtime.settings.retention.record_ttl):
        web.own.store.queue.expire()


def rows(http: httpx2.Client, path: str = HISTORY, **query: Any) -> list[dict[str, Any]]:
    response = http.get(path, params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["data"])


def ids(http: httpx2.Client, path: str = HISTORY, **query: Any) -> list[str]:
    return [row["request_id"] for row in rows(http, path, **query)]


def day(ago: float) -> str:
    return (datetime.now(UTC) - timedelta(days=ago)).date().isoformat()


def test_a_row_of_each_kind(web: Website, http: httpx2.Client) -> None:
    waiting, done, bad = web.submit().id, "", ""
    web.own.store.queue.cancel(waiting, web.account_id)
    done, bad = completed(web, pictures=2, image="file:abc.in"), failed(web)
    waiting = web.submit().id
    by_id = {row["request_id"]: row for row in rows(http)}
    row = by_id[done]
    assert (row["model_name"], row["model_status"], row["credits_deduction"]) == (OLD, "COMPLETED", 0.001)
    assert row["request_body"] == {"prompt": "a fox", "image": None}
    assert len(row["generation_urls"]) == 2
    assert http.get(row["generation_url"]).content == b"picture"
    assert row["latency_ms"] >= 0
    assert "error" not in row
    assert (by_id[bad]["model_status"], by_id[bad]["error"]) == ("FAILED", "no such picture")
    assert by_id[bad]["credits_deduction"] == 0
    assert (by_id[waiting]["model_status"], by_id[waiting]["latency_ms"]) == ("PENDING", None)
    assert http.get(f"{HISTORY}/{done}").json() == row


def test_history_outlives_the_record_and_files_have_a_life_of_their_own(web: Website, http: httpx2.Client) -> None:
    done, bad = completed(web), failed(web)
    before = rows(http)
    outlive(web)
    refused(http.get(f"/v2/requests/{done}"), 404, "not found")
    assert rows(http) == before
    with web.own.store.db.write() as tx:
        facts.write(tx, facts.IMAGES, since=read_clock(tx), begun=0.0, listed_at=0.0)
    gone = http.get(f"{HISTORY}/{done}").json()
    assert (gone["generation_url"], gone["generation_urls"], gone["model_status"]) == (None, [], "COMPLETED")
    with web.own.store.db.write() as tx:
        tx.execute(update(history).where(history.c.id == bad).values(ended_at=read_clock(tx) - 91 * DAY))
    assert web.own.store.queue.history.expire() == 1
    refused(http.get(f"{HISTORY}/{bad}"), 404, f"Request {bad} not found")
    assert ids(http) == [done]


def test_what_the_log_of_images_knows_goes_with_history_and_then_altogether(web: Website) -> None:
    """As the cleanup has it, which runs again and again."""
    file, log = LoggedFile(b"d" * 32, b"number"), web.own.store.image_log
    web.submit(OLD)
    request = web.claim()
    assert web.store.leases.complete(request.id, request.attempt, a_result(), 4, [file])
    web.clean_up()
    [entry] = log.of_number(b"number")
    assert entry.request_id == request.id
    outlive(web)
    for days, ids in ((91, [None]), (366, [])):
        with moved_clock(web.own.store.db, days * DAY):
            web.clean_up()
        assert [one.request_id for one in log.of_number(b"number")] == ids


def test_pages_over_records_and_history_together(web: Website, http: httpx2.Client) -> None:
    old = [completed(web) for _ in range(3)]
    for index, request_id in enumerate(old):
        age(web, request_id, 2 - index / 10)
    outlive(web)
    expected = [*old, *(completed(web) for _ in range(2))][::-1]
    assert ids(http) == expected
    paged = [ids(http, per_page=2, page=page) for page in (1, 2, 3, 4)]
    assert paged == [expected[:2], expected[2:4], expected[4:], []]
    body = http.get(HISTORY, params={"per_page": 2}).json()
    assert (body["page"], body["per_page"], body["total"], body["total_pages"]) == (1, 2, 5, 3)
    assert ids(http, sort_order="asc") == expected[::-1]


def test_filters_and_sorting(web: Website, http: httpx2.Client) -> None:
    done, bad, other = completed(web), failed(web), completed(web, NEW)
    waiting = web.submit().id
    assert set(ids(http, status="COMPLETED")) == {done, other}
    assert ids(http, status="FAILED") == [bad]
    assert ids(http, status="PENDING") == [waiting]
    assert ids(http, model_name="sd3-med") == [other]
    assert ids(http, model_name="%") == []
    assert ids(http, sort_by="model_name")[0] == other
    assert ids(http, user_id=web.account_id) == ids(http)


def test_the_window(web: Website, http: httpx2.Client) -> None:
    recent, week, month = completed(web), completed(web), completed(web)
    age(web, week, 8)
    age(web, month, 40)
    assert ids(http) == [recent]
    assert set(ids(http, from_date=day(20))) == {recent, week}
    assert ids(http, from_date=day(60), to_date=day(31)) == [month]
    assert set(ids(http, GENERATIONS)) == {recent, week, month}
    assert ids(http, GENERATIONS, end_date=day(30)) == [month]
    assert ids(http, GENERATIONS, start_date=day(3)) == [recent]
    refused(http.get(HISTORY, params={"from_date": day(31)}), 400, "from_date")
    assert http.get(HISTORY, params={"from_date": day(30)}).status_code == 200
    refused(http.get(HISTORY, params={"from_date": day(1), "to_date": day(2)}), 400, "from_date")


def test_days_at_the_ends_of_time_are_days(http: httpx2.Client) -> None:
    assert ids(http, to_date="0001-01-01") == ids(http, from_date="9999-12-31", to_date="9999-12-31") == []


def test_generations_are_those_with_pictures(web: Website, http: httpx2.Client) -> None:
    done = completed(web)
    failed(web)
    web.submit()
    [row] = rows(http, GENERATIONS)
    assert (row["request_id"], row["status"], row["prompt"]) == (done, "COMPLETED", "a fox")
    assert ids(http, "/inference-request/recent-generations", model_name=OLD) == [done]
    assert ids(http, "/inference-request/recent-generations", model_name=NEW) == []
    refused(http.get("/inference-request/recent-generations"), 400, "model_name: required")


def test_nobody_sees_another_accounts(web: Website, http: httpx2.Client) -> None:
    done = completed(web)
    outlive(web)
    _, secret = web.own.store.accounts.keys.create(web.own.store.accounts.create("other", 0).id, "key")
    with web.http(secret) as stranger:
        assert ids(stranger) == []
        refused(stranger.get(f"{HISTORY}/{done}"), 404, "not found")
        refused(stranger.get(HISTORY, params={"user_id": web.account_id}), 403, "own account")
    refused(http.get(HISTORY, params={"user_email": "a@b.example"}), 403, "own account")


def test_models_and_account_under_the_vendors_addresses(web: Website, http: httpx2.Client) -> None:
    [listed] = http.get("/inference-model-information/list").json().values()
    assert listed == http.get("/v1/models").json()["models"]
    assert {"title", "type", "slug", "description", "parameters"} <= listed[0].keys()
    account = http.get("/api/auth/authenticate").json()
    assert (account["id"], account["name"], account["credits"]) == (web.account_id, "one", 1.0)
    assert web.secret not in str(account)


# Uploads


def picture(format: str = "PNG", size: int = 8) -> str:
    data = saved(Image.new("RGB", (size, size), "red"), format)
    return f"data:image/{format.lower()};base64,{base64.b64encode(data).decode()}"


def test_an_upload_is_served_and_can_be_an_input(web: Website, http: httpx2.Client) -> None:
    answer = http.post("/upload-asset", json={"data_urls": [picture(), picture("JPEG")]}).json()
    png, jpeg = answer["file_urls"]
    assert png.startswith(web.address)
    assert "2 uploaded" in answer["message"]
    assert (http.get(png).headers["content-type"], http.get(jpeg).headers["content-type"]) == (
        "image/png",
        "image/jpeg",
    )
    submitted = http.post(f"/v2/{OLD}", json={"prompt": "a fox", "image": png})
    assert submitted.status_code == 200, submitted.text
    id = submitted.json()["request_id"]
    assert web.own.store.queue.find(id, web.account_id).params["image"] == png.removeprefix(web.address)
    assert http.get(f"{HISTORY}/{id}").json()["request_body"]["image"] == png.removeprefix(web.address)
    assert list(web.own.runtime.settings.inputs_folder.iterdir()) == [], "it is referred to, not copied"


def test_one_upload_needs_no_list(web: Website, http: httpx2.Client) -> None:
    file = {"data_urls": ("photo.png", saved(Image.new("RGB", (8, 8), "red")))}
    for answer in (
        http.post("/upload-asset", json={"data_urls": picture()}),
        http.post("/upload-asset", files=file),
    ):
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["file_urls"]) == 1
    assert len(list(web.own.runtime.settings.assets_folder.iterdir())) == 2


def test_files_count_not_only_their_bytes(web: Website) -> None:
    """Of the quota of one byte less than three of the least."""
    add = web.own.store.uploads.add
    for refused_ones in ([1, 1, 1], [1, 2 * MIN_COUNTED], [3 * MIN_COUNTED]):
        with pytest.raises(BadRequest):
            add(web.account_id, [Upload(f"{size}-{index}", size, 1, 1) for index, size in enumerate(refused_ones)])
    add(web.account_id, [Upload("a", 1, 1, 1), Upload("b", 2 * MIN_COUNTED - 1, 1, 1)])
    with pytest.raises(BadRequest, match=f"{MIN_COUNTED} bytes were sent, and {3 * MIN_COUNTED - 1} are taken"):
        add(web.account_id, [Upload("c", 1, 1, 1)])


def test_all_or_none_within_the_quota(web: Website, http: httpx2.Client) -> None:
    refused(http.post("/upload-asset", json={"data_urls": [picture(), "data:image/png;base64,AAAA"]}), 400, "[1]")
    assert list(web.own.runtime.settings.assets_folder.iterdir()) == []
    large = picture("BMP", 24)  # about 1800 bytes, which count as more
    assert http.post("/upload-asset", json={"data_urls": [large, large]}).status_code == 200
    refused(
        http.post("/upload-asset", json={"data_urls": [large]}),
        400,
        f"uploads may have {3 * MIN_COUNTED - 1}; a file counts as {MIN_COUNTED}",
    )
    assert len(list(web.own.runtime.settings.assets_folder.iterdir())) == 2
    web.own.store.db.move_clock(web.own.runtime.settings.retention.upload_ttl)
    assert http.post("/upload-asset", json={"data_urls": [large]}).status_code == 200, "what expired takes no room"
    assert web.own.store.uploads.expire() == 2
    with web.own.store.db.read() as view:
        assert len(view.execute(select(assets)).all()) == 1


def test_a_reader_uploads_nothing(web: Website) -> None:
    _, secret = web.own.store.accounts.keys.create(web.account_id, "looker", read_only=True)
    with web.http(secret) as looker:
        refused(looker.post("/upload-asset", json={"data_urls": [picture()]}), 403, "only read")
