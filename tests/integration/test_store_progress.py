"""ETA, speeds, and previews, over a real SQLite file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import func, select
from tests.stores import a_result, new_request, store_on

from tintype.catalog.models import SD3_MEDIUM_IMG2IMG, SD15_IMG2IMG
from tintype.catalog.parameters import speed_key
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database
from tintype.store.db.measurements import LATEST
from tintype.store.db.records import Progress, Request
from tintype.store.db.tables import paces, previews
from tintype.store.ops.processes import Workers
from tintype.store.queue.eta import Eta
from tintype.store.queue.progress import Preview, Previews, latest

STEPS = 10


class Line:
    """One key's queue, with a worker alive."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.store = store_on(db, lease=15, retention=3600)
        self.previews = Previews(db)
        accounts = Accounts(db)
        self.key, _ = accounts.keys.create(accounts.create("one", 10**9).id, "key")
        self.hire("w1")

    def hire(self, worker: str) -> None:
        Workers(self.db).heartbeat(worker, "cpu", 0, 0)

    def submit(self, pace: str | None = "a 18 1", steps: int = STEPS) -> Request:
        return self.store.queue.submit(new_request(self.key, "a", {}, 1, steps=steps, speed_key=pace))

    def claim(self) -> Request:
        request = self.store.leases.claim("w1", idle=True)
        assert request is not None
        return request

    def measure(self, seconds: float, pace: str = "a 18 1") -> None:
        """Complete a request whose steps took that long each."""
        self.submit(pace)
        claimed = self.claim()
        assert self.store.leases.complete(claimed.id, claimed.attempt, a_result(inference_time=seconds * STEPS))

    def outlook(self, request: Request) -> Eta:
        return self.store.queue.eta(self.store.queue.find(request.id, self.key.account_id))


@pytest.fixture
def line(url: str) -> Iterator[Line]:
    db = Database(url)
    yield Line(db)
    db.close()


def test_nothing_is_said_before_anything_was_measured(line: Line) -> None:
    assert line.outlook(line.submit()) == Eta(1, None)
    line.claim()


def test_a_queued_request_waits_for_the_running_the_queue_and_itself(line: Line) -> None:
    line.measure(2.0)
    running, first, second = line.submit(), line.submit(steps=20), line.submit(steps=5)
    claimed = line.claim()
    assert claimed.id == running.id
    line.store.leases.renew([Progress(claimed.id, claimed.attempt, 4, STEPS)])
    assert line.outlook(running) == Eta(None, 2.0 * 6)
    assert line.outlook(first) == Eta(1, 2.0 * (6 + 20))
    # What stands before it is taken to be the queue's average, of 20 and 5.
    assert line.outlook(second) == Eta(2, 2.0 * (6 + 12.5 + 5))


def test_more_hands_make_less_waiting(line: Line) -> None:
    line.measure(1.0)
    for _ in range(4):
        last = line.submit()
    assert line.outlook(last).seconds == 1.0 * (30 + 10)
    line.hire("w2")
    assert line.outlook(last).seconds == 1.0 * (30 / 2 + 10)
    for worker in ("w1", "w2"):
        Workers(line.db).leave(worker)
    assert line.outlook(last).seconds is None, "nobody is there to do it"


def test_other_kinds_of_work_count_at_their_own_pace(line: Line) -> None:
    line.measure(1.0)
    line.measure(5.0, "b 18 1")
    line.submit("b 18 1")
    line.claim()
    assert line.outlook(line.submit()).seconds == 5.0 * 10 + 1.0 * 10


def test_an_unknown_size_is_taken_for_its_models_others(line: Line) -> None:
    line.measure(1.0)
    line.measure(3.0, "a 20 1")
    assert line.outlook(line.submit("a 22 1")).seconds == 2.0 * STEPS


def test_the_latest_request_counts_most_but_not_alone(line: Line) -> None:
    line.measure(1.0)
    line.measure(2.0)
    assert line.outlook(line.submit()).seconds == pytest.approx((1 + LATEST) * STEPS)


def test_a_running_request_that_is_the_first_of_its_kind_goes_by_itself(line: Line) -> None:
    claimed = (
        line.store.queue.submit(new_request(line.key, "a", {}, 1, steps=STEPS, speed_key="a 18 1")) and line.claim()
    )
    line.store.leases.renew([Progress(claimed.id, claimed.attempt, 4, STEPS)])
    line.db.move_clock(8)
    assert line.outlook(claimed).seconds == pytest.approx(12, abs=0.5)


def test_failures_and_requests_without_a_pace_teach_nothing(line: Line) -> None:
    line.submit()
    claimed = line.claim()
    line.store.leases.fail(claimed.id, claimed.attempt, "why", 500)
    line.submit(None)
    claimed = line.claim()
    line.store.leases.complete(claimed.id, claimed.attempt, a_result(inference_time=1.0))
    with line.db.read() as view:
        assert view.scalar(select(func.count()).select_from(paces)) == 0
    assert line.outlook(claimed) == Eta()


def test_a_pace_is_of_a_model_a_size_and_a_number_of_rows() -> None:
    def of(spec: object, **changes: object) -> str:
        validated, _ = spec.validate({**spec.example, **changes})  # type: ignore[attr-defined]
        return speed_key(spec, spec.read(validated))  # type: ignore[arg-type]

    small, large = of(SD15_IMG2IMG), of(SD15_IMG2IMG, img_width=768, img_height=768)
    assert small.startswith("sd1.5-img2img ")
    assert len({small, large, of(SD15_IMG2IMG, samples=2), of(SD15_IMG2IMG, guidance_scale=1)}) == 4
    assert of(SD15_IMG2IMG, prompt="other", seed=9) == small
    assert of(SD3_MEDIUM_IMG2IMG).split()[1] == "0"


def test_only_watched_requests_are_looked_at(line: Line) -> None:
    one, two = line.submit(), line.submit()
    ids = [one.id, two.id]
    assert line.previews.followed(ids) == set()
    line.previews.follow([two.id], 60)
    assert line.previews.followed(ids) == {two.id}
    line.previews.follow([two.id], -1)
    assert line.previews.followed(ids) == set()


def test_a_preview_is_told_once_and_forgotten_with_its_run(line: Line) -> None:
    line.submit()
    request = line.claim()
    first, other, second = Preview(1, 1, 0, 3, b"a"), Preview(1, 2, 1, 3, b"o"), Preview(1, 3, 0, 5, b"b", True)

    def shown() -> list[Preview]:
        with line.db.read() as view:
            return [*latest(view, [request.id]).get(request.id, {}).values()]

    assert shown() == []
    line.previews.put(request.id, [first, other])
    line.previews.put(request.id, [second])
    line.previews.put(request.id, [Preview(2, 4, 2, 5, b"late")])
    assert shown() == [other, second], "the latest of each, of the present attempt"
    assert line.previews.expire() == 0
    line.store.leases.complete(request.id, request.attempt, a_result(inference_time=1.0))
    assert line.previews.expire() == 3
    with line.db.read() as view:
        assert view.scalar(select(func.count()).select_from(previews)) == 0
