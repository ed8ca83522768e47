"""docs/clients.md as its reader has it: every example is run by the client that it is for, against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from comfy_sdk import Comfy, ComfyError
from replicate.client import Client

from tests import node
from tests.acceptance.dialects.programs import LITELLM_QUIET
from tests.acceptance.harness import Server
from tests.acceptance.test_http_helpers import new_key

PAGE = (node.ROOT / "docs/clients.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```(py|js|sh)\n(.*?)^```$", PAGE, re.M | re.S)
#: What its shell examples set, for all others.
EXPORTED = dict(re.findall(r"(\w+)=(\S+)", "".join(code for _, code in EXAMPLES if code.startswith("export "))))
ADDRESS, PORT, KEY = "http://127.0.0.1:8000", "port=8000", re.findall(r"SG_\w{32}", PAGE)[0]
#: How a language is run, and what ends a program that has made nothing.
COMMANDS = {"py": [sys.executable, "-c"], "js": ["node", "--input-type=module", "--eval"], "sh": ["bash", "-euc"]}
ENDS = {"py": "\nassert made", "js": "\nif (!made) process.exit(1);", "sh": "\ntest -s made.json"}


def started(kind: str, code: str, folder: Path, mine: dict[str, str]) -> subprocess.Popen[str]:
    """A program with the reader's own address and key."""
    text = code + ENDS[kind]
    env = {**os.environ, "NO_PROXY": "*", **EXPORTED, **(LITELLM_QUIET if "litellm" in code else {})}
    for theirs, own in mine.items():
        text = text.replace(theirs, own)
        env |= {name: value.replace(theirs, own) for name, value in env.items() if name in EXPORTED}
    # Packages are found from the folder that a program of JavaScript is run in.
    where = node.ROOT if kind == "js" else folder
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMANDS[kind], text], cwd=where, env=env, text=True, **pipes)


def test_every_example_of_the_page_makes_an_image(dialects: Server, tmp_path: Path) -> None:
    key, port = new_key(dialects, 1), dialects.address.rpartition(":")[2]
    mine = {ADDRESS: dialects.address, PORT: f"port={port}", KEY: key}
    there = [
        (kind, code) for kind, code in EXAMPLES if not code.startswith("export ") and shutil.which(COMMANDS[kind][0])
    ]
    # All at the same time: the server draws them together.
    running = {code: started(kind, code, tmp_path, mine) for kind, code in there}
    for code, process in running.items():
        out, err = process.communicate(timeout=150)
        assert process.returncode == 0, f"{code}\n{out}\n{err}"
    made = dialects.http(key).get("/inference-request/request-history").json()["data"]
    assert len(made) == len(running) >= 6


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in EXPORTED.items():
        monkeypatch.setenv(name, value)
    with openai.OpenAI() as client:
        assert (str(client.base_url), client.api_key) == (f"{ADDRESS}/v1/", KEY)
    with Client()._client as http:
        assert (str(http.base_url), http.headers["authorization"]) == (ADDRESS, f"Bearer {KEY}")


@contextmanager
def failing(status: int) -> Iterator[tuple[str, list[str]]]:
    """A server that answers every POST with this status; its address, and the calls' Idempotency-Keys, "" for none."""
    keys: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            keys.append(self.headers.get("idempotency-key", ""))
            self.send_response(status)
            for name, value in {
                "retry-after-ms": "1",
                "content-type": "application/json",
                "content-length": "2",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", keys
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "calls"), [(500, 3), (504, 3), (402, 1)])
def test_how_often_openai_s_client_sends_a_call(status: int, calls: int) -> None:
    """The page's last row: what its libraries do by themselves."""
    with failing(status) as (address, keys):
        client = openai.OpenAI(base_url=address, api_key=KEY)
        with client, pytest.raises(openai.APIStatusError):
            client.images.generate(prompt="a fox")
    assert keys == [""] * calls


@pytest.mark.parametrize("status", [500, 503, 504])
def test_how_often_replicate_s_client_sends_a_create(status: int) -> None:
    with failing(status) as (address, keys), Client(base_url=address, api_token=KEY)._client as http:
        answer = http.post("/v1/models/tintype/x/predictions", json={"input": {}})
    assert (answer.status_code, keys) == (status, [""])


def test_comfy_s_client_sends_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(500) as (address, keys):
        monkeypatch.setenv("COMFY_ROUTER_BASE_URL", address)
        with Comfy(api_key=KEY) as comfy, pytest.raises(ComfyError):
            comfy.models.run("tintype/x", {})
    assert len({*keys}) == 1
    assert len(keys[0]) > 16
