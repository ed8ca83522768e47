"""What only a server in processes of its own can say or hide: its worker's words, its log, what is in its memory."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.harness import KEY, Server
from tests.acceptance.test_http_helpers import MEDIUM, TEXT, new_key, quick
from tests.clients import call_bytes, dial


def test_what_of_a_prompt_is_not_read_is_said(server: Server) -> None:
    http = server.http()
    cut = "prompt: the model reads the first 75 of its 100 tokens; what comes after them made no difference"
    long = http.post(f"/v1/{TEXT}", json=quick(prompt="a" * 100))
    assert long.headers["x-warning"] == cut
    kept = http.get(f"/v2/requests/{long.headers['x-request-id']}")
    assert (kept.headers["x-warning"], kept.json()["warnings"]) == (cut, [cut])


def test_the_log_holds_no_key_and_no_prompt(server: Server) -> None:
    secret = new_key(server, 1)
    http = server.http(secret)
    words = "zyzzyva in the secret garden"
    assert http.post(f"/v1/{TEXT}", json=quick(prompt=words, negative_prompt=words)).status_code == 200
    assert http.post(f"/v1/{TEXT}", json=quick(prompt=words, steps=0)).status_code == 400
    failing = {"prompt": words, "image": "http://127.0.0.1:9/secret-picture.png"}
    assert http.post(f"/v1/{MEDIUM}", json=failing).status_code == 400
    assert http.get(f"/v2/requests/{words}").status_code == 404
    log = server.log.read_text()
    for secret_text in (secret, KEY, secret[3:], "zyzzyva", "secret-picture"):
        assert secret_text not in log
    for file in server.data.glob("tintype.db*"):
        assert secret.encode() not in file.read_bytes()


def test_the_web_process_has_no_torch_in_it(server: Server) -> None:
    assert server.process is not None
    assert "torch" not in Path(f"/proc/{server.process.pid}/maps").read_text()
    assert any("libtorch" in Path(f"/proc/{worker.pid}/maps").read_text() for worker in server.workers())


def test_a_client_that_goes_away_within_its_body_is_no_error_of_ours(server: Server) -> None:
    before = server.log.read_text()
    with dial(server.address) as connection:
        connection.sendall(call_bytes("POST", f"/v2/{TEXT}", KEY, b"{", length=100))
    assert server.http().get("/v1/get-user-credits").status_code == 200
    assert "ClientDisconnect" not in server.log.read_text().removeprefix(before)
