"""SIGKILL in the middle of requests: after a restart each of them ends COMPLETED and is charged once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import same
from tests.toy_weights import small_setting
from tintype.catalog.models import SD15_IMG2IMG, SD35_TURBO_TXT2IMG

SLOW = {
    "prompt": "a castle",
    "image": "/sd-img2img-input.jpeg",
    "num_inference_steps": 30,
    "seed": 11,
    "scheduler": "Euler a",
}
QUICK = {"prompt": "a fox", "width": 256, "height": 256, "steps": 20, "guidance_scale": 4, "image_format": "png"}


@pytest.fixture(scope="module")
def shared(new_server: Callable[..., Server], weights: Path) -> Server:
    """What is killed in one test goes on in the next, on the same data; it draws much, and so it draws small."""
    return new_server(weights=small_setting(weights), grace=0.5)


@pytest.fixture
def server(shared: Server) -> Server:
    """Running, whatever was done to it before."""
    if shared.process is None or shared.process.poll() is not None:
        shared.start()
    return shared


def submit_some(server: Server) -> list[Any]:
    """Six requests of both families; returns when the worker is in the middle of the first ones."""
    client = server.client()
    jobs = [client.submit_async("sd1.5-img2img", **SLOW | {"seed": seed}) for seed in range(3)]
    jobs += [client.submit_async(SD35_TURBO_TXT2IMG.slug, **QUICK | {"seed": seed}) for seed in range(3)]
    until(lambda: jobs[0].status().get("step", 0) > 2)
    assert jobs[0].status()["status"] == "PROCESSING"
    return jobs


def assert_all_completed_and_charged_once(server: Server, ids: list[str], before: int) -> list[dict[str, Any]]:
    """By their ids, since a restarted server has another port."""
    http = server.http()
    until(lambda: all(state(http, id) in ("COMPLETED", "FAILED") for id in ids))
    bodies = [http.get(f"/v2/requests/{id}").json() for id in ids]
    assert [body["status"] for body in bodies] == ["COMPLETED"] * len(ids)
    assert all(http.get(body["output"]).is_success for body in bodies)
    assert server.money() == (before - 3 * SD15_IMG2IMG.price - 3 * SD35_TURBO_TXT2IMG.price, 0)
    return bodies


def state(http: httpx2.Client, id: str) -> str:
    return str(http.get(f"/v2/requests/{id}/status").json()["status"])


def test_a_killed_worker(server: Server) -> None:
    before, _ = server.money()
    jobs = submit_some(server)
    woken = {path.name.split(".")[1]: path for path in (server.data / "wake").iterdir()}
    assert woken.keys() == {"queued+workers", "ended+test_queued"}, "the worker's socket, and the server's"
    os.utime(woken["queued+workers"], (0, 0))  # a new one isn't removed
    server.kill_worker()
    bodies = assert_all_completed_and_charged_once(server, [job.request_id for job in jobs], before)
    assert any(body["metrics"].get("retry_count") == 1 for body in bodies)
    # A second attempt makes the picture that the first would have made.
    [again] = [server.client().run("sd1.5-img2img", **SLOW | {"seed": 0})]
    http = server.http()
    assert same(*(http.get(body["output"]).content for body in (again, bodies[0])))
    assert not woken["queued+workers"].exists(), "its submit has removed it"


def test_worker_and_server_killed_together(server: Server) -> None:
    before, _ = server.money()
    ids = [job.request_id for job in submit_some(server)]
    server.kill()
    server.start()
    assert_all_completed_and_charged_once(server, ids, before)
    server.kill()
    server.start()
    assert_all_completed_and_charged_once(server, ids, before)


def test_sigterm_finishes_or_hands_back_what_is_running(server: Server) -> None:
    before, _ = server.money()
    ids = [job.request_id for job in submit_some(server)]
    assert server.stop() == 0
    server.start(wait_for_worker=False)
    http = server.http()
    states = [http.get(f"/v2/requests/{id}/status").json()["status"] for id in ids]
    assert set(states) <= {"QUEUED", "PROCESSING", "COMPLETED"}
    bodies = assert_all_completed_and_charged_once(server, ids, before)
    assert all("retry_count" not in body["metrics"] for body in bodies), "a hand-back is no failed attempt"


def test_a_worker_whose_server_is_gone_ends_by_itself(server: Server) -> None:
    [worker] = server.workers()
    assert server.process
    server.process.kill()
    worker.wait(timeout=90)
    server.process.communicate()
    server.start(wait_for_worker=False)
    assert server.stop() == 0
