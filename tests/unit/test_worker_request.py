"""A running request as a state machine: every transition, every forbidden one, and what each leaves behind."""

from __future__ import annotations

import ast
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tintype
from tintype.core import GenerationParams
from tintype.errors import (
    MODEL_FAILED,
    NOT_UNDERSTOOD,
    STORAGE_REFUSED,
    BadPicture,
    NoRoom,
    StorageUnavailable,
    StoreUnavailable,
)
from tintype.media.network import Cancellation
from tintype.running import Phase, RunningRequest, WrongPhase, fail, refuse
from tintype.store.db.records import LeaseStatus, Progress, Request

PARAMS = GenerationParams(steps=4, guidance=1, seed=1, sampler="euler")
STEPS = 9


@dataclass(eq=False)
class Image:
    step: int = 0
    steps: int = 4


Running: TypeAlias = RunningRequest[str, Image, str]


def request(**more: object) -> Request:
    row: Any = SimpleNamespace(**{"id": "r", "attempt": 2, "steps": STEPS, "retries": 0} | more)
    found: Request = row
    return found


def fetching() -> Running:
    return RunningRequest(request(), PARAMS, Future())


def waiting() -> Running:
    one = fetching()
    one.wait_for_memory("plan")
    return one


def denoising(count: int = 2) -> Running:
    one = waiting()
    one.denoise([Image() for _ in range(count)], 10)
    return one


def finished() -> Running:
    one = denoising()
    for image in one.images:
        one.finish(image, "pixels")
    return one


def uploading() -> Running:
    one = finished()
    one.upload(Future())
    return one


def done() -> Running:
    one = uploading()
    one.end()
    return one


IN_PHASE: dict[Phase, Callable[[], Running]] = {
    Phase.FETCHING: fetching,
    Phase.WAITING_FOR_MEMORY: waiting,
    Phase.DENOISING: finished,
    Phase.UPLOADING: uploading,
    Phase.DONE: done,
}
TRANSITIONS: dict[str, tuple[Callable[[Running], object], dict[Phase, Phase]]] = {
    "wait_for_memory": (lambda one: one.wait_for_memory("plan"), {Phase.FETCHING: Phase.WAITING_FOR_MEMORY}),
    "denoise": (lambda one: one.denoise([Image()], 10), {Phase.WAITING_FOR_MEMORY: Phase.DENOISING}),
    "join": (lambda one: one.join(11), {Phase.DENOISING: Phase.DENOISING}),
    "finish": (lambda one: one.finish(one.images[0], "pixels"), {Phase.DENOISING: Phase.DENOISING}),
    "start_over": (lambda one: one.start_over(), {Phase.DENOISING: Phase.FETCHING}),
    "upload": (lambda one: one.upload(Future()), {Phase.DENOISING: Phase.UPLOADING}),
    "end": (lambda one: one.end(), {phase: Phase.DONE for phase in Phase if phase is not Phase.DONE}),
}


def facts(one: Running) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, list | tuple) else value for name, value in vars(one).items()}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("name", TRANSITIONS)
def test_every_transition_from_every_phase(phase: Phase, name: str) -> None:
    act, allowed = TRANSITIONS[name]
    one = IN_PHASE[phase]()
    assert one.phase is phase
    if phase in allowed:
        act(one)
        assert one.phase is allowed[phase]
        return
    before = facts(one)
    one.images = one.images or [Image()]  # so that only the phase can be the reason
    with pytest.raises(WrongPhase, match=f"{phase} → "):
        act(one)
    assert facts(one) | {"images": before["images"]} == before, "what is refused changes nothing"


def test_the_walk_of_one_request() -> None:
    one = fetching()
    assert (one.phase, one.can_plan, one.held) == (Phase.FETCHING, False, ("r", 2))
    one.fetched.set_result({})
    assert one.can_plan
    one.wait_for_memory("plan")
    assert (one.plan, one.can_plan) == ("plan", False)
    first, second = Image(), Image()
    one.denoise([first, second], 10)
    one.join(12)
    assert (one.images, one.began, one.joined) == ([first, second], 10, 12)
    assert (one.finish(second, "b"), one.finish(first, "a")) == (False, True)
    assert one.pixels == {0: "a", 1: "b"}
    upload: Future[None] = Future()
    one.upload(upload)
    upload.set_result(None)
    one.end()
    assert (one.phase, one.uploaded) == (Phase.DONE, upload)


def test_an_upload_needs_every_image() -> None:
    one = denoising()
    one.finish(one.images[1], "pixels")
    with pytest.raises(WrongPhase, match="1 of 2 images are finished"):
        one.upload(Future())
    assert (one.phase, one.uploaded) == (Phase.DENOISING, None)


def test_an_image_of_another_request_is_not_taken() -> None:
    with pytest.raises(ValueError, match="not in"):
        denoising().finish(Image(), "pixels")


def test_in_float32_all_its_images_are_made_again() -> None:
    one = denoising()
    one.fetched.set_result({})
    one.finish(one.images[0], "pixels")
    one.exclude(3, own=True)
    one.start_over()
    assert (one.in_float32, one.images, one.pixels, one.can_plan) == (True, (), {}, True)
    assert one.cold_start == 3, "the weights were loaded for it all the same"
    assert not fetching().in_float32


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.DONE])
def test_an_end_stops_the_download(phase: Phase) -> None:
    cancellation = Cancellation()
    one = IN_PHASE[phase]()
    one._cancellation = cancellation
    one.end()
    assert one.fetched.cancelled()
    with pytest.raises(CancelledError):
        cancellation.check()


def test_an_upload_that_has_not_begun_never_does_and_keeps_no_pixels() -> None:
    one = uploading()
    one.end()
    assert one.uploaded
    assert (one.uploaded.cancelled(), one.pixels) == (True, {})


def test_an_upload_under_way_goes_on_with_its_pixels() -> None:
    one = uploading()
    assert one.uploaded
    assert one.uploaded.set_running_or_notify_cancel()
    one.end()
    assert (one.uploaded.cancelled(), one.pixels) == (False, {0: "pixels", 1: "pixels"})


def test_loads_are_not_the_model_s_time() -> None:
    one = denoising()
    one.join(12)
    one.exclude(5)
    assert (one.began, one.joined, one.cold_start) == (15, 17, 0)
    one.exclude(2, own=True)
    assert (one.began, one.joined, one.cold_start) == (17, 19, 2)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("lease", LeaseStatus)
def test_a_lease_is_taken_in_in_any_phase(phase: Phase, lease: LeaseStatus) -> None:
    """By the time of the answer it may have left, or gone on."""
    one = IN_PHASE[phase]()
    one.renewed(lease)
    assert (one.lease, one.phase) == (lease, phase)


def test_progress_is_the_average_over_its_images() -> None:
    assert fetching().progress == Progress("r", 2, 0, STEPS), "what was planned when it was submitted"
    one = denoising()
    one.images[0].step, one.images[1].step, one.images[1].steps = 3, 4, 5
    assert one.progress == Progress("r", 2, 3, 5), "done rounded down, expected rounded up"


@pytest.mark.parametrize(("retries", "alone"), [(0, False), (1, True), (2, True)])
def test_a_retry_runs_alone(retries: int, alone: bool) -> None:
    one: Running = RunningRequest(request(retries=retries), PARAMS, Future())
    assert one.alone is alone


class Life(RuleBasedStateMachine):
    """Any order of transitions, against the table above."""

    @initialize(count=st.integers(1, 3))
    def claim(self, count: int) -> None:
        self.one = fetching()
        self.count = count
        self.finished: set[int] = set()
        self.expected = Phase.FETCHING

    @rule(name=st.sampled_from(sorted(TRANSITIONS)))
    def attempt(self, name: str) -> None:
        act, allowed = TRANSITIONS[name]
        ready = len(self.one.pixels) == len(self.one.images) if name == "upload" else True
        if name == "finish" and not self.one.images:
            return
        if self.expected in allowed and ready:
            act(self.one)
            self.expected = allowed[self.expected]
        else:
            with pytest.raises(WrongPhase):
                act(self.one)

    @precondition(lambda self: self.expected is Phase.DENOISING)
    @rule(seconds=st.floats(0, 9))
    def load(self, seconds: float) -> None:
        before = self.one.joined - self.one.began
        self.one.exclude(seconds)
        assert self.one.joined - self.one.began == pytest.approx(before)

    @invariant()
    def has_what_its_phase_says(self) -> None:
        one = getattr(self, "one", None)
        if one is None:
            return
        assert one.phase is self.expected
        assert bool(one.images) == (one.phase in (Phase.DENOISING, Phase.UPLOADING)) or one.phase is Phase.DONE
        assert (one.uploaded is not None) == (one.phase is Phase.UPLOADING) or one.phase is Phase.DONE
        assert one.fetched.cancelled() == (one.phase is Phase.DONE)
        assert len(one.pixels) <= len(one.images)


TestLife = Life.TestCase
#: Each transition in each phase is in the tables above; these are orders of them.
TestLife.settings = settings(max_examples=15)


class Queue:
    """Notes what is written."""

    def __init__(self) -> None:
        self.written: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *what: self.written.append((name, *what))


@pytest.mark.parametrize(
    ("error", "shut", "written"),
    [
        (StoreUnavailable(), False, ("hand_back", "r", 2)),
        (StorageUnavailable.because("503"), True, ("hand_back", "r", 2)),
        (StorageUnavailable.because("413"), False, ("retry", "r", 2, STORAGE_REFUSED)),
        (BadPicture("damaged"), False, ("fail", "r", 2, "damaged", 400, "bad_picture")),
        (BadPicture("damaged"), True, ("fail", "r", 2, "damaged", 400, "bad_picture")),
        (NoRoom("too large"), False, ("fail", "r", 2, "too large", 507, "no_room")),
        (RuntimeError("private"), False, ("retry", "r", 2, MODEL_FAILED)),
    ],
)
def test_what_is_written_of_a_failure(error: Exception, shut: bool, written: tuple[object, ...]) -> None:
    queue: Any = Queue()
    fail(queue, denoising(), error, storage_shut=shut)
    assert queue.written == [written]


def test_what_another_version_accepted_is_refused() -> None:
    queue: Any = Queue()
    refuse(queue, request(), KeyError("steps"))
    assert queue.written == [("fail", "r", 2, NOT_UNDERSTOOD, 500)]


@pytest.mark.parametrize("package", ["worker", "testmode"])
def test_nothing_else_writes_its_attributes(package: str) -> None:
    own = {*vars(uploading()), "plan"}
    for path in (Path(tintype.__file__).parent / package).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del) and node.attr in own:
                assert isinstance(node.value, ast.Name), f"{path.name}:{node.lineno}"
                assert node.value.id == "self", f"{path.name}:{node.lineno}"
