"""Stored pictures as answers: read as their reader takes them, counted in what is read from the storage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.concurrency import run_in_threadpool
from tests.acceptance.harness import until
from tests.clients import NO_TLS
from tests.integration.website import RESULT, Website, serving
from tests.stores import a_result

from tintype.errors import StorageUnavailable
from tintype.media.storage import Files
from tintype.web.responses import StoredFile

PICTURE = bytes(range(256)) * 4096
HEADERS = {
    "content-length": str(len(PICTURE)),
    "content-type": "image/png",
    "x-content-type-options": "nosniff",
    "cache-control": "private, max-age=3600, immutable",
    "access-control-allow-origin": "*",
}


class Counting(Files):
    """Counts the bytes of its parts, and is away for some; nobody is to read a picture as a whole."""

    read = 0
    breaks_at = len(PICTURE) + 1

    def read_range(self, name: str, begin: int, end: int) -> bytes:
        if end > self.breaks_at:
            raise StorageUnavailable
        part = super().read_range(name, begin, end)
        self.read += len(part)
        return part

    def get(self, name: str) -> bytes:
        raise AssertionError(name)


@pytest.fixture
def files(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "files", 100)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Website]:
    with serving(tmp_path) as site:
        own = site.own.runtime.settings
        for kind, folder in (("outputs", own.outputs_folder), ("uploads", own.assets_folder)):
            object.__setattr__(site.own.files, kind, Counting(folder, 1000))
        yield site


def test_it_is_sent_whole_and_in_pieces(site: Website) -> None:
    for place in (site.own.files.outputs, site.own.files.uploads):
        name = place.put(PICTURE, "png")
        with httpx2.Client(base_url=site.address, verify=NO_TLS, timeout=60) as anybody:
            told = anybody.head(f"/files/{name}")
            assert (told.status_code, told.content, place.read) == (200, b"", 0)  # type: ignore[attr-defined]
            answer = anybody.get(f"/files/{name}")
        assert (answer.status_code, answer.content) == (200, PICTURE)
        assert place.read == len(PICTURE)  # type: ignore[attr-defined]
        assert told.headers.items() - answer.headers.items() <= {("date", told.headers["date"])}
        assert HEADERS.items() <= dict(answer.headers).items()


def test_so_is_a_blocking_call_s(site: Website) -> None:
    body, place = {"prompt": "a fox", "image": "/sd-img2img-input.jpeg"}, site.own.files.outputs
    name = place.put(PICTURE, "png")
    made = {"name": name, "size": len(PICTURE), "width": 8, "height": 8, "seed": 7}
    with site.http() as http, ThreadPoolExecutor(1) as calls:
        waiting = calls.submit(http.post, "/v1/sd1.5-img2img", json=body)
        until(lambda: site.own.store.queue.depth()[0] == 1)
        request = site.claim()
        site.own.store.leases.complete(request.id, request.attempt, a_result(**{**RESULT, "pictures": [made]}), 4)
        answer = waiting.result(60)
    assert (answer.status_code, answer.content, answer.headers["x-seed-value"]) == (200, PICTURE, "7")
    assert place.read == len(PICTURE)  # type: ignore[attr-defined]


def answered(response: StoredFile, takes: int) -> list[dict[str, Any]]:
    """The messages of an answer to a client that takes so many and then reads nothing, until it hangs up."""
    messages: list[dict[str, Any]] = []

    async def serve() -> None:
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            messages.append(message)
            if len(messages) == takes:
                asyncio.get_running_loop().call_later(0.05, gone.set)
                await asyncio.Event().wait()

        await response({"type": "http", "method": "GET", "asgi": {"spec_version": "2.3"}}, receive, send)

    asyncio.run(asyncio.wait_for(serve(), 60))
    return messages


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_who_does_not_read_has_nothing_read_for_him(files: Counting, pieces: int) -> None:
    name = files.put(PICTURE, "png")
    stored = StoredFile(files, name, files.size(name), run=run_in_threadpool, headers={}, media_type="image/png")
    messages = answered(stored, pieces + 1)
    assert [len(message["body"]) for message in messages[1:]] == [files.chunk] * pieces
    assert files.read == files.chunk * max(1, pieces)


@pytest.mark.parametrize("size", [1, Files.chunk - 1, Files.chunk, Files.chunk + 1, 3 * Files.chunk])
def test_every_size_is_sent_whole(files: Counting, size: int) -> None:
    name = files.put(PICTURE[:size], "png")
    *_, last = messages = answered(
        StoredFile(files, name, size, run=run_in_threadpool, headers={}, media_type="image/png"), 0
    )
    assert b"".join(message["body"] for message in messages[1:]) == PICTURE[:size]
    assert not last["more_body"]
    assert dict(messages[0]["headers"])[b"content-length"] == b"%d" % size


def test_it_is_refused_before_it_begins_and_breaks_off_after(site: Website) -> None:
    name = site.own.files.outputs.put(PICTURE, "png")
    counting: Any = site.own.files.outputs
    with httpx2.Client(base_url=site.address, verify=NO_TLS, timeout=60) as anybody:
        counting.breaks_at = 0
        assert anybody.get(f"/files/{name}").status_code == 503
        counting.breaks_at = 5 * Files.chunk
        with pytest.raises(httpx2.RemoteProtocolError):
            anybody.get(f"/files/{name}")
        assert anybody.get("/health").status_code == 200
