"""Connections of a whole server: few files to open and many idle strangers, and the HTTP client that Java brings."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.acceptance.harness import KEY, Server
from tests.acceptance.test_http_helpers import TEXT
from tests.clients import dial

#: Calls what the arguments name, in both ways in which a body's length is told; prints the statuses.
JAVA = """
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

public class Calls {
  public static void main(String[] arguments) throws Exception {
    var client = HttpClient.newHttpClient();
    var body = arguments[1];
    for (var path : new String[] {arguments[2], arguments[3]})
      for (var fixed : new boolean[] {true, false}) {
        var whole = BodyPublishers.ofString(body);
        var request = HttpRequest.newBuilder(URI.create(arguments[0] + path))
            .header("x-api-key", arguments[4])
            .header("content-type", "application/json")
            .POST(fixed ? whole : BodyPublishers.fromPublisher(whole));
        System.out.println(client.send(request.build(), BodyHandlers.ofByteArray()).statusCode());
      }
  }
}
"""


@pytest.fixture(scope="module")
def idle(new_server: Callable[..., Server]) -> Server:
    """A server that may have 256 files open, and starts no worker."""
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit")
    return new_server(fleet="none").start(wait_for_worker=False, files=256)


def test_many_idle_strangers_where_few_files_can_be_open(idle: Server) -> None:
    assert idle.process
    assert psutil.Process(idle.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (256, 256)
    http = idle.http()
    with ExitStack() as closing:
        for _ in range(400):
            closing.enter_context(dial(idle.address))
        for _ in range(3):
            assert http.get("/health").status_code == 200
            assert http.get("/v1/get-user-credits").status_code == 200
    assert idle.log.read_text().count("Traceback") == 0


def test_the_client_that_java_brings(idle: Server, tmp_path: Path) -> None:
    """It offers HTTP/2 with every call, and sends the body at once."""
    if shutil.which("javac") is None:
        pytest.skip("no JDK")
    key = idle.cli("keys", "create", "--test").split()[-1]
    source = tmp_path / "Calls.java"
    source.write_text(JAVA)
    ask = ["java", "-Xshare:auto", source, idle.address, '{"prompt": "a fox"}', f"/v1/{TEXT}", f"/v2/{TEXT}", key]
    ran = subprocess.run(ask, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.split() == ["200"] * 4, ran.stderr
    assert KEY not in ran.stdout
    assert "upgrade" not in idle.log.read_text().lower()
