"""Which devices are worked on; how many workers a Ray fleet needs, and which it scales down."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.acceptance.harness import here, until, words

from tintype.cli import options
from tintype.cli.fleet import worker_launch
from tintype.cli.sources import load
from tintype.core import RunningImages, WorkerReport
from tintype.fleet import devices, supervisor
from tintype.fleet.scaling import Cooldown, ScalingPolicy, Slot, find_slots, needed_workers, scale_down_candidates
from tintype.fleet.supervisor import ChildProcess, RestartBackoff, Supervisor
from tintype.settings import overlaid
from tintype.store.ops.processes import WorkerRow
from tintype.store.queue.eta import Demand

POLICY = ScalingPolicy(min_workers=0, max_workers=10, target_wait=60, cooldown=300)


def test_named_devices() -> None:
    assert devices.devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]


def test_auto_without_a_driver_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DRIVERS", (Path("/nonexistent"),))
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


class Counted(ChildProcess):
    """Counts how often it is looked after."""

    looks = 0

    def keep_alive(self) -> None:
        self.looks += 1
        super().keep_alive()


def test_a_child_that_runs_is_not_looked_after_and_one_that_ended_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "MIN_DELAY", 0)
    child = Counted("sleeper", ["sleep", "600"], dict(os.environ))
    with Supervisor([child], grace=10):
        until(lambda: child.runs)
        first = child.process
        assert first
        first.kill()
        until(lambda: child.process is not first)
    assert child.looks == 2
    assert child.process
    assert child.process.returncode == -signal.SIGTERM


def test_what_workers_of_other_machines_are_started_with(tmp_path: Path) -> None:
    there = {
        "TINTYPE_DATABASE_URL": "postgresql://tintype:secret@db/tintype",
        "TINTYPE_BOOTSTRAP_KEY": "SG_secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PATH": "/bin",
    }
    given = worker_launch(load({**there, "TINTYPE_RAY_GPUS": "0.5"}, {}), there)
    names = ["TINTYPE_DATABASE_URL", "TINTYPE_MEMORY_SHARE", "TINTYPE_RAY_GPUS"]
    assert sorted(given.env) == ["AWS_SECRET_ACCESS_KEY", *names]
    assert given.env["TINTYPE_MEMORY_SHARE"] == "0.5"
    assert "secret" not in repr(given)
    own = worker_launch(load({"TINTYPE_MEMORY_SHARE": "0.3", "TINTYPE_RAY_GPUS": "0.5"}, {}), {})
    assert own.env["TINTYPE_MEMORY_SHARE"] == "0.3"
    assert worker_launch(load({}, {}), {}).env == {}
    assert worker_launch(load({"TINTYPE_RAY_GPUS": "0"}, {}), {}).env == {"TINTYPE_RAY_GPUS": "0"}


def test_they_get_what_files_say_and_no_file(tmp_path: Path) -> None:
    """They run elsewhere: neither the settings file nor a secret's is there."""
    (tmp_path / "secret").write_text("hush\n")
    file = tmp_path / "tintype.toml"
    file.write_text(
        """
        [storage]
        url = "s3://pictures"
        key_id = "key"
        redirect = true
        [accounts]
        bootstrap_key = "SG_secret"
        [inputs]
        fetch_allow = ["b.lan", "a.lan"]
        max_pixels = 9
        [models]
        weights = {"sd1.5-img2img" = "sd15"}
        [billing]
        prices = {"sd1.5-img2img" = 0.5}
        """
    )
    there = {"TINTYPE_STORAGE_SECRET_FILE": str(tmp_path / "secret"), "TINTYPE_MAX_PICTURES": "3"}
    loaded = load(there, {"data": tmp_path}, file)
    given = worker_launch(loaded, there)
    assert given.env == {
        "TINTYPE_STORAGE_URL": "s3://pictures",
        "TINTYPE_STORAGE_KEY_ID": "key",
        "TINTYPE_STORAGE_SECRET": "hush",
        "TINTYPE_STORAGE_REDIRECT": "true",
        "TINTYPE_FETCH_ALLOW": "a.lan,b.lan",
        "TINTYPE_MAX_IMAGE_PIXELS": "9",
        "TINTYPE_MAX_IMAGES": "3",
        "TINTYPE_WEIGHTS": json.dumps({"sd1.5-img2img": str(tmp_path / "sd15")}),
        "TINTYPE_PRICES": json.dumps({"sd1.5-img2img": {"dollars": 0.5}}),
    }
    # On a node with names of its own for some of them, which would contradict.
    node = {"TINTYPE_MAX_PICTURES": "4", "TINTYPE_STORAGE_SECRET_FILE": "/nowhere", "HOST": "node", "TINTYPE_T5": "cpu"}
    env = overlaid(node, given.env)
    assert env["HOST"] == "node"
    there_too = load(env, {"data": tmp_path})
    assert there_too.settings.memory.t5 == "cpu"
    assert there_too.settings.replace(t5="device", bootstrap_key="SG_secret") == loaded.settings


@pytest.mark.parametrize(
    ("command", "env", "what", "extra"),
    [
        (("serve", "--fleet", "ray"), {}, "a Ray fleet", "ray"),
        (("fleet",), {}, "a Ray fleet", "ray"),
        (("serve",), {"TINTYPE_PREPARE": "openvino"}, "TINTYPE_PREPARE=openvino", "openvino"),
    ],
)
def test_a_missing_extra_is_named(
    command: tuple[str, ...], env: dict[str, str], what: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None if name == extra else name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    said = words(here(*command))
    assert said.startswith(f"{what} needs the extra {extra}: pip install '/path/to/tintype[{extra}]', ")
