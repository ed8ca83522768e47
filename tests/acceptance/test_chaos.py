"""Servers, workers and the database are killed at random while many ask: nothing is lost, and nothing done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.chaos_checks import Aftermath, Rows, check_pictures
from tests.acceptance.chaos_kills import Killer
from tests.acceptance.chaos_load import Load
from tests.acceptance.chaos_plan import Keys, plan
from tests.acceptance.chaos_scenes import Scene, scene_on
from tests.acceptance.harness import until
from tests.integration.webhook_receiver import Message, Receiver, receiving

#: Dead workers' requests are soon others', and workers whose server was killed soon leave.
SOON = {"lease": 2, "grace": 2}
#: What is killed in the short form, and in the long one, by database.
TYPICAL = {
    "SQLite": ("worker kills", "power cuts", "locks"),
    "PostgreSQL": ("worker kills", "web kills", "database crashes"),
}
EVERY = {"SQLite": (*TYPICAL["SQLite"], "web kills"), "PostgreSQL": (*TYPICAL["PostgreSQL"], "power cuts")}
#: pytest's own `record_property`: what is recorded as `figures` is told at the end of the run.
Record = Callable[[str, object], None]


@pytest.fixture(params=["sqlite", "postgres"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene_on(request.param, request, **SOON) as scene:
        yield scene


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


# A busy machine needs its time to start so many processes.
@pytest.mark.timeout(600)
def test_chaos(scene: Scene, receiver: Receiver, record_property: Record) -> None:
    chaos(scene, receiver, record_property, asks=36, kills=TYPICAL[scene.name], callers=6, seed=8)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_much_chaos(scene: Scene, receiver: Receiver, record_property: Record) -> None:
    after = chaos(scene, receiver, record_property, asks=520, kills=5 * EVERY[scene.name], callers=8, seed=88)
    assert len(after.rows) >= 300


def chaos(
    scene: Scene, receiver: Receiver, record: Record, *, asks: int, kills: Sequence[str], callers: int, seed: int
) -> Aftermath:
    """Ask and kill, wait until all have ended, and look at what is left."""
    with closing(scene.store()) as db:
        keys = Keys.make(db)
        wanted, killer = plan(seed, asks), Killer(scene, seed)
        load = Load(wanted, keys, scene.addresses, receiver.url())
        with ThreadPoolExecutor(1) as apart:
            killing = apart.submit(killer.run, load, killer.plan(asks, kills))
            load.run(callers)
            killing.result()
        until(lambda: not scene.busy(db), 600)
        after = Aftermath.read(db, keys)
        after.check(load.told)
        pictures = check_pictures(after.completed, wanted, scene.servers[0].address)
        check_messages(after.rows, receiver)
        check_metrics(after, scene.servers[0].http())
    told = {"seed": seed, "asks": asks, **after.figures(), "pictures": pictures, "messages": len(receiver.messages)}
    figures = told | killer.done | dict(sorted(load.tally.items()))
    record("figures", f"{scene.name}: " + ", ".join(f"{name} {figure}" for name, figure in figures.items()))
    return after


def check_messages(rows: Rows, receiver: Receiver) -> None:
    """Every end that somebody wanted to be told of was told, as it was; once or more."""
    told = {message["data"]["request_id"]: message["data"]["status"] for message in map(content, receiver.messages)}
    assert told == {row.id: row.status for row in rows if row.webhook_url}


def content(message: Message) -> Any:
    """What it says."""
    return json.loads(message.body)


def check_metrics(after: Aftermath, http: httpx2.Client) -> None:
    """Prometheus is told the same, over all restarts."""
    families = {family.name: family for family in text_string_to_metric_families(http.get("/metrics").text)}
    assert [sample.value for sample in families["tintype_missed_charges"].samples] == [0]
    charges = sum(sample.value for sample in families["tintype_charges"].samples if sample.name.endswith("_total"))
    assert charges == sum(not row.test for row in after.completed)
