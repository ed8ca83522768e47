"""Bodies as they come over a socket: refused before they come, counted while they do, and done with afterwards."""

from __future__ import annotations

import asyncio
import json
import socket
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import MEDIUM, TEXT, gradient, quick, refused
from tests.clients import dial
from tests.integration.website import Website, serving

from tintype.web import body
from tintype.web.generate import submit

#: Bytes of one body, and of all of one account and of all accounts.
MOST, PER_ACCOUNT, TOGETHER = 2_000_000, 3_000_000, 4_000_000
PICTURE = gradient(64, 64)
SAMPLE = "/sd-img2img-input.jpeg"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    data = tmp_path_factory.mktemp("bodies")
    with serving(data, max_body=MOST, account_bodies=PER_ACCOUNT, bodies=TOGETHER, webhook_allow="localhost") as site:
        site.own.store.accounts.credit(site.account_id, 1_000_000_000)
        yield site


@pytest.fixture(scope="module")
def http(site: Website) -> Iterator[httpx2.Client]:
    with site.http() as http:
        yield http


class Raw:
    """A connection, and what comes back on it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.came = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and JSON."""
        status = int(self.came.readline().split()[1])
        headers = {}
        while line := self.came.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = self.came.read(int(headers.get("content-length", 0)))
        return status, headers, json.loads(body or b"{}")

    def ended(self) -> bool:
        """Whether the server has closed it."""
        return self.came.read(1) == b""


@contextmanager
def raw(site: Website) -> Iterator[Raw]:
    with dial(site.address) as connection:
        call = Raw(connection)
        with call.came:
            yield call


def head(key: str, *lines: str, path: str = f"/v2/{TEXT}") -> bytes:
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "Host: a", f"x-api-key: {key}", "Content-Type: application/json", *lines, "", ""]
    ).encode()


def test_a_length_above_the_limit_is_refused_before_the_body_comes(site: Website) -> None:
    for length in (MOST + 1, 99_999_999_999):
        with raw(site) as call:
            call.send(head(site.secret, f"Content-Length: {length}", "Expect: 100-continue"))
            status, headers, body = call.answer()  # and no 100
            assert (status, body["error"]) == (413, f"The body is larger than {MOST} bytes")
            assert headers["connection"] == "close"
            assert call.ended()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Type: text/plain", "Content-Encoding: gzip"], 415),
        (["Content-Encoding: br"], 415),
        (["Content-Encoding: identity, gzip"], 415),
    ],
)
def test_what_the_headers_tell_is_refused_without_a_100(site: Website, lines: list[str], status: int) -> None:
    with raw(site) as call:
        call.send(head(site.secret, "Content-Length: 10", "Expect: 100-continue", *lines))
        answered, headers, body = call.answer()
        assert (answered, headers["accept-encoding"]) == (status, "identity")
        assert "content encoding is" in body["error"]
        assert "application/x-www-form-urlencoded" in body["error_description"]
        assert call.ended()


def test_strangers_are_refused_before_their_body(site: Website) -> None:
    with raw(site) as call:
        call.send(head("SG_nobody", "Content-Length: 1000", "Expect: 100-continue"))
        assert call.answer()[0] == 401
        assert call.ended()


def test_a_body_that_is_waited_for_is_asked_for(site: Website) -> None:
    body = json.dumps(quick()).encode()
    with raw(site) as call:
        for _ in range(2):
            call.send(head(site.secret, f"Content-Length: {len(body)}", "Expect: 100-continue"))
            assert call.answer()[0] == 100
            call.send(body)
            status, headers, _ = call.answer()
            assert (status, headers.get("connection")) == (200, None)


@pytest.mark.parametrize(("key", "status"), [("SG_nobody", 401), (None, 413)])
def test_whoever_is_refused_in_the_middle_hears_why_and_is_not_listened_to_for_ever(
    site: Website, key: str | None, status: int
) -> None:
    """A client that writes first and reads then."""
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with raw(site) as call:
        call.send(head(key or site.secret, "Transfer-Encoding: chunked"))
        for _ in range(64):
            call.send(piece)
        call.send(b"0\r\n\r\n")
        answered, headers, _ = call.answer()
        assert (answered, headers["connection"]) == (status, "close")
        assert call.ended()
    with raw(site) as call:  # what it has left is small: the connection goes on
        call.send(head(key or site.secret, "Content-Length: 5", path="/v2/nothing") + b"abcde")
        assert call.answer()[0] in (401, 404)
        call.send(head(site.secret, "Content-Length: 0"))
        assert call.answer()[0] == 400


def other(site: Website) -> str:
    return site.own.store.accounts.keys.create(site.own.store.accounts.create("other", 1_000_000).id, "key")[1]


def test_bodies_under_way_are_counted_per_account_and_together(site: Website, http: httpx2.Client) -> None:
    held = site.own.runtime.bodies._held
    with raw(site) as first, raw(site) as second, site.http(other(site)) as elsewhere:
        first.send(head(site.secret, f"Content-Length: {MOST}") + b"{")
        until(lambda: held.total() == MOST)
        large = json.dumps(quick(image="A" * (PER_ACCOUNT - MOST))).encode()
        refusal = http.post(f"/v2/{TEXT}", content=large, headers={"content-type": "application/json"})
        refused(refusal, 429, "at the same time: this account's have ")
        assert (refusal.headers["retry-after"], refusal.headers["x-should-retry"]) == ("1", "true")
        assert http.post(f"/v2/{TEXT}", json=quick()).status_code == 200, "small ones pass"
        second.send(head(other(site), "Transfer-Encoding: chunked") + b"%x\r\n" % (TOGETHER - MOST - 1))
        second.send(b" " * (TOGETHER - MOST - 1) + b"\r\n")
        until(lambda: held.total() == TOGETHER - 1)
        refused(elsewhere.post(f"/v2/{TEXT}", json=quick()), 429, "at the same time: this server has memory for ")
    until(lambda: not held)
    assert http.post(f"/v2/{TEXT}", json=quick()).status_code == 200


def test_no_long_body_is_looked_through_on_the_event_loop(site: Website, http: httpx2.Client) -> None:
    threads = Counter[tuple[str, bool]]()

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                threads[function.__name__, False] += 1
            else:
                threads[function.__name__, True] += 1
            return function(*args)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body, "SHORT", 0)
        patch.setattr(body, "parse", noting(body.parse))
        patch.setattr(submit, "fingerprint", noting(submit.fingerprint))
        http.post(f"/v2/{TEXT}", json=quick(), headers={"idempotency-key": "thread"})
        http.post(f"/v2/{TEXT}", data=quick())
        http.post(f"/v2/{MEDIUM}", data={"prompt": "x"}, files={"image": PICTURE})
        for path in ("/webhook/add", "/webhook/rotate", "/v2/keys", "/upload-asset"):
            http.post(path, json={})
    assert threads == {("parse", False): 7, ("fingerprint", False): 1}


def test_one_body_alone_is_taken_whatever_the_limits_are(tmp_path: Path) -> None:
    with serving(tmp_path, account_bodies=0, bodies=0) as site, site.http() as http:
        assert http.post(f"/v2/{TEXT}", json=quick()).status_code == 200
        assert not site.own.runtime.bodies._held


@pytest.mark.parametrize("path", ["/webhook/add", "/webhook/replay", "/v2/keys"])
def test_what_takes_no_picture_takes_no_large_body(site: Website, http: httpx2.Client, path: str) -> None:
    refused(http.post(path, content=b" " * 1_100_000, headers={"content-type": "application/json"}), 413, "1048576")


def test_a_form_of_php(http: httpx2.Client) -> None:
    """Which writes null and false as nothing."""
    sent = {"prompt": "x", "strength": "0.5", "seed": "", "base64": "", "sampler": "", "negative_prompt": ""}
    files = {"image": ("a.png", PICTURE, "image/png")}
    assert http.post(f"/v2/{MEDIUM}", data=sent, files=files).status_code == 200
    refused(http.post(f"/v2/{MEDIUM}", data=sent, files={"image": ("", b"")}), 400, "image: required, but not sent")
    refused(http.post(f"/v2/{MEDIUM}", json={"prompt": "x", "image": SAMPLE, "seed": ""}), 400, "seed: '' was sent")


@pytest.mark.parametrize("name", ["Idempotency-Key", "Cancel-After", "X-Webhook-URL"])
def test_a_header_that_is_sent_twice(http: httpx2.Client, name: str) -> None:
    refused(
        http.post(f"/v2/{TEXT}", json=quick(), headers=[(name, "1"), (name.lower(), "2")]), 400, f"{name}: sent twice"
    )


def test_a_query_parameter_that_is_sent_twice(http: httpx2.Client) -> None:
    path = "/inference-request/request-history"
    refused(http.get(f"{path}?status=COMPLETED&page=1&status=FAILED"), 400, "status: sent twice")
    assert http.get(f"{path}?status=&status=FAILED").status_code == 200


def test_a_form_that_breaks_off_costs_nothing(site: Website, http: httpx2.Client) -> None:
    before = http.get("/v1/get-user-credits").json()
    whole = b'--q\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--q--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=q"}
    for cut in range(1, len(whole) - 2, 5):
        refused(http.post(f"/v2/{TEXT}", content=whole[:cut], headers=kind), 400)
    assert http.get("/v1/get-user-credits").json() == before
    assert http.post(f"/v2/{TEXT}", content=whole[:-2], headers=kind).status_code == 200


def test_a_form_sent_again_with_its_key_is_the_same_with_and_without_what_is_empty(http: httpx2.Client) -> None:
    once = {"idempotency-key": "form"}
    sent = {"prompt": "x", "seed": "", "image": b64encode(PICTURE).decode()}
    first, again = (http.post(f"/v2/{TEXT}", data=data, headers=once) for data in (sent, {**sent, "steps": ""}))
    assert first.json()["request_id"] == again.json()["request_id"]


@pytest.mark.parametrize("value", ["1_0", "１０", "0x10", "1e", "", "++1", "1 0", "\xa010", "ten", "1__0"])
def test_numbers_as_text_are_plain(http: httpx2.Client, value: str) -> None:
    refused(http.post(f"/v2/{TEXT}", json=quick(steps=value)), 400, "steps: ")
    refused(http.post(f"/v2/{TEXT}", json=quick(guidance_scale=value)), 400, "guidance_scale: ")
    headers = {"cancel-after": value.encode()}
    refused(http.post(f"/v2/{TEXT}", json=quick(), headers=headers), 400, "Cancel-After: ")


@pytest.mark.parametrize("value", ["5", " 5 ", "+5", "5.0"])
def test_so_they_may_be_written(http: httpx2.Client, value: str) -> None:
    assert http.post(f"/v2/{TEXT}", json=quick(steps=value, guidance_scale=value)).status_code == 200


@pytest.mark.parametrize(
    "address", ["http://localhost/caf\u00e9", "http://b\u00fccher.example/", "http://localhost/\u00a0"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_webhook_in_a_header_is_ascii(http: httpx2.Client, address: str, encoding: str) -> None:
    named = address.encode(encoding)
    refused(http.post(f"/v2/{TEXT}", json=quick(), headers={"x-webhook-url": named}), 400, "X-Webhook-URL: ", "%C3%A9")


HOOK = {"webhook_url": "https://receiver.example.com/", "event": {"types": ["REQUEST_FAILED"]}}


def test_the_list_of_a_webhook_s_events_alone_is_taken_too(http: httpx2.Client) -> None:
    sent = HOOK | {"webhook_url": " https://receiver.example.com/ ", "event": ["REQUEST_FAILED", "REQUEST_FAILED"]}
    added = http.post("/webhook/add", json=sent).json()["webhook"]
    assert {name: added[name] for name in HOOK} == HOOK


def told(site: Website, http: httpx2.Client, host: str) -> dict[str, Any]:
    """What the account's webhooks are told of a request that came by this host."""
    slug_and_id = http.post(f"/v2/{TEXT}", json=quick(), headers={"host": host}).json()
    site.own.store.queue.cancel(slug_and_id["request_id"], site.account_id)
    [body] = {
        one.body
        for hook in site.own.store.webhooks.list(site.account_id)
        for one in site.own.store.webhooks.outbox.logs(hook.id, 1, 1)
    }
    data: dict[str, Any] = json.loads(body)["data"]
    assert data["request_id"] == slug_and_id["request_id"]
    return data


@pytest.mark.parametrize(
    ("public", "links"),
    [("", "http://own.example/"), ("https://pictures.example/api", "https://pictures.example/api/")],
)
def test_messages_have_links_that_no_caller_names(tmp_path: Path, public: str, links: str) -> None:
    hook = {"webhook_url": "https://one.example/", "event": {"types": ["REQUEST_FAILED"]}}
    with serving(tmp_path, public_url=public) as site, site.http() as http:
        added = http.post("/webhook/add", json=hook, headers={"host": "own.example"})
        assert added.status_code == 200, added.text
        assert told(site, http, "evil.example")["response_url"].startswith(links)
        if not public:
            changed = hook | {"webhook_id": added.json()["webhook"]["webhook_id"]}
            http.post("/webhook/update", json=changed, headers={"host": "new.example"})
            assert told(site, http, "evil.example")["response_url"].startswith("http://new.example/")
            site.own.store.webhooks.drop_base_urls()  # as at a start where the operator has named the address
            assert told(site, http, "pictures.example")["response_url"].startswith("http://pictures.example/")


def test_a_seed_is_exact_for_a_reader_that_has_floats_only(site: Website, http: httpx2.Client) -> None:
    seed = 2**53 + 1
    sent = http.post(f"/v2/{TEXT}", json=quick(seed=str(seed)))
    row = http.get(f"/inference-request/request-history/{sent.json()['request_id']}").json()
    assert row["request_body"]["seed"] == row["parameters"]["seed"] == str(seed)
    assert row["request_body"]["steps"] == quick()["steps"]


def test_what_was_cancelled_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, sync_timeout=60) as site, site.http() as http:
        answer = http.post(f"/v1/{TEXT}", json=quick(), headers={"cancel-after": "0.1"})
        refused(answer, 500, "cancelled")
        assert answer.headers["x-should-retry"] == "false"
        assert "Cancel-After" in answer.json()["error_description"]
        assert "operator" not in answer.json()["error_description"]
