"""Two workers of one server: a model is loaded by one of them, and not by the other while that could begin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.acceptance.harness import LONG_LEASE, Server, until
from tests.toy_weights import small_setting
from tintype.catalog.models import SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.store.ops.processes import WorkerRow, Workers

ROUNDS = 3


def rested(server: Server) -> list[WorkerRow]:
    """What its two workers said since they had nothing more in hand; nothing until both have said so."""
    with server.store() as db:
        alive = Workers(db).alive(15)
    return alive if len(alive) == 2 and not any(one.report.running for one in alive) else []


def test_each_model_is_loaded_once(new_server: Callable[..., Server], weights: Path) -> None:
    """However busy the machine is: the wait is longer than the test may take."""
    server = new_server(devices="cpu,cpu", warm_wait=120, lease=LONG_LEASE, weights=small_setting(weights)).start()
    until(lambda: len(rested(server)) == 2)
    http = server.http()
    asked: dict[str, dict[str, object]] = {
        SD15_IMG2IMG.slug: {
            "prompt": "a castle",
            "image": f"{server.address}/sd-img2img-input.jpeg",
            "num_inference_steps": 20,
            "strength": 0.1,
        },
        SD35_TURBO_TXT2IMG.slug: {"prompt": "a fox", "width": 256, "height": 256, "steps": 2},
    }
    cold = []
    for _ in range(ROUNDS):
        answers = {slug: http.post(f"/v1/{slug}", json=params) for slug, params in asked.items()}
        assert [answer.status_code for answer in answers.values()] == [200, 200], [one.text for one in answers.values()]
        cold.append([slug for slug, answer in answers.items() if "x-cold-start" in answer.headers])
    assert cold == [[*asked], *([[]] * (ROUNDS - 1))]
    until(lambda: rested(server))
    opened = [slug for one in rested(server) for slug in one.report.models]
    assert sorted(opened) == sorted(asked)
