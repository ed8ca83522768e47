"""An account's images over HTTP: listed, found, kept and deleted, downloaded together; what becomes of their files."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx2
import pytest
from sqlalchemy import delete, insert, select, update
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import refused
from tests.databases import asked_of, moved_clock
from tests.integration.website import Website, serving

from tintype.media.storage import Files
from tintype.store.accounts.uploads import MIN_COUNTED
from tintype.store.db import facts, measurements, tables
from tintype.store.db.database import read_clock
from tintype.store.db.tables import history, image_marks, outputs, previews
from tintype.store.queue.images import GRACE
from tintype.store.queue.progress import Preview

IMAGES = "/v2/images"
DAY = 86_400
OLD, NEW = "sd1.5-img2img", "sd3-med-img2img"


@pytest.fixture
def web(tmp_path: Path, url: str) -> Iterator[Website]:
    with serving(tmp_path, database_url=url) as site:
        long_running(site)
        yield site


@pytest.fixture
def http(web: Website) -> Iterator[httpx2.Client]:
    with web.http() as client:
        yield client


def long_running(site: Website) -> None:
    """Let this version have served the database for longer than any image is old."""
    with site.own.store.db.write() as tx:
        facts.write(tx, facts.IMAGES, since=0.0, begun=0.0, listed_at=0.0)


def made(web: Website, slug: str = OLD, images: int = 1, **params: Any) -> str:
    """The id of a completed request."""
    web.submit(slug, params={"prompt": "a fox", **params})
    request = web.claim()
    web.complete(request, images)
    return request.id


def age(web: Website, request_id: str, days: float) -> None:
    """Let a request, which is in the history, have been submitted and ended that long ago."""
    with web.own.store.db.write() as tx:
        then = read_clock(tx) - days * DAY
        tx.execute(update(history).where(history.c.id == request_id).values(submitted_at=then, ended_at=then))


def outlive(web: Website) -> None:
    """Let the hour of every ended record be over."""
    with moved_clock(web.own.store.db, web.own.runtime.settings.retention.record_ttl):
        web.own.store.queue.expire()


def images(http: httpx2.Client, **query: Any) -> list[dict[str, Any]]:
    response = http.get(IMAGES, params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["images"])


def ids(http: httpx2.Client, **query: Any) -> list[str]:
    return [one["request_id"] for one in images(http, **query)]


def pages(http: httpx2.Client, **query: Any) -> list[list[str]]:
    """The names of every page."""
    found, cursor = [], {}
    while True:
        page = http.get(IMAGES, params={**query, **cursor}).json()
        found.append([one["name"] for one in page["images"]])
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_an_image_with_what_it_was_made_of_outlives_its_record(web: Website, http: httpx2.Client) -> None:
    sample = "/sd-img2img-input.jpeg"
    done = made(web, images=2, image=sample, seed=-1)
    before = images(http)
    second, first = before[::-1]
    assert [first["request_id"], second["request_id"]] == [done, done]
    assert (first["model"], first["prompt"], first["seed"], first["parameters"]["seed"]) == (OLD, "a fox", "7", 7)
    assert (first["width"], first["height"], first["bytes"], first["cost"]) == (8, 8, 7, 0.0005)
    assert (first["input_url"], first["kept"], first["inference_time"]) == (sample, False, 1.5)
    assert first["kept_until"][:10] > first["created_at"][:10]
    outlive(web)
    refused(http.get(f"/v2/requests/{done}"), 404, "not found")
    assert images(http) == before
    assert http.get(first["url"]).content == b"picture"
    age(web, done, 31)
    assert images(http) == []
    refused(http.get(IMAGES, params={"name": first["name"]}), 404, f"Image {first['name']} expired on")


def test_pages_end_within_a_request_and_between_record_and_history(web: Website, http: httpx2.Client) -> None:
    for number in (3, 1, 4):
        made(web, images=number)
    outlive(web)
    made(web, images=2)
    everything = [one["name"] for one in images(http)]
    assert len(everything) == 10
    for size in (1, 2, 3, 5, 9, 10, 11):
        parts = pages(http, limit=size)
        assert [name for part in parts for name in part] == everything
        assert {len(part) for part in parts[:-1]} <= {size}
    refused(http.get(IMAGES, params={"cursor": "nonsense"}), 400, "cursor")
    refused(http.get(IMAGES, params={"limit": 201}), 400, "limit")


def test_filters_and_a_search_in_prompts(web: Website, http: httpx2.Client) -> None:
    fox, owl = made(web), made(web, NEW, prompt="An Owl, 100% real")
    web.submit()
    assert ids(http) == [owl, fox]
    assert ids(http, model=NEW) == ids(http, q="owl an") == ids(http, q="0%") == ids(http, request=owl) == [owl]
    assert ids(http, q="_") == ids(http, request="none") == ids(http, to="2001-01-01") == []
    today = images(http)[0]["created_at"][:10]
    assert ids(http, **{"from": today}) == ids(http, to=today) == [owl, fox]
    assert ids(http, name=images(http)[0]["name"]) == [owl]
    refused(http.get(IMAGES, params={"q": "x" * 201}), 400, "q")


def test_an_image_is_found_by_its_name_before_and_after_that_is_noted(web: Website, http: httpx2.Client) -> None:
    done = made(web, images=2)
    name = images(http)[1]["name"]
    assert ids(http, name=name) == [done]
    web.own.store.queue.expire()  # which folds the journal
    outlive(web)
    with web.own.store.db.write() as tx:
        noted = tx.execute(update(outputs).where(outputs.c.name == name).values(width=8).returning(outputs)).one()
    assert (noted.request_id, noted.expires_at > read_now(web) + 29 * DAY) == (done, True)
    assert ids(http, name=name) == [done]
    with web.own.store.db.write() as tx:  # as a version before this one leaves it
        tx.execute(update(outputs).values(request_id=None))
    assert ids(http, name=name) == [done]


def read_now(web: Website) -> float:
    with web.own.store.db.read() as view:
        return read_clock(view)


def test_nobody_sees_another_accounts(web: Website, http: httpx2.Client) -> None:
    made(web)
    name = images(http)[0]["name"]
    _, secret = web.own.store.accounts.keys.create(web.own.store.accounts.create("other", 0).id, "key")
    with web.http(secret) as stranger:
        assert images(stranger) == []
        foreign = stranger.get(IMAGES, params={"name": name})
        refused(foreign, 404, f"Image {name} not found")
        unknown = f"{'0' * 32}.png"
        assert foreign.json() == {
            **stranger.get(IMAGES, params={"name": unknown}).json(),
            "error": f"Image {name} not found",
        }


# Kept, deleted, downloaded


def ask(http: httpx2.Client, what: str, names: list[str], **more: Any) -> httpx2.Response:
    return http.post(f"{IMAGES}/{what}", json={"names": names, **more})


def done(response: httpx2.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return dict(response.json())


def written(web: Website, name: str, days: float) -> None:
    """Let a file have been written that long ago."""
    then = time.time() - days * DAY
    os.utime(web.own.runtime.settings.outputs_folder / name, (then, then))


def grow_old(web: Website, request_id: str, http: httpx2.Client, days: float = 40) -> list[str]:
    """Let a request and its images be that old; their names."""
    names = [one["name"] for one in images(http, request=request_id)]
    outlive(web)
    age(web, request_id, days)
    for name in names:
        written(web, name, days)
    return names


def relist(web: Website) -> None:
    """Clean up, and list the images although that was done lately."""
    with web.own.store.db.write() as tx:
        facts.write(tx, facts.IMAGES, **{**(facts.read(tx, facts.IMAGES) or {}), "listed_at": 0.0})
    web.clean_up()


def test_a_kept_image_outlasts_its_time_and_its_history(web: Website, http: httpx2.Client) -> None:
    kept, other = made(web, images=2), made(web)
    [first, second] = [one["name"] for one in images(http, request=kept)]
    [marked] = done(ask(http, "keep", [first, first], kept=True))["images"]
    assert (marked["name"], marked["kept"], marked["kept_until"]) == (first, True, None)
    assert [one["name"] for one in images(http, kept=True)] == [first]
    assert [one["name"] for one in images(http, kept=False, request=kept)] == [second]
    grow_old(web, kept, http, 100)
    grow_old(web, other, http, 100)
    relist(web)
    assert [one["name"] for one in images(http)] == [first]
    assert http.get(f"/inference-request/request-history/{kept}").json()["generation_urls"] == [marked["url"]]
    assert http.get(f"/inference-request/request-history/{other}").status_code == 404
    assert http.get(marked["url"]).content == b"picture"
    assert http.head(marked["url"]).headers["content-length"] == "7"
    assert http.get(f"/files/{second}").status_code == 404
    again = {"prompt": "a fox", "image": f"/files/{first}"}
    assert http.post(f"/v2/{OLD}", json=again).status_code == 200, "it can be an input image still"
    [released] = done(ask(http, "keep", [first], kept=False))["images"]
    assert (released["kept"], released["kept_until"] > released["created_at"]) == (False, True)
    relist(web)
    assert http.get(marked["url"]).status_code == 200, "for a day, as it may have been a slip"
    with moved_clock(web.own.store.db, GRACE + 1):
        web.own.store.images.expire()
    relist(web)
    assert images(http) == []
    assert http.get(marked["url"]).status_code == 404


def test_an_image_that_is_no_longer_kept_is_as_others_are(web: Website, http: httpx2.Client) -> None:
    made(web)
    before = images(http)
    [name] = [one["name"] for one in before]
    done(ask(http, "keep", [name], kept=True))
    done(ask(http, "keep", [name], kept=True))
    assert done(ask(http, "keep", [name], kept=False))["images"] == before
    assert images(http) == before


def test_many_images_take_as_many_statements_as_one(web: Website, http: httpx2.Client) -> None:
    """They are under the lock that all others wait for."""
    made(web, images=4)
    made(web, images=4)
    names = [one["name"] for one in images(http)]
    store = web.own.store.images
    with web.own.store.db.write() as tx:
        measurements.fold(tx)  # until then, their requests are searched for
    for act in (partial(store.keep, kept=True), partial(store.keep, kept=False), store.deleted):
        one, others = (
            asked_of(web.own.store.db, partial(act, web.account_id, some)) for some in (names[:1], names[1:])
        )
        assert len(one) == len(others)


def test_a_deleted_image_is_gone_at_once_and_its_record_stays(web: Website, http: httpx2.Client) -> None:
    one, two = made(web), made(web, images=2)
    record = http.get(f"/v2/requests/{two}").json()
    [first, second] = [image["name"] for image in images(http, request=two)]
    done(ask(http, "keep", [first], kept=True))
    web.own.store.queue.previews.put(two, [Preview(1, 1, 0, 1, b"jpeg"), Preview(1, 2, 1, 1, b"jpeg")])
    assert done(ask(http, "delete", [first])) == {"deleted": [first]}
    with web.own.store.db.read() as view:
        assert view.scalars(select(previews.c.picture)).all() == [1]
    assert not (web.own.runtime.settings.outputs_folder / first).exists()
    words = f"Image {first} was deleted by its account on"
    refused(http.get(f"/files/{first}"), 404, words)
    refused(http.get(IMAGES, params={"name": first}), 404, words)
    refused(ask(http, "keep", [second, first], kept=True), 404, words)
    assert [image["kept"] for image in images(http)] == [False, False]
    assert done(ask(http, "delete", [first, second])) == {"deleted": [first, second]}
    assert pages(http, limit=1) == [[image["name"] for image in images(http, request=one)]]
    assert http.get(f"/v2/requests/{two}").json() == record
    assert http.get(f"/inference-request/request-history/{two}").json()["credits_deduction"] == 0.001
    with web.own.store.db.write() as tx:
        tx.execute(update(image_marks).values(at=0))
    web.own.store.images.expire()
    refused(http.get(f"/files/{first}"), 404, "deleted")
    grow_old(web, two, http, 91)
    web.clean_up()
    web.own.store.images.expire()
    with web.own.store.db.read() as view:
        assert view.execute(select(image_marks)).all() == [], "nothing is left to say"


def test_names_are_refused_together(web: Website, http: httpx2.Client) -> None:
    made(web)
    [name] = [one["name"] for one in images(http)]
    unknown = f"{'0' * 32}.png"
    for what, more in (("keep", {"kept": True}), ("delete", {}), ("zip", {})):
        refused(ask(http, what, [name, unknown], **more), 404, f"Image {unknown} not found")
        refused(ask(http, what, [], **more), 400, "names: required")
        refused(ask(http, what, [name] * 201, **more), 400, "names: '201 items' was sent")
        refused(ask(http, what, [7], **more), 400, "names[0]: 7 was sent")  # type: ignore[list-item]
    refused(ask(http, "keep", [name]), 400, "kept: required")
    _, secret = web.own.store.accounts.keys.create(web.own.store.accounts.create("other", 0).id, "key")
    with web.http(secret) as stranger:
        for what, more in (("keep", {"kept": True}), ("delete", {}), ("zip", {})):
            refused(ask(stranger, what, [name], **more), 404, f"Image {name} not found")
    assert [one["name"] for one in images(http, kept=False)] == [name]
    assert http.get(f"/files/{name}").status_code == 200


def test_a_key_that_may_only_read_lists_and_downloads(web: Website, http: httpx2.Client) -> None:
    made(web)
    [name] = [one["name"] for one in images(http)]
    _, secret = web.own.store.accounts.keys.create(web.account_id, "reader", read_only=True)
    with web.http(secret) as reader:
        assert [one["name"] for one in images(reader)] == [name]
        assert ask(reader, "zip", [name]).status_code == 200
        refused(ask(reader, "keep", [name], kept=True), 403, "only read")
        refused(ask(reader, "delete", [name]), 403, "only read")


def test_a_zip_has_the_images_under_names_that_say_what_they_are(web: Website, http: httpx2.Client) -> None:
    made(web, images=2)
    names = [one["name"] for one in images(http)]
    big = os.urandom(3 * Files.chunk + 5)
    (web.own.runtime.settings.outputs_folder / names[0]).write_bytes(big)
    response = ask(http, "zip", names)
    assert response.headers["content-type"] == "application/zip"
    assert "attachment" in response.headers["content-disposition"]
    with ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        inside = {f"{images(http)[0]['created_at'][:10]}-{OLD}-7-{name[:6]}.png" for name in names}
        assert {*archive.namelist()} == inside
        assert archive.read(next(one for one in inside if names[0][:6] in one)) == big
    web.own.files.outputs.remove(names[0])
    with ZipFile(io.BytesIO(ask(http, "zip", names).content)) as archive:
        assert len(archive.namelist()) == 2
        assert names[0][:6] in archive.read("missing.txt").decode()


def test_two_downloads_at_a_time_until_their_callers_leave(web: Website, http: httpx2.Client) -> None:
    made(web)
    [name] = [one["name"] for one in images(http)]
    (web.own.runtime.settings.outputs_folder / name).write_bytes(bytes(2**25))
    with (
        web.http() as one,
        web.http() as other,
        one.stream("POST", f"{IMAGES}/zip", json={"names": [name]}),
        other.stream("POST", f"{IMAGES}/zip", json={"names": [name]}),
    ):
        refused(ask(http, "zip", [name]), 429, "may have 2 at the same time")
        assert images(http)[0]["name"] == name
    until(lambda: web.own.runtime.downloads.open == 0)
    assert len(ask(http, "zip", [name]).content) > 2**25


# What becomes of their files


@contextmanager
def kept_elsewhere(web: Website, size: int) -> Iterator[None]:
    """Another account keeps an image of so many bytes while the block lasts."""
    mark = {"name": "theirs", "request_id": "one", "account_id": "other", "kept": True, "size": size, "at": 0.0}
    with web.own.store.db.write() as tx:
        tx.execute(insert(image_marks).values(**mark))
    yield
    with web.own.store.db.write() as tx:
        tx.execute(delete(image_marks).where(image_marks.c.name == "theirs"))


def test_the_oldest_make_room_and_kept_ones_and_those_with_a_record_do_not(tmp_path: Path, url: str) -> None:
    with serving(tmp_path, database_url=url, images_budget=2 * MIN_COUNTED) as web, web.http() as http:
        long_running(web)
        size = MIN_COUNTED // 2
        names = []
        for days in (5, 4, 3, 2, 0):
            request = made(web)
            [name] = [one["name"] for one in images(http, request=request)]
            (web.own.runtime.settings.outputs_folder / name).write_bytes(bytes(size))
            if days == 5:
                with kept_elsewhere(web, 2 * MIN_COUNTED):
                    refused(ask(http, "keep", [name], kept=True), 400, "all accounts together may keep 128 KiB")
                done(ask(http, "keep", [name], kept=True))
            if days:
                grow_old(web, request, http, days)
            names.append(name)
        relist(web)
        kept, gone, *others = names
        assert [one["name"] for one in images(http)] == [*others[::-1], kept]
        refused(http.get(f"/files/{gone}"), 404, f"Image {gone} was removed to make room for newer ones")
        refused(ask(http, "keep", [gone], kept=True), 404, "to make room")
        refused(ask(http, "keep", others, kept=True), 400, "one account may keep 64 KiB of images")
        assert images(http, kept=True)[0]["name"] == kept
        made(web)
        made(web)
        web.own.runtime.settings.outputs_folder.joinpath(images(http)[0]["name"]).write_bytes(bytes(9 * MIN_COUNTED))
        relist(web)
        assert len(images(http)) == 4, "the three whose records have not expired, and the kept one"


def test_images_are_listed_by_one_process_and_seldom(web: Website) -> None:
    listed = web.own.store.images.claim_listing
    relist(web)
    assert not listed(600)
    with moved_clock(web.own.store.db, 601):
        assert [listed(600), listed(600)] == [True, False]
    assert listed(600), "a clock that was set back"


def test_what_an_earlier_version_has_deleted_is_not_listed(web: Website, http: httpx2.Client) -> None:
    """Its images expired with their records; those are in the history for 90 days."""
    old, new = made(web), made(web)
    outlive(web)
    age(web, old, 2 / 24)
    assert ids(http) == [new, old]
    name = images(http)[1]["name"]
    with web.own.store.db.write() as tx:
        tx.execute(delete(tables.facts).where(tables.facts.c.name == facts.IMAGES))
    assert ids(http) == [new]
    web.clean_up()
    assert ids(http) == [new]
    refused(http.get(IMAGES, params={"name": name}), 404, "images were kept for a shorter time")
