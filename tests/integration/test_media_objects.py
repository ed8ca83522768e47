"""Pictures kept in an object storage, over S3's real API."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import click
import httpx2
import pytest
from tests.acceptance.harness import until
from tests.integration.website import RESULT, Website, serving
from tests.object_storage import ObjectStorage, OddStorage, object_storage, odd_storage, refusal
from tests.stores import a_result

from tintype.catalog.models import SD15_IMG2IMG
from tintype.cli.storage import check_storage
from tintype.errors import NotFound, StorageUnavailable
from tintype.media.storage import Storage, Stored, open_storage
from tintype.settings import Settings
from tintype.store.db.records import Request

UNKNOWN = "0" * 32 + ".png"


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    with object_storage() as storage:
        yield storage


def kept(storage: ObjectStorage, kind: str, life: float = 100.0, patience: float = 60.0) -> Storage:
    own = Settings.of(**storage.settings, storage_patience=patience).storage
    return open_storage(own, Path("somewhere") / kind, life)


def test_a_choice_is_made_among_all_objects(storage: ObjectStorage) -> None:
    outputs = kept(storage, "chosen", life=0.0)
    one, other = outputs.put(b"one", "png"), outputs.put(b"other", "png")
    seen: dict[str, int] = {}

    def choose(stored: Iterator[Stored]) -> list[str]:
        seen.update((image.name, image.size) for image in stored)
        return [one]

    outputs.thin(choose)
    assert (seen, outputs.missing_space()) == ({one: 3, other: 5}, 0)
    lasting = kept(storage, "chosen", life=math.inf)
    assert lasting.get(other) == b"other", "whatever its age"
    with pytest.raises(NotFound):
        lasting.get(one)
    outputs.remove_all([other, UNKNOWN])
    outputs.remove_all([])
    with pytest.raises(NotFound):
        lasting.get(other)


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp", "gif", "bmp", "tiff", "in"])
def test_put_get_and_remove(storage: ObjectStorage, suffix: str) -> None:
    outputs = kept(storage, "outputs")
    name = outputs.put(b"picture", suffix)
    assert outputs.get(name) == b"picture"
    assert kept(storage, "outputs").get(name) == b"picture", "another process sees it"
    assert (outputs.size(name), outputs.read_range(name, 0, 7), outputs.read_range(name, 2, 5)) == (
        7,
        b"picture",
        b"ctu",
    )
    outputs.remove(name)
    outputs.remove(name)
    with pytest.raises(NotFound):
        outputs.get(name)


def test_what_a_caller_sent_is_kept_as_it_came(storage: ObjectStorage) -> None:
    inputs = kept(storage, "inputs")
    assert inputs.get(inputs.put(b"whatever picture", "in")) == b"whatever picture"


@pytest.mark.parametrize("name", [UNKNOWN, "../outputs/" + UNKNOWN, "", "a" * 1000])
def test_unknown_and_malformed_names(storage: ObjectStorage, name: str) -> None:
    outputs = kept(storage, "outputs")
    for ask in (
        outputs.get,
        outputs.size,
        lambda name: outputs.read_range(name, 0, 1),
        lambda name: outputs.signed_url(name, 60),
    ):
        with pytest.raises(NotFound):
            ask(name)


def test_each_kind_has_its_own_prefix(storage: ObjectStorage) -> None:
    name = kept(storage, "inputs").put(b"theirs", "png")
    with pytest.raises(NotFound):
        kept(storage, "outputs").size(name)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp"])
def test_a_signed_address_gives_it_to_anybody_with_its_type(storage: ObjectStorage, suffix: str) -> None:
    outputs = kept(storage, "outputs")
    address = outputs.signed_url(outputs.put(b"picture", suffix), 60)
    assert address
    answer = httpx2.get(address, timeout=60)
    assert (answer.content, answer.headers["content-type"]) == (b"picture", f"image/{suffix}")
    assert "X-Amz-Expires=60" in address
    assert "secret" not in address


def test_expiry_removes_the_objects(storage: ObjectStorage) -> None:
    name = kept(storage, "old").put(b"picture", "png")
    short = kept(storage, "old", life=0.0)
    with pytest.raises(NotFound):
        short.get(name)
    assert kept(storage, "old").expire() == 0
    assert short.expire() == 1
    with pytest.raises(NotFound):
        kept(storage, "old").size(name)


def test_what_is_needed_outlives_its_time(storage: ObjectStorage) -> None:
    needed, other = (kept(storage, "needed").put(b"picture", "png") for _ in range(2))
    assert kept(storage, "needed", life=0.0).expire({needed}) == 1
    assert kept(storage, "needed", life=math.inf).get(needed) == b"picture"
    with pytest.raises(NotFound):
        kept(storage, "needed", life=math.inf).get(other)


def test_what_is_discarded_goes_without_anybody_waiting(storage: ObjectStorage) -> None:
    inputs, hasty = kept(storage, "discarded"), kept(storage, "discarded", patience=0.5)
    first, second = inputs.put(b"picture", "in"), inputs.put(b"picture", "in")
    storage.stop()
    hasty.discard(first)  # raises nothing; a sweep removes it
    hasty._discarded.join()
    storage.start()
    inputs.discard(second)
    inputs._discarded.join()
    inputs.size(first)
    with pytest.raises(NotFound):
        inputs.size(second)


def test_a_storage_that_comes_back_in_time(storage: ObjectStorage) -> None:
    outputs = kept(storage, "outputs")
    storage.stop()
    names: list[str] = []
    putting = threading.Thread(target=lambda: names.append(outputs.put(b"picture", "png")))
    putting.start()
    time.sleep(0.3)
    assert not names
    storage.start()
    putting.join(30)
    assert outputs.get(names[0]) == b"picture"


def test_a_storage_that_stays_away(storage: ObjectStorage) -> None:
    outputs = kept(storage, "outputs", patience=0.2)
    storage.stop()
    try:
        for ask in (lambda: outputs.put(b"picture", "png"), lambda: outputs.get(UNKNOWN), outputs.expire):
            with pytest.raises(StorageUnavailable) as error:
                ask()
            assert str(storage.port) not in error.value.message
    finally:
        storage.start()


def test_a_picture_that_was_paid_for_and_is_out_of_reach(storage: ObjectStorage, tmp_path: Path) -> None:
    """The caller must not be told to send the call again: it would pay twice."""
    body = {"prompt": "a fox", "image": "/sd-img2img-input.jpeg"}
    with (
        serving(tmp_path, **storage.settings, storage_patience=0.2) as web,
        web.http() as http,
        ThreadPoolExecutor(1) as calls,
    ):
        call = calls.submit(http.post, f"/v1/{SD15_IMG2IMG.slug}", json=body)
        claimed: list[Request | None] = [None]
        until(lambda: claimed.append(web.own.store.leases.claim("w1", idle=True)) or claimed[-1])
        request = claimed[-1]
        assert request is not None
        name = kept(storage, "outputs").put(b"picture", "png")  # with more than the server's patience
        picture = {"name": name, "size": 7, "width": 8, "height": 8, "seed": 7}
        storage.stop()
        try:
            web.own.store.leases.complete(request.id, request.attempt, a_result(**{**RESULT, "pictures": [picture]}), 4)
            answer = call.result(60)
            file = http.get(f"/files/{name}")
        finally:
            storage.start()
        assert (file.status_code, file.headers["retry-after"]) == (503, "5")
        assert "nothing was charged" not in file.json()["error_description"]
        assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")
        assert "made" in answer.json()["error"]
        there = http.get(f"/v2/requests/{answer.headers['x-request-id']}").json()["output"]
        until(lambda: http.get(there).content == b"picture")


def test_a_bucket_is_tried_at_start(storage: ObjectStorage) -> None:
    check_storage(Settings.of(**storage.settings))
    assert kept(storage, "trial", life=0.0).expire() == 0, "nothing is left of it"
    with pytest.raises(click.UsageError, match=r"s3://nowhere/tintype .* no such bucket"):
        check_storage(Settings.of(**storage.settings | {"storage_url": "s3://nowhere/tintype"}))
    storage.stop()
    try:
        check_storage(Settings.of(**storage.settings))  # may come back
    finally:
        storage.start()


@pytest.fixture(params=[False, True], ids=["through the server", "redirected"])
def web(storage: ObjectStorage, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Website]:
    with serving(tmp_path, **storage.settings, storage_redirect=request.param) as site:
        yield site


def test_files_of_a_server(web: Website) -> None:
    name = web.own.files.outputs.put(b"picture", "png")
    uploaded = web.own.files.uploads.put(b"upload", "jpeg")
    with httpx2.Client(base_url=web.address, follow_redirects=True, timeout=60) as http:
        for known, content, kind in ((name, b"picture", "png"), (uploaded, b"upload", "jpeg")):
            answer = http.get(f"/files/{known}")
            assert (answer.content, answer.headers["content-type"]) == (content, f"image/{kind}")
            assert bool(answer.history) == web.own.runtime.settings.storage.redirect
            assert http.head(f"/files/{known}").status_code == 200
        assert http.get(f"/files/{UNKNOWN}").status_code == 404
    assert not list(web.own.runtime.settings.data.rglob("*.png"))


@pytest.fixture
def odd() -> Iterator[OddStorage]:
    with odd_storage() as storage:
        yield storage


def opened(odd: OddStorage) -> Storage:
    return open_storage(Settings.of(**odd.settings).storage, Path("outputs"), 100)


def why(ask: Callable[[], object]) -> str:
    with pytest.raises(StorageUnavailable) as error:
        ask()
    return error.value.why


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"etag": '"1"', "last-modified": formatdate(usegmt=True)}, b""),
        ({"content-type": "text/html"}, b"<html>Please log in</html>"),
    ],
    ids=["nothing", "a proxy's page"],
)
def test_an_answer_that_is_no_storage_s_is_no_picture_that_is_gone(
    odd: OddStorage, headers: dict[str, str], body: bytes
) -> None:
    """Nor an empty one: who asks for it later gets it, and a request whose input it is goes back to the queue."""
    outputs = opened(odd)
    name = outputs.put(b"picture", "png")
    odd.fault = lambda *_: (200, headers, body)
    for ask in (lambda: outputs.get(name), lambda: outputs.size(name), outputs.self_test):
        assert why(ask) == "it answers what no storage does"
    odd.fault = lambda *_: None
    outputs.self_test()
    assert (outputs.get(name), outputs.size(name)) == (b"picture", 7)


@pytest.mark.parametrize(("status", "code"), [(507, "Whatever"), (403, "QuotaExceeded")])
def test_a_storage_with_room_for_little_is_full_for_pictures(
    odd: OddStorage, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial with less would go well, and each request be drawn and fail."""
    monkeypatch.setattr("tintype.media.objects.TRIAL", 0.2)
    outputs = opened(odd)
    odd.fault = lambda method, _path, body: refusal(status, code) if method == "PUT" and len(body) > 5000 else None
    picture = bytes(6000)
    outputs.self_test()
    told = f"there is no room: it answers {status} ({code})"
    assert why(lambda: outputs.put(picture, "png")) == told
    assert why(outputs.self_test) == told
    odd.fault = lambda *_: None
    outputs.self_test()
    outputs.put(picture, "png")


def test_what_is_too_large_for_a_proxy_is_that_picture_s_matter(odd: OddStorage) -> None:
    outputs = opened(odd)
    odd.fault = lambda _method, _path, body: (413, {}, b"") if len(body) > 5000 else None
    assert why(lambda: outputs.put(bytes(6000), "png")) == "it answers 413"
    outputs.self_test()


def test_a_storage_that_keeps_nothing(odd: OddStorage) -> None:
    odd.fault = lambda method, *_: (200, {"etag": '"1"'}, b"") if method == "PUT" else None
    assert why(opened(odd).self_test) == "what was just written isn't there"
