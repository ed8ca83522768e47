"""Which devices are worked on; how many workers a Ray fleet needs, and which it scales down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.acceptance.harness import here, words

from tintype.cli import options
from tintype.cli.fleet import worker_launch
from tintype.core import RunningImages, WorkerReport
from tintype.fleet import devices, supervisor
from tintype.fleet.scaling import Cooldown, ScalingPolicy, Slot, find_slots, needed_workers, scale_down_candidates
from tintype.fleet.supervisor import ChildProcess, RestartBackoff
from tintype.settings import Settings
from tintype.store.ops.processes import WorkerRow
from tintype.store.queue.eta import Demand

POLICY = ScalingPolicy(min_workers=0, max_workers=10, target_wait=60, cooldown=300)


def test_named_devices() -> None:
    assert devices.devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]


def test_auto_without_a_driver_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DRIVER", devices.Path("/nonexistent"))
    assert devices.devices("auto") == ["cpu"]


@pytest.mark.parametrize(
    ("demand", "workers"),
    [
        (Demand(waiting=0, running=0, queued=0, busy=0), 0),
        (Demand(waiting=0.1, running=0, queued=1, busy=0), 1),
        (Demand(waiting=0, running=0, queued=0, busy=1), 1),  # at its last step: no seconds are left
        (Demand(waiting=60, running=0, queued=9, busy=0), 1),
        (Demand(waiting=61, running=0, queued=9, busy=0), 2),
        (Demand(waiting=61, running=60, queued=9, busy=1), 3),
        (Demand(waiting=6000, running=0, queued=900, busy=0), 10),
        (Demand(waiting=6000, running=61, queued=900, busy=2, paused=True), 2),
        (Demand(waiting=6000, running=0, queued=900, busy=0, paused=True), 0),
    ],
)
def test_workers_that_work_needs(demand: Demand, workers: int) -> None:
    assert needed_workers(demand, POLICY) == workers


def test_the_minimum_is_needed_without_any_work() -> None:
    policy = ScalingPolicy(min_workers=2, max_workers=4, target_wait=60, cooldown=0)
    assert needed_workers(Demand(0, 0, 0, 0), policy) == 2


def test_up_immediately_down_only_after_the_cooldown() -> None:
    cooldown = Cooldown(10)
    course = [(0, 0), (1, 3), (2, 1), (11, 1), (11.5, 2), (12, 1), (20, 0), (22, 0), (22.1, 0), (31, 0)]
    assert [cooldown.wanted(*one) for one in course] == [0, 3, 3, 3, 2, 2, 2, 1, 0, 0]


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 9)), min_size=1, max_size=40),
    st.floats(0, 60),
)
def test_wanted_is_the_maximum_of_the_last_seconds(steps: list[tuple[float, int]], seconds: float) -> None:
    cooldown, course, moment = Cooldown(seconds), [], 0.0
    for pause, now in steps:
        moment += pause
        course.append((moment, now))
        assert cooldown.wanted(moment, now) == max(number for at, number in course if at >= moment - seconds)


def row(id: str, seen_at: float = 100, **told: object) -> WorkerRow:
    return WorkerRow(id=id, device="cpu", started_at=0, seen_at=seen_at, forward_passes=0, rows=0, **told)  # type: ignore[arg-type]


def test_slots_are_actors_and_what_an_operator_drained() -> None:
    drained = {"drain_at": 99, "left_at": 100}
    rows = [
        row("ray:1-old-00000001", seen_at=50),
        row("ray:1-host-00000002"),
        row("ray:3-host-00000003", **drained),
        row("ray:4-host-00000004", **drained, released=True),
        row("ray:5-host-00000005"),  # its actor is gone: Ray's head has died, and the worker has not noticed yet
        row("host-00000006"),
    ]
    slots = find_slots(["ray:1", "ray:2", "ray:4", "ray:12", "another"], rows, 100)
    assert [
        (one.number, one.has_actor, one.state, one.serves, one.drained_by_operator, one.drained) for one in slots
    ] == [
        (1, True, "idle", True, False, False),
        (2, True, None, True, False, False),
        (3, False, "drained", False, True, True),
        (4, True, "drained", False, False, True),
        (12, True, None, True, False, False),
    ]
    assert slots[0].worker is rows[1]


def test_the_cheapest_to_lose_are_scaled_down_first() -> None:
    busy = {"report": WorkerReport(running=(RunningImages("r", "a", 1, 0, 4),))}
    slots = [
        Slot(1, True, row("a", **busy), "working"),
        Slot(2, True, row("b", **busy), "working"),
        Slot(3, True, row("c"), "idle"),
        Slot(4, True, row("d"), "idle"),
        Slot(5, True, row("e"), "idle"),
        Slot(6, True),
        Slot(7, True, row("g", drain_at=9.0), "draining"),
        Slot(8, True, row("h"), "silent"),
    ]
    assert [one.number for one in scale_down_candidates(slots, {"a", "d"})] == [8, 6, 5, 3, 4, 2, 1]


def test_the_delay_doubles_after_short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0, 0.4, 0.5, 0.5, 1.4, 1.5, 1.5, 99, 99, 99.5])
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: next(moments))
    backoff, seen = RestartBackoff(), [RestartBackoff().elapsed]
    backoff.start()  # at 0
    seen += [backoff.elapsed, backoff.elapsed]
    backoff.start()  # at 0.5
    seen += [backoff.elapsed, backoff.elapsed]
    backoff.start()  # at 1.5
    seen += [backoff.elapsed]
    backoff.start()  # at 99: it ran for long
    seen += [backoff.elapsed]
    assert seen == [True, False, True, False, True, True, True]


def test_what_can_not_be_started_is_not_retried_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 0.0
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: moment)
    child = ChildProcess("nothing", ["/nonexistent"], {})
    with pytest.raises(FileNotFoundError):
        child.keep_alive()
    child.keep_alive()
    moment = supervisor.MIN_DELAY
    with pytest.raises(FileNotFoundError):
        child.keep_alive()


def test_what_workers_of_other_machines_are_started_with() -> None:
    there = {
        "TINTYPE_DATABASE_URL": "postgresql://tintype:secret@db/tintype",
        "TINTYPE_BOOTSTRAP_KEY": "SG_secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PATH": "/bin",
    }
    given = worker_launch(Settings.of(ray_gpus=0.5, database_url=there["TINTYPE_DATABASE_URL"]), there)
    assert sorted(given.env) == ["AWS_SECRET_ACCESS_KEY", "TINTYPE_DATABASE_URL", "TINTYPE_MEMORY_SHARE"]
    assert given.env["TINTYPE_MEMORY_SHARE"] == "0.5"
    assert "secret" not in repr(given)
    own = worker_launch(Settings.of(ray_gpus=0.5), {"TINTYPE_MEMORY_SHARE": "0.3"})
    assert own.env == {"TINTYPE_MEMORY_SHARE": "0.3"}
    assert worker_launch(Settings.of(ray_gpus=0), {}).env == worker_launch(Settings.of(ray_gpus=1), {}).env == {}


@pytest.mark.parametrize("command", [("serve", "--fleet", "ray"), ("fleet",)])
def test_a_missing_extra_is_named(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None if name == "ray" else name)
    assert words(here(*command)).startswith("a Ray fleet needs the extra ray: pip install '/path/to/tintype[ray]', ")
