"""OpenAI's Images API by its own client, against a server without workers: answers, streams, charges, refusals."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from PIL import Image
from sqlalchemy import select
from tests.acceptance.harness import until
from tests.clients import NO_TLS, dial
from tests.image_files import saved
from tests.integration.test_shutdown import told
from tests.integration.website import PATIENT, Website, serving

from tintype.errors import StorageUnavailable, StoreUnavailable
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import requests
from tintype.store.queue.progress import Preview

TURBO, SD15, MEDIUM = "stable-diffusion-3.5-turbo-txt2img", "sd1.5-img2img", "sd3-med-img2img"
GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"
WIDE = saved(Image.new("RGB", (900, 500), "red"))
ONCE = {"Idempotency-Key": "order-7"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("openai")) as website:
        yield website


@pytest.fixture
def tester(site: Website) -> Iterator[OpenAI]:
    """OpenAI's client with a test key, whose images the server draws itself."""
    with calling(site, site.accounts.keys.create(site.account_id, "test", test=True)[1]) as client:
        yield client


@pytest.fixture
def client(site: Website) -> Iterator[OpenAI]:
    """The same with a live key: the tests play the worker."""
    with calling(site) as client:
        yield client
    site.cancel_all()


@contextmanager
def calling(site: Website, secret: str = "", retries: int = 0) -> Iterator[OpenAI]:
    with httpx2.Client(verify=NO_TLS, timeout=60) as http:
        base = f"{site.address}/v1"
        yield OpenAI(api_key=secret or site.secret, base_url=base, max_retries=retries, http_client=http)


@contextmanager
def in_thread(call: Callable[..., Any], *given: Any, **named: Any) -> Iterator[Future[Any]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call, *given, **named)


def claimed(site: Website) -> Request:
    """The call's request, in the worker's hands."""
    until(lambda: site.own.store.queue.depth()[0])
    return site.claim()


def found(site: Website, id: str) -> Request:
    with site.db.read() as view:  # test keys' are another account's
        return Request.of(view.execute(select(requests).where(requests.c.id == id)).one())


def image_of(answer: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer.b64_json)))


def events_of(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Each event's name and data; a comment is one called comment."""
    name = ""
    for line in lines:
        word, _, value = line.partition(": ")
        if word == "event":
            name = value
        elif word == "data":
            yield name, json.loads(value)
        elif line.startswith(":"):
            yield "comment", None


def test_an_answer_has_all_that_clients_read(site: Website, tester: OpenAI) -> None:
    asked: dict[str, Any] = {"prompt": "a fox", "model": TURBO, "n": 2, "size": "256x128", "user": "me"}
    raw = tester.images.with_raw_response.generate(**asked, extra_body={"seed": 7, "colour": "red"})
    answer, headers = raw.parse(), raw.headers
    request = found(site, headers["x-request-id"])
    assert answer.data
    assert [image_of(one).size for one in answer.data] == [(256, 128), (256, 128)]
    assert [one.seed for one in request.result.outputs] == [7, 8] if request.result else False
    body = json.loads(raw.text)
    images = body.pop("data")
    assert [[*one] for one in images] == [["b64_json"], ["b64_json"]]
    assert body == {
        "created": int(request.timing.ended_at or 0),
        "background": "opaque",
        "output_format": "png",
        "quality": "medium",
        "size": "256x128",
        "usage": {
            "total_tokens": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
        },
        "safety_identifier": "me",
    }
    assert (headers["x-ignored-parameters"], headers["x-cost"], headers["x-mode"]) == ("colour", "0", "test")
    assert headers["x-remaining-credits"] == "1"
    assert request.metadata.dialect == "openai"
    assert request.metadata.asked == {**asked, "seed": 7, "colour": "red"}
    with site.http(tester.api_key) as http:
        shown = http.get(f"/v2/requests/{request.id}").json()
        assert (shown["status"], shown["seed"], len(shown["images"])) == ("COMPLETED", "7", 2)


@pytest.mark.parametrize("more", [{"response_format": "url"}, {"model": "dall-e-3"}])
def test_addresses_instead_of_base64(tmp_path: Path, more: dict[str, Any]) -> None:
    models = tmp_path / "models.toml"
    models.write_text(f'[aliases]\n"dall-e-3" = "{SD15}"\n')
    with serving(tmp_path / "data", models_file=models) as site:
        secret = site.accounts.keys.create(site.account_id, "test", test=True)[1]
        with calling(site, secret) as client, site.http() as http:
            raw = client.images.with_raw_response.generate(prompt="a fox", output_format="jpeg", **more)
            [one] = raw.parse().data or []
            assert (one.b64_json, str(one.url).startswith(f"{site.address}/files/")) == (None, True)
            assert Image.open(io.BytesIO(http.get(str(one.url)).content)).format == "JPEG"
            kept = client.images.generate(prompt="a fox", **{**more, "response_format": "b64_json"})
            assert kept.data
            assert image_of(kept.data[0]).format == "PNG"


def test_edits_by_form_and_json(site: Website, tester: OpenAI) -> None:
    one = tester.images.edit(prompt="a fox", image=("../a b.png", WIDE), model=SD15)
    listed = tester.images.edit(prompt="a fox", image=[WIDE], size="512x512", n=2, extra_body={"seed": 7})
    assert (one.size, listed.size, len(listed.data or [])) == ("768x512", "512x512", 2)
    with site.http(tester.api_key) as http:
        text = base64.b64encode(WIDE).decode()
        for image in (text, f"data:image/png;base64,{text}", [text], "https://example.com/a.png"):
            answer = http.post(EDIT, json={"prompt": "a fox", "image": image, "model": SD15})
            assert answer.json()["size"] == ("512x512" if image == "https://example.com/a.png" else "768x512")
        empty = {"prompt": "a fox", "size": "", "negative_prompt": "", "stream": "", "mask": ""}
        form = http.post(f"{EDIT}?api-version=2025-04-01", data=empty, files=[("image[]", ("x", WIDE))])
        assert form.json()["size"] == "896x496"
        assert found(site, form.headers["x-request-id"]).params["negative_prompt"] == ""


def test_the_list_of_models_has_several_readers(site: Website, tester: OpenAI) -> None:
    names = [one.id for one in tester.models.list()]
    with httpx2.Client(base_url=site.address, verify=NO_TLS, timeout=60) as anybody:
        body = anybody.get("/v1/models").json()
        assert body["object"] == "list"
        served = [one["slug"] for one in body["models"] if one.get("weights") != "needs weights"]
        assert names == [*served, "default"]
        one = anybody.get("/v1/models/default")
        assert one.json() == body["data"][-1]
        assert anybody.head("/v1/models/default").status_code == 200
        assert [*one.json()] == ["id", "object", "created", "owned_by"]
    assert tester.models.retrieve(SD15).owned_by == "tintype"
    with pytest.raises(openai.NotFoundError) as refused:
        tester.models.retrieve("gpt-5")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/images/variations", {}, 404, "unknown_url"),
        ("POST", "/v1/responses", {}, 404, "unknown_url"),
        ("POST", "/images/generations", {}, 404, "unknown_url"),  # a base URL without /v1
        ("GET", GENERATE, None, 405, "unknown_url"),
        ("DELETE", "/v1/models/default", None, 405, "unknown_url"),
        ("POST", GENERATE, "{", 400, None),
        ("POST", GENERATE, {}, 400, "missing_required_parameter"),
        ("POST", GENERATE, {"prompt": "a fox", "model": "gpt-5"}, 404, "model_not_found"),
        ("POST", GENERATE, {"prompt": "a fox", "model": "sdxl1.0-txt2img"}, 404, "model_not_found"),
        ("POST", EDIT, {"prompt": "a fox", "image": "eA=="}, 400, "invalid_image_file"),
        ("POST", EDIT, {"prompt": "a fox", "image": "/files/gone.png"}, 400, "invalid_image_file"),
        ("POST", GENERATE, {"prompt": "test:refuse:forbidden"}, 403, "model_not_allowed"),
        ("POST", GENERATE, {"prompt": "test:refuse:spend-cap"}, 429, "insufficient_quota"),
        ("POST", GENERATE, {"prompt": "test:refuse:queue-full"}, 429, "rate_limit_exceeded"),
        ("POST", GENERATE, {"prompt": "test:refuse:too-large"}, 413, None),
        ("POST", GENERATE, {"prompt": "test:refuse:store-unavailable"}, 503, None),
        ("POST", GENERATE, {"prompt": "test:refuse:internal"}, 500, None),
        ("POST", GENERATE, {"prompt": "test:fail:safety"}, 400, "moderation_blocked"),
        ("POST", GENERATE, {"prompt": "test:fail:unreachable-picture"}, 400, "invalid_image_file"),
        ("POST", GENERATE, {"prompt": "test:fail:crash"}, 500, None),
        ("POST", GENERATE, {"prompt": "test:fail:cancelled"}, 500, None),
        ("POST", GENERATE, {"prompt": "test:interrupt:wait-ran-out"}, 504, "timeout"),
        ("POST", GENERATE, {"prompt": "test:interrupt:no-worker"}, 502, "no_worker"),
    ],
)
def test_refusals_of_every_kind(
    site: Website, tester: OpenAI, method: str, path: str, body: Any, status: int, code: str | None
) -> None:
    before = site.account
    with site.http(tester.api_key) as http:
        sent = {"content": body, "headers": {"content-type": "application/json"}} if body == "{" else {"json": body}
        refusal = http.request(method, path, **sent)
    fault = refusal.json()["error"]
    assert (refusal.status_code, fault["code"], {*refusal.json()}) == (status, code, {"error"})
    assert {*fault} == {"message", "type", "param", "code"}
    assert (site.account.balance, site.account.held) == (before.balance, before.held)
    if id := refusal.headers.get("x-request-id"):
        assert found(site, id).status is Status.FAILED  # whatever is interrupted is cancelled


def test_keys_and_what_they_may(site: Website) -> None:
    keys = site.accounts.keys
    able = keys.create(site.account_id, "models", models=[TURBO], test=True)[1]
    for secret, body, kind, code in (
        ("SG_nobody", {}, openai.AuthenticationError, "invalid_api_key"),
        (
            keys.create(site.account_id, "reader", read_only=True)[1],
            {},
            openai.PermissionDeniedError,
            "model_not_allowed",
        ),
        (able, {"model": SD15}, openai.PermissionDeniedError, "model_not_allowed"),
    ):
        with calling(site, secret) as client, pytest.raises(kind) as refused:
            client.images.generate(prompt="a fox", **body)
        assert refused.value.code == code
    with calling(site, able) as client:
        assert client.images.generate(prompt="a fox", model="default", size="64x64").data  # which means the slug
    with httpx2.Client(base_url=site.address, verify=NO_TLS, timeout=60) as http:
        basic = base64.b64encode(f"user:{able}".encode()).decode()
        for authorization in (f"token {able}", f"BEARER {able}", f"Basic {basic}"):
            body = {"prompt": "a fox", "size": "64x64"}
            assert http.post(GENERATE, json=body, headers={"authorization": authorization}).is_success


def test_what_a_body_may_be(tmp_path: Path) -> None:
    with serving(tmp_path, max_body=2000) as site, site.http() as http:
        large = http.post(GENERATE, json={"prompt": "x" * 3000})
        assert (large.status_code, large.json()["error"]["type"]) == (413, "invalid_request_error")
        odd = http.post(GENERATE, content=b"x", headers={"content-type": "text/plain"})
        assert (odd.status_code, odd.json()["error"]["type"]) == (415, "invalid_request_error")


# Charges: what a call costs in the worst case


def charged(site: Website, before: int) -> int:
    """Micro-dollars; nothing is held any more."""
    assert site.account.held == 0
    return before - site.account.balance


def test_an_answer_is_charged_once(site: Website, client: OpenAI) -> None:
    before = site.account.balance
    with in_thread(client.images.with_raw_response.generate, prompt="a fox", n=2, extra_headers=ONCE) as call:
        request = claimed(site)
        with pytest.raises(openai.ConflictError) as early:
            client.images.generate(prompt="a fox", n=2, extra_headers=ONCE)
        assert (early.value.code, early.value.response.headers["retry-after"]) == ("request_in_progress", "2")
        site.complete(request, 2)
        raw = call.result()
    again = client.images.with_raw_response.generate(prompt="a fox", n=2, extra_headers=ONCE)
    assert (again.text, again.headers["idempotent-replayed"]) == (raw.text, "true")
    assert {name: again.headers[name] for name in ("x-request-id", "x-cost")} == {
        name: raw.headers[name] for name in ("x-request-id", "x-cost")
    }
    with pytest.raises(openai.BadRequestError) as other:
        client.images.generate(prompt="a hare", n=2, extra_headers=ONCE)
    assert (other.value.type, other.value.code) == ("idempotency_error", None)
    assert charged(site, before) == request.billing.price
    assert float(raw.headers["x-cost"]) == request.billing.price / 1_000_000


def test_a_call_that_times_out_costs_nothing_however_often_its_client_retries(tmp_path: Path) -> None:
    with serving(tmp_path, sync_timeout=0.05, **PATIENT) as site, calling(site, retries=2) as client:
        for headers, status in (({}, Status.FAILED), (ONCE, Status.QUEUED)):
            with pytest.raises(openai.InternalServerError) as refused:
                client.with_options(max_retries=0).images.generate(prompt="a fox", extra_headers=headers)
            said = refused.value.response
            assert (said.status_code, refused.value.code) == (502, "no_worker")
            assert said.headers["x-should-retry"] == ("true" if headers else "false")
            assert found(site, said.headers["x-request-id"]).status is status
        site.cancel_all()
        site.beat()
        with pytest.raises(openai.InternalServerError) as refused:
            client.images.generate(prompt="a fox")
        assert (refused.value.response.status_code, refused.value.code) == (504, "timeout")
        assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"  # x-should-retry says no
        assert charged(site, site.account.balance) == 0
        # Those of Vercel's ai send again whatever that header says: each attempt's request is cancelled.
        with site.http() as http:
            ids = [http.post(GENERATE, json={"prompt": "a fox"}).headers["x-request-id"] for _ in range(3)]
        assert {found(site, id).outcome for id in ids} == {"cancelled"}
        assert charged(site, site.account.balance) == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("once", [False, True])
def test_a_client_that_leaves_cancels_unless_it_can_ask_again(site: Website, stream: bool, once: bool) -> None:
    body = json.dumps({"prompt": "a fox", "stream": stream}).encode()
    head = [
        f"POST {GENERATE} HTTP/1.1",
        "host: a",
        f"authorization: Bearer {site.secret}",
        f"content-length: {len(body)}",
    ]
    head += [f"idempotency-key: leaves-{stream}"] if once else []
    before = site.account.balance
    with dial(site.address) as caller:
        caller.sendall("\r\n".join([*head, "", ""]).encode() + body)
        request = claimed(site)
        if stream:
            assert caller.recv(100).startswith(b"HTTP/1.1 200")
    lease = site.own.store.leases.cancelled
    if once:
        site.complete(request)
        assert found(site, request.id).status is Status.COMPLETED
        assert charged(site, before) == request.billing.price
    else:
        until(lambda: lease([request.id]))
        site.own.store.leases.end_cancelled([(request.id, request.attempt)])
        assert charged(site, before) == 0


def test_an_image_whose_storage_is_away_is_made_and_can_be_fetched_later(
    site: Website, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_name: str) -> bytes:
        raise StorageUnavailable

    with in_thread(client.images.generate, prompt="a fox") as call:
        request = claimed(site)
        monkeypatch.setattr(site.own.files.outputs, "get", away)
        site.complete(request)
        with pytest.raises(openai.InternalServerError) as refused:
            call.result()
    assert (refused.value.response.status_code, refused.value.code) == (504, "timeout")
    assert refused.value.response.headers["x-request-id"] == request.id
    assert found(site, request.id).status is Status.COMPLETED


def test_what_is_left_while_the_database_is_away_is_cancelled_once_it_is_back(
    site: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, queue = site.account, site.own.store.queue

    def away(*_: object) -> Request:
        raise StoreUnavailable

    with site.http() as http, monkeypatch.context() as patch:
        with http.stream("POST", GENERATE, json={"prompt": "a fox", "stream": True}) as answer:
            id = answer.headers["x-request-id"]
            patch.setattr(type(queue), "cancel", away)
        until(lambda: id in site.own.runtime.abandoned)
        assert found(site, id).status is Status.QUEUED
    until(lambda: found(site, id).outcome == "cancelled")
    until(lambda: not site.own.runtime.abandoned)
    assert (site.account.balance, site.account.held) == (before.balance, before.held)


# Streams


def preview(site: Website, request: Request, number: int, step: int, colour: str) -> None:
    data = saved(Image.new("RGB", (16, 8), colour), "JPEG")
    site.own.store.queue.previews.put(request.id, [Preview(request.attempt, number, 0, step, data)])


def test_partial_images_come_once_in_each_part_of_the_steps(site: Website, client: OpenAI) -> None:
    asked: dict[str, Any] = {"prompt": "a fox", "size": "128x64", "output_format": "webp", "n": 2, "user": "me"}
    with client.images.generate(**asked, stream=True, partial_images=3) as stream:
        events = iter(stream)
        request = claimed(site)
        assert site.own.store.queue.previews.followed([request.id]) <= {request.id}
        shown = []
        for step, colour in ((1, "red"), (2, "lime"), (3, "blue")):
            preview(site, request, step, step, colour)
            site.step(request, step)
            shown.append(next(events))
        until(lambda: site.own.store.queue.previews.followed([request.id]) == {request.id})
        site.complete(request, 2)
        ended = [*events]
    for index, (event, colour) in enumerate(zip(shown, ((254, 0, 0), (0, 255, 1), (0, 0, 254)), strict=True)):
        assert event.type == "image_generation.partial_image"
        assert (event.partial_image_index, event.size, event.output_format) == (index, "128x64", "webp")
        image = image_of(event)
        assert (image.size, image.format) == ((128, 64), "WEBP")
        pixel = image.getpixel((64, 32))
        assert isinstance(pixel, tuple)
        assert all(abs(one - other) < 12 for one, other in zip(pixel, colour, strict=True))
        assert not hasattr(event, "usage")
    assert [event.type for event in ended] == ["image_generation.completed"] * 2
    assert [base64.b64decode(event.b64_json) for event in ended] == [b"picture"] * 2
    assert [event.safety_identifier for event in ended if event.type == "image_generation.completed"] == ["me"] * 2


def test_no_preview_no_partial_image_and_none_is_made_without_being_asked_for(site: Website, client: OpenAI) -> None:
    for partial in (0, 2):
        with client.images.generate(prompt="a fox", stream=True, partial_images=partial) as stream:
            request = claimed(site)
            site.step(request, 4)
            until(lambda: site.own.runtime.watcher._follows)
            site.complete(request)
            assert [event.type for event in stream] == ["image_generation.completed"]
        wanted = site.own.store.queue.previews.followed([request.id])
        assert partial or not wanted


def test_a_preview_that_can_t_be_read_costs_nobody_the_image(site: Website, client: OpenAI) -> None:
    with client.images.generate(prompt="a fox", stream=True, partial_images=1) as stream:
        request = claimed(site)
        site.own.store.queue.previews.put(request.id, [Preview(request.attempt, 1, 0, 2, b"no JPEG")])
        site.step(request, 3)
        until(lambda: site.own.runtime.watcher._known().get(request.id))
        site.complete(request)
        assert [event.type for event in stream] == ["image_generation.completed"]


def test_a_stream_s_answer_and_its_repetition(site: Website, tester: OpenAI) -> None:
    asked = {"prompt": "a fox", "image": base64.b64encode(WIDE).decode(), "model": SD15, "stream": True, "n": 2}
    with site.http(tester.api_key) as http:
        first, again = (http.post(EDIT, json=asked, headers=ONCE) for _ in range(2))
    assert first.headers["content-type"].startswith("text/event-stream")
    assert (first.headers["cache-control"], "x-request-id" in first.headers) == ("no-store", True)
    assert (again.headers["idempotent-replayed"], again.headers["x-cost"]) == ("true", "0")
    told = [event for event in events_of(iter(first.text.splitlines())) if event[0] != "comment"]
    assert [*events_of(iter(again.text.splitlines()))] == told
    assert [name for name, _ in told] == ["image_edit.completed"] * 2
    for name, data in told:
        assert data["type"] == name
        assert {*data} == {
            *("type", "b64_json", "created_at", "size", "quality", "background", "output_format", "usage")
        }


def test_a_stream_that_fails_says_so_and_what_is_wrong_at_once_is_an_ordinary_refusal(
    site: Website, tester: OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError):
        tester.images.generate(prompt="a fox", stream=True, n=99)
    for prompt, code in (("test:fail:safety", "moderation_blocked"), ("test:interrupt:no-worker", "no_worker")):
        with pytest.raises(openai.APIError) as failed:
            [*tester.images.generate(prompt=prompt, stream=True)]
        assert failed.value.code == code
    with site.http(tester.api_key) as http:
        told = http.post(GENERATE, json={"prompt": "test:fail:model", "stream": "true"})
    [(name, data)] = events_of(iter(told.text.splitlines()))
    assert (name, data["error"]["type"], told.status_code) == ("error", "server_error", 200)


def test_silence_is_broken_and_a_server_that_stops_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, events_heartbeat=0.02, web_grace=0.2) as site, site.http() as http:
        before = site.account.balance
        with http.stream("POST", GENERATE, json={"prompt": "a fox", "stream": True}) as answer:
            events = events_of(answer.iter_lines())
            assert next(events) == ("comment", None)
            told(site)
            last = [event for event in events if event[0] != "comment"]
        assert [(name, data["error"]["type"]) for name, data in last] == [("error", "server_error")]
        assert "being restarted" in last[0][1]["error"]["message"]
        assert charged(site, before) == 0


def test_streams_count_among_the_calls_that_wait(tmp_path: Path) -> None:
    with serving(tmp_path, account_waits=1) as site, calling(site) as client:
        before = site.account.held
        with client.images.generate(prompt="a fox", stream=True):
            until(lambda: site.own.store.queue.depth()[0] == 1)
            for stream in (True, False):
                with pytest.raises(openai.RateLimitError) as refused:
                    client.images.generate(prompt="a fox", stream=stream)
                assert refused.value.code == "rate_limit_exceeded"
            assert site.own.store.queue.depth()[0] == 1  # nothing was queued for those
        until(lambda: site.account.held == before)


def test_the_async_client_too(site: Website, tester: OpenAI) -> None:
    async def calls() -> tuple[Any, list[Any]]:
        async with httpx2.AsyncClient(verify=NO_TLS, timeout=60) as http:
            client = AsyncOpenAI(api_key=tester.api_key, base_url=tester.base_url, http_client=http)
            edit = await client.images.edit(prompt="a fox", image=WIDE, model=SD15)
            stream = await client.images.generate(prompt="a fox", size="64x64", stream=True)
            return edit, [event async for event in stream]

    edit, events = asyncio.run(calls())
    assert (edit.size, [event.size for event in events]) == ("768x512", ["64x64"])
