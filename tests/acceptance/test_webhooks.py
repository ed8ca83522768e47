"""Webhooks of a real server, told to a real receiver; and a SIGKILL between a result and its delivery."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import TEXT, new_key, quick, refused, result, submit
from tests.integration.webhook_receiver import Message, Receiver, receiving

EVENT = {"types": ["REQUEST_COMPLETED", "REQUEST_FAILED"]}
#: Without a worker, which no test key's request needs.
QUICK = {
    "webhook_backoff": 0.05,
    "webhook_poll": 0.05,
    "webhook_timeout": 2,
    "webhook_allow": "127.0.0.1",
    "fleet": "none",
}


@pytest.fixture
def http(builtin: Server) -> httpx2.Client:
    """A new account's."""
    return builtin.http(new_key(builtin, 1))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def add(http: httpx2.Client, url: str) -> dict[str, Any]:
    response = http.post("/webhook/add", json={"webhook_url": url, "event": EVENT})
    assert response.status_code == 200, response.text
    return dict(response.json()["webhook"])


def logs(http: httpx2.Client, hook: dict[str, Any]) -> list[dict[str, Any]]:
    return list(http.get("/webhook/dispatch-logs", params={"webhook_id": hook["webhook_id"]}).json()["logs"])


def test_the_surface(builtin: Server, http: httpx2.Client, receiver: Receiver) -> None:
    hook = add(http, receiver.url())
    assert hook["secret"].startswith("whsec_")
    assert http.get("/webhook/get").json()["webhooks"] == [hook]
    changed = {
        "webhook_id": hook["webhook_id"],
        "webhook_url": receiver.url("/b"),
        "event": {"types": EVENT["types"][:1]},
    }
    updated = http.post("/webhook/update", json=changed).json()["webhook"]
    assert updated == hook | {"webhook_url": receiver.url("/b"), "event": {"types": ["REQUEST_COMPLETED"]}}
    rotated = http.post("/webhook/rotate", json={"webhook_id": hook["webhook_id"]}).json()["webhook"]
    assert rotated["secret"] != hook["secret"]
    request_id = submit(http, TEXT, quick())
    until(lambda: receiver.messages)
    [message] = receiver.messages
    content = message.verified(rotated["secret"])
    assert content == message.verified(hook["secret"])
    assert content["data"]["request_id"] == request_id
    assert content["data"]["output"] == result(http, request_id).json()["output"]
    until(lambda: logs(http, hook)[0]["status"] == "DELIVERED")
    [log] = logs(http, hook)
    assert (log["request_id"], log["attempts"], log["response_status"]) == (request_id, 1, 204)
    gone = http.get("/webhook/inactive", params={"webhook_id": hook["webhook_id"]}).json()["webhook"]
    assert gone["is_active"] is False
    assert http.get("/webhook/get").json()["webhooks"] == []
    stranger = builtin.http(new_key(builtin, 0))
    refused(stranger.get("/webhook/dispatch-logs", params={"webhook_id": hook["webhook_id"]}), 404, "not found")


def test_an_address_for_one_request(http: httpx2.Client, receiver: Receiver) -> None:
    request_id = submit(http, TEXT, quick(), **{"x-webhook-url": receiver.url("/mine")})
    until(lambda: receiver.messages)
    [own] = http.get("/webhook/get").json()["webhooks"]
    assert own["webhook_url"] is None
    [message] = receiver.messages
    assert message.path == "/mine"
    assert message.verified(own["secret"])["data"]["request_id"] == request_id
    response = http.post(f"/v1/{TEXT}", json=quick(), headers={"x-webhook-url": receiver.url("/v1")})
    assert response.is_success
    until(lambda: len(receiver.messages) == 2)
    assert receiver.messages[1].verified(own["secret"])["data"]["request_id"] == response.headers["x-request-id"]


def test_a_dead_receiver_is_disabled_and_its_messages_replayed(
    new_server: Callable[..., Server], receiver: Receiver
) -> None:
    server = new_server(**QUICK, webhook_attempts=2).start(wait_for_worker=False)
    http = server.http(new_key(server, 0, test=True))
    receiver.answer = lambda _: (503, {})
    hook = add(http, receiver.url())
    request_id = submit(http, TEXT, quick())
    until(lambda: not http.get("/webhook/get").json()["webhooks"][0]["is_active"])
    [listed] = json.loads(server.cli("webhooks", "list", "--json"))
    assert listed["state"].startswith("disabled: nothing was taken since")
    [logged] = json.loads(server.cli("webhooks", "logs", hook["webhook_id"], "--json"))
    assert (logged["request"], logged["state"], logged["answer"]) == (request_id, "FAILED", 503)
    receiver.answer = lambda _: (200, {})
    receiver.messages.clear()
    server.cli("webhooks", "enable", hook["webhook_id"])
    assert "1 delivery " in server.cli("webhooks", "replay", hook["webhook_id"])
    until(lambda: receiver.messages)
    assert receiver.messages[0].verified(hook["secret"])["data"]["request_id"] == request_id
    assert server.cli("webhooks", "rotate", hook["webhook_id"]).startswith("whsec_")
    assert server.stop() == 0


def test_killed_between_result_and_delivery(new_server: Callable[..., Server], receiver: Receiver) -> None:
    server = new_server(**QUICK).start(wait_for_worker=False)
    key, release = new_key(server, 0, test=True), threading.Event()
    http = server.http(key)

    def hold(_: Message) -> tuple[int, dict[str, str]]:
        release.wait(60)
        return 204, {}

    receiver.answer = hold
    hook = add(http, receiver.url())
    request_id = submit(http, TEXT, quick())
    until(lambda: receiver.messages)
    assert http.get(f"/v2/requests/{request_id}").json()["status"] == "COMPLETED"
    server.kill()
    release.set()
    before = len(receiver.messages)
    server.start(wait_for_worker=False)
    until(lambda: len(receiver.messages) > before)
    http = server.http(key)
    until(lambda: logs(http, hook)[0]["status"] == "DELIVERED")
    assert {message.id for message in receiver.messages} == {logs(http, hook)[0]["delivery_id"]}
    assert receiver.messages[-1].verified(hook["secret"])["data"]["request_id"] == request_id
    assert server.stop() == 0
