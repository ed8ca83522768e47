"""Calls of the four dialects by somebody who wants what isn't his: answered, refused, and never charged for nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import pytest
from tests.acceptance.harness import until
from tests.clients import call_bytes, dial
from tests.integration.website import RESULT, Website, serving
from tests.tenants import Tenant

TURBO, SD15 = "stable-diffusion-3.5-turbo-txt2img", "sd1.5-img2img"
OPENAI, A1111, REPLICATE = "/v1/images/generations", "/sdapi/v1/txt2img", "/v1/predictions"
COMFY = f"/v2/models/tintype/{TURBO}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("abuse"), transfer_timeout=600) as website:
        yield website


@pytest.fixture
def tester(site: Website) -> Iterator[httpx2.Client]:
    """With a test key, whose images the server draws itself."""
    with site.http(site.accounts.keys.create(site.account_id, "test", test=True)[1]) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body", "noted"),
    [
        (OPENAI, '{"model": "MODEL", "prompt": "a fox", "size": "§250§x250"}', "250x250 was sent"),
        (OPENAI, '{"model": "MODEL", "prompt": "a fox", "size": "250x§250", "stream": true}', "250x250 was sent"),
        (REPLICATE, '{"version": "MODEL", "input": {"prompt": "a fox", "size": "250§x250"}}', "250x250 was sent"),
        (REPLICATE, '{"version": "sd1.5-img2img", "input": {"prompt": "", "aspect_ratio": "16§:9"}}', "has to 16:9"),
    ],
    ids=["size", "streamed size", "input's size", "shape"],
)
def test_a_note_has_no_spaces_of_the_callers(tester: httpx2.Client, path: str, body: str, noted: str) -> None:
    # A line break, what no header may have, and what Latin-1 hasn't.
    for space in ("\\r\\n", "\\u000b", "\\u2003"):
        sent = body.replace("§", space).replace("MODEL", TURBO)
        answer = tester.post(path, content=sent, headers={"content-type": "application/json", "prefer": "wait"})
        assert answer.status_code in (200, 201)
        assert noted in answer.headers["x-warning"]


def test_answers_that_nobody_reads_are_bounded(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated call is free, and its images are in its answer: the longest stalled is left, until the rest fits."""
    size, once = 15_000_000, {"Idempotency-Key": "unread"}
    body = json.dumps({"model": TURBO, "prompt": "a fox"}).encode()
    with site.http() as http, ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.post, OPENAI, content=body, headers=once | {"content-type": "application/json"})
        until(lambda: site.own.store.queue.depth()[0])
        image = {"name": site.own.files.outputs.put(b"x" * size, "png"), "size": size, "width": 8, "height": 8}
        Tenant.complete(site, site.claim(), steps=4, **{**RESULT, "pictures": [image | {"seed": 7}]})
        assert len(call.result().content) > size * 4 / 3
    monkeypatch.setattr(
        "tintype.web.connections.MAX_UNSENT", 44_000_000
    )  # two answers, and not three: the system has a part of each
    with ExitStack() as closing:
        dialled = [closing.enter_context(dial(site.address, 8192)) for _ in range(3)]
        for one in dialled:
            one.sendall(call_bytes("POST", OPENAI, site.secret, body, None, **once))
            one.recv(1, socket.MSG_PEEK)
        ours = [one.getsockname() for one in dialled]

        def left() -> list[object]:
            return [one for one in ours if one in {it.client for it in site.server.server_state.connections}]

        until(lambda: len(left()) < len(ours))
        assert left() == ours[1:]
