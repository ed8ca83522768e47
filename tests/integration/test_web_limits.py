"""Contract, sections 2 and 3: 429 with its headers, polling that is never refused, prices per second, Cancel-After."""

from __future__ import annotations

import json
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, update
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import MEDIUM, TEXT, gradient, left, quick, refused, refused_for_now
from tests.clients import call_bytes, dial
from tests.integration.sse import following, told
from tests.integration.website import Website, serving

from tintype.catalog.models import MODELS
from tintype.errors import BadPicture
from tintype.media.decoder import Decoded, Decoder
from tintype.media.http import PublicClient
from tintype.media.network import Cancellation
from tintype.store.accounts.keys import Key
from tintype.store.db import measurements
from tintype.store.db.tables import paces, requests
from tintype.web.threads import MAX_OF_HOLDER, MAX_THREADS
from tintype.worker.inputs import Inputs

#: Seconds after which something will not come about.
LONG = 60.0


def post(http: httpx2.Client, version: str = "v2", headers: dict[str, str] | None = None) -> httpx2.Response:
    return http.post(f"/{version}/{TEXT}", json=quick(), headers=headers or {})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_max_queued": 2}, "Too many images: the API keys of this account together may have 2 at the same time"),
        ({"queue": 4}, "One account may have 2 of the 4 images"),
        ({"queue": 2, "queue_share": 1}, "The queue is full"),
    ],
)
def test_429_says_when_to_come_back(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with serving(tmp_path, **settings) as site, site.http() as http:
        for _ in range(2):
            assert post(http).status_code == 200
        before = left(http)
        for version in ("v1", "v2"):
            refused_for_now(post(http, version), words)
        assert left(http) == before


def test_limits_outlive_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, key_rpm=1) as site, site.http() as http:
        assert post(http).status_code == 200
    with serving(tmp_path, key_rpm=1) as again, again.http(site.secret) as http:
        refused(post(http), 429)


@pytest.mark.parametrize("settings", [{"key_concurrency": 1}, {"key_max_queued": 1}, {"queue": 1, "queue_share": 1}])
def test_retry_after_is_what_the_running_work_still_takes(tmp_path: Path, settings: dict[str, int]) -> None:
    with serving(tmp_path, **settings) as site, site.http() as http:
        site.submit()
        site.complete(site.claim())  # 1.5 s for its 4 steps
        with site.own.store.db.write() as tx:
            measurements.fold(tx)
            tx.execute(update(paces).values(seconds=10))
        site.submit()
        assert refused_for(http) == 40, "queued: all of its steps"
        site.step(site.claim(), 1)
        assert refused_for(http) == 30, "running: the rest of them"


def refused_for(http: httpx2.Client) -> int:
    refusal = post(http)
    refused(refusal, 429)
    return int(refusal.headers["retry-after"])


def test_pixels_at_the_input_picture_s_size(tmp_path: Path) -> None:
    """Counted as soon as the size is known: at once for what is sent, by a worker for what is fetched."""
    with serving(tmp_path) as site:
        key, secret = site.own.store.accounts.keys.create(site.account_id, "key", max_pixels=2 * 64 * 128)
        with site.http(secret) as http:
            small, large = (b64encode(gradient(64, height)).decode() for height in (128, 256))
            ask = {"prompt": "a fox", "samples": 2}
            for image in (large, "/sd3-img2img-ip.jpg"):
                refused(http.post(f"/v2/{MEDIUM}", json={**ask, "image": image}), 403, "16384 pixels")
            assert list((tmp_path / "inputs").glob("*")) == []
            assert http.post(f"/v2/{MEDIUM}", json={**ask, "image": small}).status_code == 200
            fetched = http.post(f"/v2/{MEDIUM}", json={**ask, "image": "https://pictures.example/a.png"})
            assert fetched.status_code == 200
        worker_refuses(site, key)


def worker_refuses(site: Website, key: Key) -> None:
    """What a worker says once it has fetched the picture, here a sample that is past the web's own look."""
    wanted = MODELS[MEDIUM].read(MODELS[MEDIUM].validate({"prompt": "a fox", "image": "/sd3-img2img-ip.jpg"})[0])
    with Inputs(site.own.files.inputs, PublicClient(frozenset(), 1), Decoder(2**21, 10), 2, 2**20) as pictures:

        def fetch(asking: Key) -> Decoded | None:
            limit = partial(site.own.store.leases.pixel_limit, asking.id)
            return pictures.submit(wanted, site.account_id, limit, Cancellation()).result()

        with pytest.raises(BadPicture, match="1048576 pixels; this API key may ask for 16384 at once"):
            fetch(key)
        assert fetch(site.key)


def test_so_many_calls_of_an_account_wait_and_follow(tmp_path: Path) -> None:
    """All its keys together; one call more is refused before anything is queued or held, and costs nothing."""
    with serving(tmp_path, account_waits=2) as site, site.http() as http, ThreadPoolExecutor(1) as pool:
        request = site.submit()
        _, spare = site.own.store.accounts.keys.create(site.account_id, "spare")
        _, stranger = site.own.store.accounts.keys.create(site.own.store.accounts.create("two", 10**6).id, "stranger")
        with following(http, request.id) as one:
            next(one)
            waiting = pool.submit(post, http, "v1")
            until(lambda: site.own.store.queue.depth()[0] == 2, 60)
            before = left(http)
            with site.http(spare) as another:
                refused(post(another, "v1"), 429, "Too many waiting calls: this account may have 2 ")
                refused(another.get(f"/v2/requests/{request.id}/events"), 429, "this account may have 2 ")
            assert (left(http), site.own.store.queue.depth()[0]) == (before, 2)
            with site.http(stranger) as other:
                theirs = post(other).json()["request_id"]
                with following(other, theirs) as events:
                    next(events)
        until(lambda: site.own.runtime.waits.open == 1, 60)  # who follows no longer has gone
        with following(http, request.id) as again:
            next(again)
        for _ in range(3):
            site.complete(site.claim())
        assert waiting.result().status_code == 200
        assert [event.name for event in told(http, request.id)] == ["completed"]


def test_so_many_calls_of_all_accounts_wait_and_follow(tmp_path: Path) -> None:
    with serving(tmp_path, waits=1) as site, site.http() as http:
        request = site.submit()
        _, test_key = site.own.store.accounts.keys.create(site.account_id, "rehearsal", test=True)
        with following(http, request.id) as one:
            next(one)
            with site.http(test_key) as other:
                refused(post(other, "v1"), 429, "Too many waiting calls: this server may have 1 ")


def test_a_price_per_second_holds_the_most_and_settles_what_was_used(tmp_path: Path) -> None:
    prices = {TEXT: {"dollars": 0.01, "per": "second", "most_seconds": 4}}
    with serving(tmp_path, prices=prices) as site, site.http() as http, ThreadPoolExecutor(1) as pool:
        listed = {model["slug"]: model for model in http.get("/v1/models").json()["models"]}
        assert (listed[TEXT]["price"], listed[TEXT]["price_per"]) == (0.01, "second")
        submitted = http.post(f"/v2/{TEXT}", json=quick(batch_size=2))
        assert left(http) == pytest.approx(1 - 2 * 0.04), "the most it can cost"
        site.complete(site.claim(), images=2)  # in 1.5 seconds
        metrics = http.get(f"/v2/requests/{submitted.json()['request_id']}").json()["metrics"]
        assert (metrics["cost"], metrics["remaining_credits"], left(http)) == (0.015, 0.985, 0.985)
        blocking = pool.submit(post, http, "v1")  # its price is held once it is queued
        until(lambda: left(http) < 0.985, 60)
        site.complete(site.claim())
        assert (blocking.result().headers["x-cost"], left(http)) == ("0.015", 0.97)
        assert post(http, "v2").status_code == 200
        failing = site.claim()
        site.own.store.leases.fail(failing.id, failing.attempt, "no such picture", 400)
        assert left(http) == 0.97
        site.own.store.accounts.credit(site.account_id, -900_000)
        refused(http.post(f"/v2/{TEXT}", json=quick(batch_size=2)), 406, "$0.07", "$0.08")
        assert site.own.store.accounts.imbalances() == []


def test_a_burst_of_one_account_takes_no_others_threads_and_ends_with_its_client(tmp_path: Path) -> None:
    """While the database can't be written to, say; of what is hung up on, no more is done than had begun."""
    with serving(tmp_path, database_timeout=LONG) as site, ExitStack() as closing:
        other = site.own.store.accounts.create("two", 1_000_000).id
        _, secret = site.own.store.accounts.keys.create(other, "key")
        http = closing.enter_context(site.http(secret))
        http.timeout = LONG / 2
        with site.own.store.db.write():
            burst = [dial(site.address) for _ in range(MAX_THREADS + 20)]
            for one in burst:
                one.sendall(call_bytes("POST", f"/v2/{TEXT}", site.secret, json.dumps(quick()).encode()))
            until(lambda: len(site.server.server_state.tasks) == len(burst), LONG)
            for path in ("/v1/get-user-credits", "/ready", "/v2/requests/none/status", "/v2/keys"):
                assert http.get(path).status_code in (200, 404, 503), path
            for one in burst:
                one.close()
            until(lambda: len(site.server.server_state.connections) == 1, LONG)
        until(lambda: not site.server.server_state.tasks, LONG)
        with site.own.store.db.read() as view:
            assert len(view.execute(select(requests.c.id)).all()) <= MAX_OF_HOLDER, "one bunch"
        assert post(http).status_code == 200
