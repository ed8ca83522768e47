"""Input pictures: what is kept of them, for how long, and whose room they take."""

from __future__ import annotations

import base64
import io
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from sqlalchemy import delete, select, update
from tests.acceptance.test_http_helpers import gradient
from tests.image_files import saved
from tests.integration.website import Website, serving
from tests.stores import a_result, store_on

from tintype.catalog.models import MODELS, SD3_MEDIUM_IMG2IMG, SD15_INPAINTING
from tintype.errors import AddressRefused, BadPicture, NotFound, StorageUnavailable, StoreUnavailable
from tintype.media.network import Cancellation
from tintype.media.storage import Files
from tintype.store.accounts.uploads import MIN_COUNTED
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import assets, inputs, outputs, requests
from tintype.worker.inputs import Inputs

SLUG = SD3_MEDIUM_IMG2IMG.slug
SENT = base64.b64encode(gradient(64, 128)).decode()
ASK = {"prompt": "a fox", "image": SENT}


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Website]:
    """On SQLite, unless a test asks for both databases."""
    own = request.getfixturevalue("url") if "url" in request.fixturenames else ""
    with serving(tmp_path, database_url=own) as site:
        yield site


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    with site.http() as client:
        yield client


def submitted(site: Website, http: httpx2.Client, **body: Any) -> Request:
    headers = body.pop("headers", {})
    answer = http.post(f"/v2/{SLUG}", json=ASK | body, headers=headers)
    assert answer.status_code == 200, answer.text
    return site.own.store.queue.find(answer.json()["request_id"], site.account_id)


def uploaded(http: httpx2.Client, picture: bytes | None = None) -> str:
    """The path of an upload."""
    uri = "data:image/png;base64," + base64.b64encode(picture or gradient(64, 128)).decode()
    [url] = http.post("/upload-asset", json={"data_urls": [uri]}).json()["file_urls"]
    return str(httpx2.URL(url).path)


def stored(site: Website) -> list[str]:
    return [path.name for path in site.own.runtime.settings.inputs_folder.iterdir()]


def rows(site: Website) -> list[Any]:
    with site.own.store.db.read() as view:
        return [*view.execute(select(inputs))]


def cancelled(site: Website, request: Request) -> None:
    site.own.store.queue.cancel(request.id, site.account_id)


def cancelled_as_it_ran(site: Website, request: Request) -> None:
    attempt = site.claim().attempt
    cancelled(site, request)
    assert len(stored(site)) == 1, "its worker may be reading it"
    site.own.store.leases.fail(request.id, attempt, "cancelled", 499)


def completed(site: Website, request: Request) -> None:
    site.complete(site.claim())


def failed(site: Website, request: Request) -> None:
    site.own.store.leases.fail(request.id, site.claim().attempt, "why", 400, "bad_picture")


def given_up(site: Website, request: Request) -> None:
    for _ in range(3):
        assert len(stored(site)) == 1, "it is tried again"
        site.own.store.leases.retry(request.id, site.claim().attempt, "the model failed")


def handed_on(site: Website, request: Request) -> None:
    site.own.store.leases.hand_back(request.id, site.claim().attempt)
    assert len(stored(site)) == 1
    late = site.claim()
    site.own.store.leases.hand_back(request.id, late.attempt)
    completed(site, request)
    assert not site.own.store.leases.hand_back(request.id, late.attempt)


def killed(site: Website, request: Request) -> None:
    """Its worker, three times over; found by whoever looks next."""
    impatient = store_on(site.own.store.db, lease=-1, retention=60, discard=site.own.files.inputs.discard)
    for _ in range(3):
        assert impatient.leases.claim("w", idle=True)
        assert len(stored(site)) == 1
    assert impatient.leases.claim("w", idle=True) is None


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("end", [cancelled, cancelled_as_it_ran, completed, failed, given_up, handed_on, killed])
def test_a_picture_from_a_body_goes_when_its_request_ends(
    site: Website, http: httpx2.Client, end: Callable[[Website, Request], None]
) -> None:
    request = submitted(site, http)
    [name] = stored(site)
    assert request.params["image"] == f"file:{name}"
    assert [(row.request_id, row.name, row.size, row.width, row.height) for row in rows(site)] == [
        (request.id, name, len(gradient(64, 128)), 64, 128)
    ]
    end(site, request)
    assert site.own.store.queue.find(request.id, site.account_id).ended
    assert (stored(site), rows(site)) == ([], [])


def test_a_deadline_ends_it_too(site: Website, http: httpx2.Client) -> None:
    request = submitted(site, http, headers={"cancel-after": "0.01"})
    time.sleep(0.02)
    site.own.store.queue.end_overdue()
    assert site.own.store.queue.find(request.id, site.account_id).ended
    assert (stored(site), rows(site)) == ([], [])


def test_it_stays_where_the_end_is_undone(site: Website, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    request, running = submitted(site, http), site.claim()

    def away(*_: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr("tintype.store.db.measurements.note_end", away)
        with pytest.raises(StoreUnavailable):
            site.own.store.leases.fail(request.id, running.attempt, "why", 500)
    assert (len(stored(site)), len(rows(site))) == (1, 1)


@pytest.mark.parametrize("refusal", ["credits", "limit", "parameter", "picture", "quota"])
def test_a_refused_call_leaves_nothing(tmp_path: Path, refusal: str) -> None:
    with serving(tmp_path, key_concurrency=1, input_quota=100 if refusal == "quota" else 2**30) as site:
        account = site.own.store.accounts.create("poor", 0 if refusal == "credits" else 1_000_000).id
        with site.http(site.own.store.accounts.keys.create(account, "key")[1]) as http:
            body = dict(ASK)
            if refusal == "limit":
                assert http.post(f"/v2/{SLUG}", json={**ASK, "image": "/sd3-img2img-ip.jpg"}).status_code == 200
            elif refusal == "parameter":
                body["strength"] = "7"
            elif refusal == "picture":
                body["image"] = base64.b64encode(b"no picture").decode()
            answer = http.post(f"/v2/{SLUG}", json=body)
        expected = {"credits": 406, "limit": 429, "quota": 403}.get(refusal, 400)
        assert (answer.status_code, stored(site), rows(site)) == (expected, [], []), answer.text


def test_they_count_against_the_account_until_they_end(tmp_path: Path) -> None:
    size = len(gradient(64, 128))
    with serving(tmp_path, input_quota=2 * size + 1) as site, site.http() as http, ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: http.post(f"/v2/{SLUG}", json=ASK), range(8))]
        assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 6
        [refusal] = {answer.text for answer in answers if answer.status_code == 429}
        assert f"{2 * size + 1} bytes" in refusal
        assert f"{2 * size} are taken, and this one takes {size}" in refusal
        assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 429} == {"2"}
        assert (len(stored(site)), len(rows(site))) == (2, 2)
        free = {**ASK, "image": uploaded(http)}
        assert http.post(f"/v2/{SLUG}", json=free).status_code == 200, "what is referred to takes no room"
        other = site.own.store.accounts.create("two", 1_000_000).id
        with site.http(site.own.store.accounts.keys.create(other, "key")[1]) as stranger:
            assert stranger.post(f"/v2/{SLUG}", json=ASK).status_code == 200, "it is each account's own"
        cancelled(site, site.claim())
        site.own.store.leases.fail(rows(site)[0].request_id, 1, "cancelled", 499)
        assert http.post(f"/v2/{SLUG}", json=ASK).status_code == 200, "there is room again"


# Files that are here already


def fetched(site: Website, request: Request) -> tuple[int, int]:
    """As a worker does."""
    with Inputs.from_settings(site.own.runtime.settings) as pictures:
        params = MODELS[request.slug].read(request.params)
        return pictures.submit(params, "", lambda: None, Cancellation()).result()["init"].size


def test_many_requests_refer_to_one_file(site: Website, http: httpx2.Client) -> None:
    path = uploaded(http)
    with ThreadPoolExecutor(8) as pool:
        made = [*pool.map(lambda _: submitted(site, http, image=path), range(20))]
    assert stored(site) == []
    assert {request.params["image"] for request in made} == {path}
    assert fetched(site, made[7]) == (64, 128)
    for request in made[1:]:
        cancelled(site, request)
    assert fetched(site, made[0]) == (64, 128), "it is nobody's own"
    assert len(rows(site)) == 1
    assert http.get(path).status_code == 200


def test_an_output_can_be_an_input(site: Website, http: httpx2.Client) -> None:
    submitted(site, http)
    first = site.claim()
    name = site.own.files.outputs.put(gradient(96, 64), "png")
    result = {"pictures": [{"name": name, "size": 9, "width": 96, "height": 64, "seed": 7}], "format": "png"}
    assert site.own.store.leases.complete(
        first.id, first.attempt, a_result(**{**result, "seed": 7, "inference_time": 1.0}), 4
    )
    request = submitted(site, http, image=f"{site.address}/files/{name}")
    assert request.params["image"] == f"/files/{name}"
    assert fetched(site, request) == (96, 64)
    assert [(row.width, row.height) for row in rows(site)] == [(96, 64)]


class Counting(Files):
    """Counts what is read."""

    read = 0

    def get(self, name: str) -> bytes:
        self.read += 1
        return super().get(name)


def test_sizes_are_kept_and_not_read_again(site: Website, http: httpx2.Client) -> None:
    own, path = site.own, uploaded(http)
    name = own.files.outputs.put(gradient(96, 64), "png")
    reading = {}
    for kind, folder in (
        ("uploads", own.runtime.settings.assets_folder),
        ("outputs", own.runtime.settings.outputs_folder),
    ):
        reading[kind] = Counting(folder, 1000)
        object.__setattr__(own.files, kind, reading[kind])
    assert own.files.size(path.removeprefix("/files/")) == (64, 128)
    assert (reading["uploads"].read, reading["outputs"].read) == (0, 0)
    # What an earlier version has kept, or what outlives its request's record, is read as it was.
    with own.store.db.write() as tx:
        tx.execute(update(assets).values(width=None, height=None))
        tx.execute(delete(outputs))
    assert own.files.size(path.removeprefix("/files/")) == (64, 128)
    assert own.files.size(name) == (96, 64)
    assert (reading["uploads"].read, reading["outputs"].read) == (1, 1)


@pytest.mark.parametrize("path", ["/files/" + "0" * 32 + ".png", "/files/", "/files/../tintype.db", "/files/a?b=1"])
def test_a_file_that_is_not_there(site: Website, http: httpx2.Client, path: str) -> None:
    answer = http.post(f"/v2/{SLUG}", json={**ASK, "image": path})
    assert (answer.status_code, "keeps no such file" in answer.text) == (400, True)
    assert rows(site) == []


def aged(site: Website, path: str) -> Path:
    """The file of an upload, made older than it may become."""
    file = site.own.runtime.settings.assets_folder / path.removeprefix("/files/")
    then = time.time() - site.own.runtime.settings.retention.upload_ttl - 5
    os.utime(file, (then, then))
    return file


def test_a_file_outlives_its_time_while_a_request_needs_it(site: Website, http: httpx2.Client) -> None:
    path = uploaded(http)
    request = submitted(site, http, image=path)
    file = aged(site, path)
    site.clean_up()
    assert http.get(path).status_code == 404, "for everybody else its time is over"
    assert http.post(f"/v2/{SLUG}", json={**ASK, "image": path}).status_code == 400
    assert fetched(site, request) == (64, 128)
    cancelled(site, request)
    assert file.exists(), "it is the sweep's"
    site.clean_up()
    assert not file.exists()
    with pytest.raises(BadPicture, match="keeps no such file"):
        fetched(site, request)


def test_what_a_crash_left_is_swept(site: Website, http: httpx2.Client) -> None:
    """An input without a request, as between its writing and a commit; and what waits, for however long, is none."""
    submitted(site, http)
    [needed] = stored(site)
    left, new = (site.own.files.inputs.put(b"left behind", "in") for _ in range(2))
    for name in (needed, left):
        then = time.time() - site.own.runtime.settings.retention.input_ttl - 5
        os.utime(site.own.runtime.settings.inputs_folder / name, (then, then))
    site.clean_up()
    assert sorted(stored(site)) == sorted([needed, new])
    with Inputs.from_settings(site.own.runtime.settings) as pictures:
        assert pictures.inputs.get(needed) == gradient(64, 128)


def test_what_an_older_worker_left_goes_with_the_record(site: Website, http: httpx2.Client) -> None:
    """While servers are upgraded one after the other, requests of new ones are ended by what knows no inputs."""
    request = submitted(site, http)
    with site.own.store.db.write() as tx:
        ended = {"status": Status.COMPLETED, "expires_at": time.time() + 60}
        tx.execute(update(requests).where(requests.c.id == request.id).values(**ended))
    site.own.store.queue.expire()
    assert len(rows(site)) == 1
    site.own.store.queue.expire(before=time.time() + 120)
    assert rows(site) == []
    assert site.own.store.queue.needed_inputs() == frozenset()


def test_uploads_are_all_or_none_whatever_fails(site: Website, http: httpx2.Client) -> None:
    real, puts = site.own.files.uploads, []

    class Full(Files):
        def put(self, data: bytes, suffix: str) -> str:
            if len(puts) == 2:
                raise StorageUnavailable
            puts.append(super().put(data, suffix))
            return puts[-1]

    object.__setattr__(site.own.files, "uploads", Full(site.own.runtime.settings.assets_folder, math.inf))
    uri = "data:image/png;base64," + SENT
    assert http.post("/upload-asset", json={"data_urls": [uri] * 3}).status_code == 503
    assert len(puts) == 2
    assert list(site.own.runtime.settings.assets_folder.iterdir()) == []
    object.__setattr__(site.own.files, "uploads", real)


def test_uploads_at_the_same_time_keep_to_the_quota(tmp_path: Path) -> None:
    with serving(tmp_path, upload_quota=3 * MIN_COUNTED) as site, site.http() as http, ThreadPoolExecutor(8) as pool:
        uris = {"data_urls": ["data:image/png;base64," + SENT]}
        codes = sorted(pool.map(lambda _: http.post("/upload-asset", json=uris).status_code, range(8)))
        assert codes == [200] * 3 + [400] * 5
        assert len(list(site.own.runtime.settings.assets_folder.iterdir())) == 3


def test_nothing_of_it_is_told(site: Website, http: httpx2.Client) -> None:
    request = submitted(site, http)
    [name] = stored(site)
    for path in (
        f"/v2/requests/{request.id}",
        f"/v2/requests/{request.id}/status",
        "/inference-request/request-history",
    ):
        assert name not in http.get(path).text
    assert http.get(f"/files/{name}").status_code == 404
    answer = http.post(f"/v2/{SLUG}", json={**ASK, "image": f"file:{name}"})
    assert (answer.status_code, name in answer.text) == (400, False)
    with pytest.raises(NotFound):
        site.own.files.find(name)


# An image and a mask

WHITE = base64.b64encode(saved(Image.new("1", (32, 64), 1))).decode()


def inpainted(site: Website, http: httpx2.Client, **body: Any) -> Request:
    answer = http.post(f"/v2/{SD15_INPAINTING.slug}", json=ASK | {"mask": WHITE} | body)
    assert answer.status_code == 200, answer.text
    return site.own.store.queue.find(answer.json()["request_id"], site.account_id)


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("end", [cancelled, completed])
def test_a_mask_goes_with_its_request_too(
    site: Website, http: httpx2.Client, end: Callable[[Website, Request], None]
) -> None:
    request = inpainted(site, http)
    names = [request.params[name].removeprefix("file:") for name in ("image", "mask")]
    assert sorted(stored(site)) == sorted(names) == sorted(site.own.store.queue.needed_inputs())
    size = len(gradient(64, 128)) + len(base64.b64decode(WHITE))
    assert [(row.size, row.width, row.height) for row in rows(site)] == [(size, 64, 128)]
    with Inputs.from_settings(site.own.runtime.settings) as pictures:
        found = pictures.submit(request.generation, "", lambda: None, Cancellation()).result()
    assert (found["init"].size, found["mask"].size) == ((64, 128), (32, 64))
    assert [one.image.size for one in found.values()] == [(512, 512)] * 2
    shown = http.get(f"/inference-request/request-history/{request.id}").json()["request_body"]
    assert (shown["image"], shown["mask"]) == (None, None)
    end(site, request)
    assert (stored(site), rows(site)) == ([], [])


def test_a_repeated_call_leaves_no_second_mask(site: Website, http: httpx2.Client) -> None:
    once = {"idempotency-key": "once"}
    body = ASK | {"mask": WHITE}
    first, again = (http.post(f"/v2/{SD15_INPAINTING.slug}", json=body, headers=once) for _ in range(2))
    assert (first.json(), again.headers["idempotent-replayed"]) == (again.json(), "true")
    assert len(stored(site)) == 2
    other = http.post(f"/v2/{SD15_INPAINTING.slug}", json=body | {"mask": SENT}, headers=once)
    assert (other.status_code, len(stored(site))) == (422, 2), "a mask is part of what was sent"


def test_a_test_key_s_mask_goes_too(site: Website) -> None:
    with site.http(site.own.store.accounts.keys.create(site.account_id, "key", test=True)[1]) as http:
        answer = http.post(f"/v1/{SD15_INPAINTING.slug}", json=ASK | {"mask": WHITE})
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (512, 512)
    assert (stored(site), rows(site)) == ([], [])


def test_only_what_came_in_the_body_is_deleted(site: Website, http: httpx2.Client) -> None:
    path = uploaded(http)
    for sources in ({"image": path}, {"mask": path}):
        request = inpainted(site, http, **sources)
        assert len(stored(site)) == 1
        assert site.own.store.queue.needed_inputs() == {*stored(site), path.removeprefix("/files/")}
        cancelled(site, request)
        assert (stored(site), rows(site)) == ([], [])
        assert http.get(path).status_code == 200
    inpainted(site, http, image="https://example.com/fox.png", mask=path)
    assert [(row.size, row.width) for row in rows(site)] == [(0, None)]


def test_image_and_mask_are_limited_together(tmp_path: Path) -> None:
    bytes_, pixels = len(gradient(64, 128)) + len(base64.b64decode(WHITE)), 64 * 128 + 32 * 64
    for limits, words in (
        ({"max_image_bytes": bytes_ - 1}, "have more bytes together"),
        ({"max_image_pixels": pixels - 1}, "too many pixels together"),
        ({"input_quota": bytes_ - 1}, f"this one alone takes {bytes_}"),
        ({"max_image_bytes": bytes_, "max_image_pixels": pixels, "input_quota": bytes_}, ""),
    ):
        with serving(tmp_path / (words or "enough"), **limits) as site, site.http() as http:
            answer = http.post(f"/v2/{SD15_INPAINTING.slug}", json=ASK | {"mask": WHITE})
            assert (answer.is_success, words in answer.text) == (not words, True), answer.text
            assert len(stored(site)) == 2 * (not words)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (None, "mask"),
        ("", "mask"),
        (base64.b64encode(b"no picture").decode(), "mask: "),
        ("/no-such.png", "mask: '/no-such.png' was sent"),
        ("/files/" + "0" * 32 + ".png", "mask: this server keeps no such file"),
        ("ftp://example.com/mask.png", "mask: "),
    ],
)
def test_a_mask_that_is_none_is_refused_by_its_name(
    site: Website, http: httpx2.Client, mask: str | None, words: str
) -> None:
    answer = http.post(f"/v2/{SD15_INPAINTING.slug}", json=ASK | {"mask": mask})
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text
    assert (stored(site), rows(site)) == ([], [])


def test_a_mask_s_address_is_looked_at_as_an_image_s_is(site: Website, http: httpx2.Client) -> None:
    local = inpainted(site, http, mask="http://127.0.0.1:1/mask.png").generation
    with Inputs.from_settings(site.own.runtime.settings) as pictures:
        with pytest.raises(AddressRefused, match=r"^mask: .*not a public address"):
            pictures.submit(local, "", lambda: None, Cancellation()).result()
        cancellation = Cancellation()
        cancellation.cancel()
        with pytest.raises(CancelledError):
            pictures.submit(local, "", lambda: None, cancellation).result()
