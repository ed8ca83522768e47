"""What a sceptical reader found, and must not come back."""

from __future__ import annotations

import base64
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.acceptance.harness import KEY, READY, Server, until
from tests.integration.test_media_decoder import large
from tintype.media.sandbox import TOO_LONG
from tintype.web.shutdown import SAME

TEXT = "stable-diffusion-3.5-turbo-txt2img"
QUICK: dict[str, Any] = {"prompt": "a fox", "width": 64, "height": 64, "steps": 2, "guidance_scale": 1}


def command(data: Path) -> list[str]:
    return [sys.executable, "-m", "tintype", "serve", "--port", "0", "--data", str(data)]


@pytest.fixture(scope="module")
def silent_host() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(scope="module")
def stopped(new_server: Callable[..., Server], silent_host: str) -> Server:
    """A server for tests that stop it: the next one starts it again."""
    return new_server(fetch_allow=silent_host, fetch_timeout=30, grace=0.5, web_grace=300, decode_timeout=0.5)


@pytest.fixture
def hasty(stopped: Server) -> Iterator[Server]:
    """It runs, and does not wait long for what is under way when it is stopped; nothing goes on into the next test."""
    if stopped.process is None or stopped.process.poll() is not None:
        stopped.start()
    until(lambda: stopped.http().get("/ready").is_success)
    yield stopped
    stopped.cancel_all()


def test_sigterm_as_soon_as_it_is_ready(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        assert any(line.startswith(READY) for line in process.stdout)
        process.terminate()
        assert process.wait(timeout=90) == 0


def test_a_worker_whose_server_was_killed_while_it_started_ends(tmp_path: Path) -> None:
    env = {**os.environ, "TINTYPE_BOOTSTRAP_KEY": KEY}
    with subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as process:
        until(lambda: psutil.Process(process.pid).children())
        [worker] = psutil.Process(process.pid).children()
        process.kill()
        worker.wait(timeout=90)


def test_a_call_under_way_is_answered_before_the_worker_stops_and_a_second_signal_ends_it(hasty: Server) -> None:
    """Its picture is made, although the worker's own grace is shorter; or it isn't, and costs nothing."""
    server, slow = hasty, {"prompt": "x", "image": "/sd-img2img-input.jpeg", "num_inference_steps": 100, "samples": 4}
    with httpx2.Client(base_url=server.address, headers={"x-api-key": KEY}, timeout=60) as http:
        for body, signals, status in ((slow | {"num_inference_steps": 20, "samples": 1}, 1, 200), (slow, 2, 503)):
            if server.process is None or server.process.poll() is not None:
                server.settings |= {"port": int(server.address.rpartition(":")[2]), "grace": 300}
                server.start()
            before, _ = server.money()
            with ThreadPoolExecutor(1) as threads:
                call = threads.submit(http.post, "/v1/sd1.5-img2img", json=body)
                until(lambda: server.money()[1] > 0)
                for number in range(signals):
                    time.sleep(2 * SAME * number)  # else it is the first one, passed on
                    assert server.process
                    server.process.send_signal(signal.SIGINT)
                until(lambda: server.process.poll() is not None)  # type: ignore[union-attr]
                assert server.stop() == 0
                assert call.result().status_code == status
            balance, held = server.money()
            assert (balance < before, held) == (status == 200, 0)
    server.settings["grace"] = 0.5


def test_cancelled_downloads_stop(hasty: Server, silent_host: str) -> None:
    """And are nobody's burden: as many again are begun at once, long before the first would have run out."""
    client, [worker] = hasty.client(), hasty.workers()

    def downloads() -> int:
        return sum(one.raddr and one.raddr[1] == int(silent_host.split(":")[1]) for one in worker.net_connections())

    for _ in range(3):
        jobs = [
            client.submit_async("sd1.5-img2img", prompt="x", image=f"http://{silent_host}/a.png") for _ in range(12)
        ]
        until(lambda: downloads() == 8)  # half of the places, the others wait
        for job in jobs:
            hasty.http().delete(f"/v2/requests/{job.request_id}")
        until(lambda: downloads() == 0)
        assert client.run(TEXT, **QUICK)["status"] == "COMPLETED"


def test_an_image_that_decodes_for_ever(hasty: Server) -> None:
    """It fails alone, for nothing, or is cancelled; text-to-image passes meanwhile."""
    bomb = base64.b64encode(large()).decode()
    asked = {"prompt": "x", "image": bomb}
    http, [worker] = hasty.http(), hasty.workers()
    request_id = http.post("/v2/sd1.5-img2img", json=asked).json()["request_id"]
    until(lambda: any(child.cpu_times().user > 0.2 for child in worker.children()))
    [decoder] = [child for child in worker.children() if child.cpu_times().user > 0.2]
    assert http.delete(f"/v2/requests/{request_id}").is_success
    until(lambda: not decoder.is_running())
    with ThreadPoolExecutor(1) as threads:
        failing = threads.submit(http.post, "/v1/sd1.5-img2img", json=asked)
        assert hasty.client().run(TEXT, **QUICK)["status"] == "COMPLETED"
        answer = failing.result(60)
    assert (answer.status_code, answer.json()["error"]) == (400, TOO_LONG)
    ids = (request_id, answer.headers["x-request-id"])
    ended = [http.get(f"/v2/requests/{one}/status").json() for one in ids]
    assert [one["status"] for one in ended] == ["FAILED", "FAILED"]
    assert hasty.money()[1] == 0


def test_silent_addresses_hold_nobody_up(hasty: Server, silent_host: str) -> None:
    client, before = hasty.client(), hasty.log.read_text()
    client.run(TEXT, **QUICK)
    urls = [f"http://{silent_host}/{number}.png" for number in range(10)]
    waiting = [client.submit_async("sd1.5-img2img", prompt="x", image=url) for url in urls]
    until(lambda: all(job.status()["status"] == "PROCESSING" for job in waiting))
    assert client.submit_async(TEXT, **QUICK).wait(timeout=25, interval=0.1)["status"] == "COMPLETED"
    assert hasty.stop() == 0
    assert "killing it" not in hasty.log.read_text().removeprefix(before)


def test_health_answers_while_the_database_is_locked(server: Server) -> None:
    database = sqlite3.connect(server.data / "tintype.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    http = server.http()
    callers = [threading.Thread(target=lambda: http.post(f"/v2/{TEXT}", json=QUICK)) for _ in range(45)]
    try:
        for caller in callers:
            caller.start()
        time.sleep(0.5)  # until they all wait for the lock; there is nothing to look at that would tell
        assert httpx2.get(f"{server.address}/health", timeout=5).is_success
    finally:
        database.execute("ROLLBACK")
        database.close()
        for caller in callers:
            caller.join()


def test_no_prompt_reaches_a_terminals_log(tmp_path: Path) -> None:
    """On a terminal, where tracebacks would be at their fanciest."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TINTYPE_BOOTSTRAP_KEY": KEY, "TINTYPE_WEIGHTS": "{}", "TERM": "xterm"}
    with subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=theirs, text=True, env=env) as process:
        assert process.stdout
        address = process.stdout.readline().removeprefix(READY).strip()
        body = {"prompt": "unspeakable", "image": "http://127.0.0.1:9/secret.png?token=hush"}
        with httpx2.Client(base_url=address, headers={"x-api-key": KEY}, timeout=60) as http:
            assert http.post("/v1/sd1.5-img2img", json=body).status_code == 400
        process.send_signal(signal.SIGINT)
        process.wait(timeout=90)
        stopping, stopped = process.stdout.read().splitlines()
    assert stopping.startswith("tintype is stopping; a second signal (Ctrl+C) ends what still runs")
    assert stopped == "tintype has stopped"
    os.close(theirs)
    logged = b""
    with pytest.raises(OSError, match=r".*"):
        while chunk := os.read(ours, 65536):
            logged += chunk
    os.close(ours)
    assert b"request failed" in logged
    assert b"unspeakable" not in logged
    assert b"hush" not in logged
    assert b"starting it again" not in logged, "Ctrl+C is the server's alone"


def test_this_servers_bare_address_is_no_picture(server: Server) -> None:
    body = {"prompt": "x", "image": server.address}
    assert server.http().post("/v2/sd1.5-img2img", json=body).status_code == 400
    sample = body | {"image": f"{server.address}/sd-img2img-input.jpeg", "num_inference_steps": 20, "strength": 0.1}
    assert server.client().run("sd1.5-img2img", **sample)["status"] == "COMPLETED"
