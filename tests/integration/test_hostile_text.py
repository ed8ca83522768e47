"""Texts that databases may not keep: refused in our own words, or kept to the letter, by both databases alike."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from tests.image_files import saved
from tests.integration.website import Website, serving

from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.queue.history import Filter

SLUG = SD35_TURBO_TXT2IMG.slug
RED = b64encode(saved(Image.new("RGB", (8, 8), "red"))).decode()
#: As JSON has them: a NUL, halves of surrogate pairs, what turns text around, what is no character.
HOSTILE = ["a\0b", "\ud800", "a\udfffb", "\u202e\U0001f4a9", "\ufffe", "'; DROP TABLE x; --"]
#: The same in an address.
IN_PATHS = ["a%00b", "%ED%A0%80", "%F0%9F%92%A9"]
#: And in headers, which are bytes.
IN_HEADERS = [b"\xff\xfe", b"\xed\xa0\x80", b"https://ex\xff.com/\xed\xa0\x80", b"https://example.com/%00"]
BODIES = {
    "/webhook/add": ("webhook_url", "event"),
    "/webhook/update": ("webhook_id", "webhook_url"),
    "/webhook/rotate": ("webhook_id",),
    "/webhook/replay": ("delivery_id",),
    "/v2/keys": ("name", "models", "mode"),
    f"/v2/{SLUG}": ("prompt", "negative_prompt", "sampler"),
}


@pytest.fixture
def site(tmp_path: Path, url: str) -> Iterator[Website]:
    with serving(tmp_path, database_url=url, account_keys=1000) as site:
        yield site


def sent(http: httpx2.Client, path: str, body: dict[str, Any], **headers: bytes) -> httpx2.Response:
    """A body with what only JSON's escapes can say."""
    return http.post(path, content=json.dumps(body), headers=[*headers.items(), ("content-type", "application/json")])


def test_in_addresses(site: Website) -> None:
    with site.http() as http:
        described = http.get("/openapi.json").json()["paths"]
        asked = [(method, path) for path, methods in described.items() for method in methods if "{" in path]
        for method, path in asked:
            for text in IN_PATHS:
                answer = http.request(method, re.sub(r"{\w+}", text, path))
                assert answer.status_code in range(400, 500), (method, path, text)
        for name in ("webhook_id", "page"):
            for text in IN_PATHS:
                answer = http.get(f"/webhook/dispatch-logs?{name}={text}")
                assert answer.status_code in (400, 404), (name, text)


def test_in_bodies(site: Website) -> None:
    fine = {"prompt": "a fox", "name": "key", "webhook_url": "https://example.com/", "webhook_id": "x"}
    with site.http() as http:
        for path, names in BODIES.items():
            for name in names:
                for text in HOSTILE:
                    answer = sent(http, path, fine | {"event": {"types": ["PICTURE.DONE"]}} | {name: text})
                    assert answer.status_code < 500, (path, name, text)


def test_in_headers(site: Website) -> None:
    with site.http() as http:
        for name in ("idempotency-key", "x-webhook-url", "traceparent", "cancel-after", "x-api-key", "user-agent"):
            for value in IN_HEADERS:
                answer = sent(http, f"/v2/{SLUG}", {"prompt": "a fox"}, **{name: value})
                assert answer.status_code < 500, (name, value)


def test_a_prompt_is_kept_to_the_letter(site: Website) -> None:
    kept = [text for text in HOSTILE if "\ud800" not in text and "\udfff" not in text]
    with site.http() as http:
        ids = [sent(http, f"/v2/{SLUG}", {"prompt": text}).json()["request_id"] for text in kept]
        assert [site.own.store.queue.find(id, site.account_id).params["prompt"] for id in ids] == kept
        for _ in ids:
            site.complete(site.claim())
        assert all(http.get(f"/v2/requests/{id}").is_success for id in ids)
    assert site.own.store.queue.expire(before=2**33) == len(kept)
    past, _ = site.own.store.queue.history.page(
        Filter(account_id=site.account_id), size=50, sort="submitted_at", descending=False
    )
    assert [one.params["prompt"] for one in past] == kept


def test_in_predictions(site: Website) -> None:
    """What is sent comes back, and so does what is ignored: names too."""
    with site.http() as http:
        for text in HOSTILE:
            fox = {"prompt": "a fox"}
            for body in (
                {"version": SLUG, "input": fox | {"prompt": text}},
                {"version": SLUG, "input": fox | {"ignored": text, text: 1}},
                {"version": SLUG, "input": fox | {"scheduler": text}},
                {"version": SLUG, "input": fox, text: text},
                {"version": text, "input": fox},
                {"version": SLUG, "input": fox, "webhook": text},
                {"version": SLUG, "input": fox, "webhook": "https://a.example/", "webhook_events_filter": [text]},
            ):
                assert sent(http, "/v1/predictions", body).status_code < 500, body
            file = {"content": RED, "filename": text, "metadata": {text: text}}
            assert sent(http, "/v1/files", file).status_code < 500, text
        made = http.get("/v1/predictions").json()["results"]
        assert len(made) >= 2 * len(HOSTILE)
        assert all(http.get(one["urls"]["get"]).is_success for one in made)
        assert http.get("/v1/files").is_success


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 4000])
def test_numbers_that_json_has_not(site: Website, number: str) -> None:
    """PostgreSQL keeps none of them but the last one."""
    named = f'"prompt": "a fox", "n1": {number}, "n2": {{"x": [{number}]}}'
    bodies = {
        "/v1/predictions": f'{{"version": "{SLUG}", "input": {{{named}}}, "y": {number}}}',
        "/v1/images/generations": f'{{"model": "{SLUG}", {named}}}',
        "/sdapi/v1/txt2img": f'{{{named}, "override_settings": {{"CLIP_stop_at_last_layers": {number}}}}}',
        f"/v2/models/tintype/{SLUG}/requests": f"{{{named}}}",
        "/v1/files": f'{{"content": "{RED}", "metadata": {{"x": [{number}]}}}}',
    }
    bodies["/v1/files?"] = bodies["/v1/files"].replace(f'{{"x": [{number}]}}', f'"{{\\"x\\": {number}}}"')
    with site.http(site.accounts.keys.create(site.account_id, "test", test=True)[1]) as http:
        for path, body in bodies.items():
            answer = http.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code < 500, path
        for path in ("/v1/predictions", "/v1/files"):
            made = http.get(path).json()["results"]
            assert all(http.get(one["urls"]["get"]).is_success for one in made)


#: Addresses whose fault shows only when they are read, and a picture whose text isn't any.
ADDRESSES = [
    "http://-.xn--a/",
    "http://.xn--b/",
    "http://[/a.png",
    "http://[fe80::1%25et\u00df]/",
    "http://x:99999999999999999999/",
]
PICTURES = [*ADDRESSES, "data:,\ud800", "data:image/png;base64,%\ud800", "http://\ud800/", "  http://-.xn--a/"]


def test_addresses_that_are_none(site: Website) -> None:
    events = {"types": ["REQUEST_FAILED"]}
    quick = {"prompt": "a fox", "width": 64, "height": 64}
    with site.http() as http:
        for url in ADDRESSES:
            answer = sent(http, "/webhook/add", {"webhook_url": url, "event": events})
            assert (answer.status_code, "webhook_url" in answer.text) == (400, True), url
            answer = sent(http, f"/v2/{SLUG}", quick, **{"x-webhook-url": url.encode("latin-1")})
            assert (answer.status_code, "X-Webhook-URL" in answer.text) == (400, True), url
        for url in PICTURES:
            answer = sent(http, "/v2/sd1.5-img2img", {"prompt": "a fox", "image": url})
            assert answer.status_code == 400, url
            assert sent(http, "/upload-asset", {"data_urls": [url]}).status_code == 400, url
    assert site.own.store.queue.depth()[:2] == (0, 0), "none of them is left to a worker"
    assert list(site.own.runtime.settings.inputs_folder.iterdir()) == []
