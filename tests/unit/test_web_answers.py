"""What a request looks like in each state, without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tintype.core import GenerationParams, Output, Recipe, Result
from tintype.errors import KINDS, BadPicture, Cancelled, ContentRefused, NoRoom, TintypeError, kind_of
from tintype.media.storage import Files
from tintype.store.db.records import (
    CANCELLED,
    Billing,
    Failure,
    Lease,
    Request,
    RequestMetadata,
    Status,
    Timing,
)
from tintype.store.queue.eta import Eta
from tintype.web.declared import Answer
from tintype.web.generate import answers
from tintype.web.generate.dialect import Accepted
from tintype.web.generate.v2 import V2
from tintype.web.wire import exact

BASE = "https://a.example"
QUEUED = Request(
    id="7", seq=1, account_id="a", key_id="k", slug="s", params={"prompt": "a fox"}, priority=0,
    status=Status.QUEUED, attempt=0, step=0, steps=4,
    timing=Timing(100.0), lease=Lease(), billing=Billing(4_000), metadata=RequestMetadata(),
)  # fmt: skip
RUNNING = replace(QUEUED, status=Status.PROCESSING, attempt=1, timing=Timing(100.0, 101.0), step=1)
TTL = 60.0
ENDED = Timing(100.0, 101.0, 103.0)
FAILED = replace(RUNNING, status=Status.FAILED, timing=ENDED, failure=Failure("why", 400))
PARAMS = GenerationParams(prompt="a fox", steps=4, guidance=5.0, seed=5, sampler="euler")
RECIPE = Recipe(model="sd1.5-img2img", params=PARAMS, weights="w", dtype="float32", t5_tokens=1, source="")
RESULT = Result(outputs=(Output("1.png", 9, 64, 64, 5),), format="png", seed=5, inference_time=1.25, recipe=RECIPE)


def made(**changes: Any) -> Request:
    completed = {"status": Status.COMPLETED, "timing": ENDED, "step": 4, "billing": Billing(4_000, cost=3_500)}
    return replace(RUNNING, **{**completed, "result": RESULT, **changes})


def seen(answer: Answer) -> dict[str, Any]:
    """As a caller reads it."""
    found: dict[str, Any] = json.loads(answer.text())
    return found


@pytest.fixture
def outputs(tmp_path: Path) -> Files:
    return Files(tmp_path, TTL)


def test_queued_and_running() -> None:
    links = {"status_url": f"{BASE}/v2/requests/7/status", "response_url": f"{BASE}/v2/requests/7"}
    poll = f"{BASE}/v1/requests/7"
    answered = V2().render(cast(Any, None), Accepted(QUEUED, {}, BASE))
    assert json.loads(bytes(answered.body)) == {"request_id": "7", "status": "QUEUED", "poll_url": poll, **links}
    queued = {"status": "QUEUED", "request_id": "7", "metrics": {}, **links}
    first = {"queue_position": 3, "eta": 8.5, "progress": 0, "step": 0, "steps": 4}
    assert seen(answers.status(QUEUED, BASE, Eta(3, 8.5))) == queued | first
    running = {**queued, "status": "PROCESSING", "queue_position": None, "progress": 0.25, "step": 1, "steps": 4}
    assert seen(answers.status(RUNNING, BASE, Eta(seconds=4.5))) == running | {"eta": 4.5}


def test_progress_never_passes_its_end_nor_divides_by_nothing() -> None:
    assert seen(answers.status(replace(RUNNING, step=9), BASE, Eta()))["progress"] == 1
    assert seen(answers.status(replace(RUNNING, steps=0), BASE, Eta()))["progress"] == 0
    assert seen(answers.status(replace(made(), steps=0), BASE, Eta()))["progress"] == 1


def test_failed_has_times_and_no_cost(outputs: Files) -> None:
    times = {"inference_time": 2.0, "queue_time": 1.0, "total_time": 3.0}
    body = {"status": "FAILED", "request_id": "7", "error": "why", "metrics": times}
    body |= {"error_description": answers.failure(FAILED).advice}
    assert seen(answers.status(FAILED, BASE, Eta())) == body
    assert seen(answers.result(FAILED, BASE, 10, outputs, TTL)) == body


def test_cancelled_before_it_ran() -> None:
    never = replace(QUEUED, status=Status.FAILED, timing=Timing(100.0, ended_at=103.0), failure=CANCELLED)
    assert answers.times(never) == {"inference_time": 0.0, "queue_time": 3.0, "total_time": 3.0}


def test_completed(outputs: Files) -> None:
    assert seen(answers.status(made(), BASE, Eta()))["metrics"] == {"inference_time": 1.25}
    body = seen(answers.result(made(), BASE, 9_980_000, outputs, TTL))
    assert body["output"] == body["images"][0]["url"] == f"{BASE}/files/1.png"
    assert (body["images"][0]["file_size"], body["images"][0]["seed"], body["seed"]) == ("9", "5", "5")
    times = {"inference_time": 1.25, "queue_time": 1.0, "total_time": 3.0}
    assert body["metrics"] == {"cost": 0.0035, "remaining_credits": 9.98, **times}
    assert body["images"][0]["kept_until"] == "1970-01-01T00:02:43.000+00:00"
    assert body["error"] is None
    assert body["recipe"] == RECIPE.to_json()


def test_base64_is_the_files_own(outputs: Files) -> None:
    name = outputs.put(b"pixels", "png")
    result = replace(RESULT, outputs=(replace(RESULT.outputs[0], name=name),))
    request = made(params={"prompt": "a fox", "base64": True}, result=result)
    assert seen(answers.result(request, BASE, 0, outputs, TTL))["output"] == "cGl4ZWxz"


def test_whole_numbers_survive_a_reader_that_has_floats_only(outputs: Files) -> None:
    large = 2**53
    result = replace(RESULT, recipe=RECIPE.of(large))
    body = seen(answers.result(made(result=result), BASE, 0, outputs, TTL))
    assert (body["recipe"]["order"]["seed"], body["recipe"]["order"]["steps"]) == (str(large), 4)
    sent = {"order": {"seed": large, "strength": 0.5}, "all": [large - 1, -large, True]}
    shown = {"order": {"seed": str(large), "strength": 0.5}, "all": [large - 1, str(-large), True]}
    assert exact(sent) == shown


def test_retries_are_counted_only_where_there_were_any() -> None:
    assert "retry_count" not in answers.times(made())
    assert answers.times(replace(made(), attempt=3))["retry_count"] == 2
    assert "retry_count" not in answers.times(replace(made(), attempt=3, lease=Lease(hand_backs=2)))


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(400, BadPicture, 400), (422, ContentRefused, 422), (499, Cancelled, 500), (500, TintypeError, 500)],
)
def test_how_v1_answers_a_failure(status: int, kind: type[TintypeError], code: int) -> None:
    error = answers.failure(replace(FAILED, failure=Failure("why", status)))
    assert type(error) is kind
    assert (error.status, error.message) == (code, "why")
    assert error.public_headers()["x-request-id"] == "7"


@pytest.mark.parametrize("name", KINDS)
def test_a_failure_keeps_the_advice_of_its_error(name: str) -> None:
    error = KINDS[name]("why")
    assert kind_of(error) == name
    failed = replace(FAILED, failure=Failure(error.message, error.status, name))
    again = answers.failure(failed)
    assert (type(again), again.message, again.status) == (type(error), "why", error.status)
    assert seen(answers.status(failed, BASE, Eta()))["error_description"] == error.advice


def test_failures_without_a_name() -> None:
    """Of earlier versions, or of a later one whose names are others: the status tells as much as it does."""
    for name in (None, "of another version"):
        for status, kind in ((400, BadPicture), (422, ContentRefused), (507, NoRoom), (500, TintypeError)):
            failed = replace(FAILED, failure=Failure("why", status, name))
            assert type(answers.failure(failed)) is kind
    assert kind_of(TintypeError()) is None


def test_names_of_failures_fit_into_their_column() -> None:
    assert max(map(len, KINDS)) <= 40
