"""ETA, speeds, and previews, over a real SQLite file."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from tests.databases import statements
from tests.stores import new_request, store_on
from tests.tenants import Tenant

from tintype.catalog.models import SD3_MEDIUM_IMG2IMG, SD15_IMG2IMG
from tintype.catalog.parameters import speed_key
from tintype.store.db.database import Database, read_clock
from tintype.store.db.measurements import LATEST
from tintype.store.db.records import Progress
from tintype.store.db.tables import paces, previews
from tintype.store.queue.eta import Eta
from tintype.store.queue.progress import Preview, latest

STEPS = 10
PACE = "a 18 1"


@pytest.fixture
def tenant(db: Database) -> Tenant:
    """With a worker alive."""
    one = Tenant(store_on(db), asks={"slug": "a", "price": 1, "steps": STEPS, "speed_key": PACE})
    one.beat("w1")
    return one


def measure(tenant: Tenant, seconds: float, pace: str = PACE) -> None:
    """Complete a request whose steps took that long each."""
    tenant.submit(speed_key=pace)
    tenant.complete(inference_time=seconds * STEPS)


def test_nothing_is_said_before_anything_was_measured(tenant: Tenant) -> None:
    assert tenant.eta(tenant.submit()) == Eta(1, None)
    tenant.claim()


def test_a_queued_request_waits_for_the_running_the_queue_and_itself(tenant: Tenant) -> None:
    measure(tenant, 2.0)
    running, first, second = tenant.submit(), tenant.submit(steps=20), tenant.submit(steps=5)
    claimed = tenant.claim()
    assert claimed.id == running.id
    tenant.store.leases.renew([Progress(claimed.id, claimed.attempt, 4, STEPS)])
    assert tenant.eta(running) == Eta(None, 2.0 * 6)
    assert tenant.eta(first) == Eta(1, 2.0 * (6 + 20))
    # What stands before it is taken to be the queue's average, of 20 and 5.
    assert tenant.eta(second) == Eta(2, 2.0 * (6 + 12.5 + 5))


def test_more_hands_make_less_waiting(tenant: Tenant) -> None:
    measure(tenant, 1.0)
    for _ in range(4):
        last = tenant.submit()
    assert tenant.eta(last).seconds == 1.0 * (30 + 10)
    tenant.beat("w2")
    assert tenant.eta(last).seconds == 1.0 * (30 / 2 + 10)
    for worker in ("w1", "w2"):
        tenant.workers.leave(worker)
    assert tenant.eta(last).seconds is None, "nobody is there to do it"


def test_other_kinds_of_work_count_at_their_own_pace(tenant: Tenant) -> None:
    measure(tenant, 1.0)
    measure(tenant, 5.0, "b 18 1")
    tenant.submit(speed_key="b 18 1")
    tenant.claim()
    assert tenant.eta(tenant.submit()).seconds == 5.0 * 10 + 1.0 * 10


def test_an_unknown_size_is_taken_for_its_models_others(tenant: Tenant) -> None:
    measure(tenant, 1.0)
    measure(tenant, 3.0, "a 20 1")
    assert tenant.eta(tenant.submit(speed_key="a 22 1")).seconds == 2.0 * STEPS


def test_the_latest_request_counts_most_but_not_alone(tenant: Tenant) -> None:
    measure(tenant, 1.0)
    measure(tenant, 2.0)
    assert tenant.eta(tenant.submit()).seconds == pytest.approx((1 + LATEST) * STEPS)


def test_a_running_request_that_is_the_first_of_its_kind_goes_by_itself(tenant: Tenant) -> None:
    claimed = (
        tenant.store.queue.submit(new_request(tenant.key, "a", {}, 1, steps=STEPS, speed_key="a 18 1"))
        and tenant.claim()
    )
    tenant.store.leases.renew([Progress(claimed.id, claimed.attempt, 4, STEPS)])
    tenant.db.move_clock(8)
    seconds = tenant.eta(claimed).seconds
    assert seconds
    with tenant.db.read() as view:
        took = read_clock(view) - (claimed.timing.started_at or 0)
    assert 8 * 6 / 4 - 0.1 <= seconds <= took * 6 / 4 + 0.1, "six steps more, of which four took so long"


def test_failures_and_requests_without_a_pace_teach_nothing(tenant: Tenant) -> None:
    tenant.submit()
    claimed = tenant.claim()
    tenant.store.leases.fail(claimed.id, claimed.attempt, "why", 500)
    tenant.submit(speed_key=None)
    claimed = tenant.claim()
    tenant.complete(claimed, inference_time=1.0)
    with tenant.db.read() as view:
        assert view.scalar(select(func.count()).select_from(paces)) == 0
    assert tenant.eta(claimed) == Eta()


def test_a_pace_is_of_a_model_a_size_and_a_number_of_rows() -> None:
    def of(spec: object, **changes: object) -> str:
        validated, _ = spec.validate({**spec.example, **changes})  # type: ignore[attr-defined]
        return speed_key(spec, spec.read(validated))  # type: ignore[arg-type]

    small, large = of(SD15_IMG2IMG), of(SD15_IMG2IMG, img_width=768, img_height=768)
    assert small.startswith("sd1.5-img2img ")
    assert len({small, large, of(SD15_IMG2IMG, samples=2), of(SD15_IMG2IMG, guidance_scale=1)}) == 4
    assert of(SD15_IMG2IMG, prompt="other", seed=9) == small
    assert of(SD3_MEDIUM_IMG2IMG).split()[1] == "0"


def test_only_watched_requests_are_looked_at(tenant: Tenant) -> None:
    one, two = tenant.submit(), tenant.submit()
    ids = [one.id, two.id]
    assert tenant.store.queue.previews.followed(ids) == set()
    tenant.store.queue.previews.follow([two.id], 60)
    assert tenant.store.queue.previews.followed(ids) == {two.id}
    tenant.store.queue.previews.follow([two.id], -1)
    assert tenant.store.queue.previews.followed(ids) == set()


def test_a_preview_is_told_once_and_forgotten_with_its_run(tenant: Tenant) -> None:
    tenant.submit()
    request = tenant.claim()
    first, other, second = Preview(1, 1, 0, 3, b"a"), Preview(1, 2, 1, 3, b"o"), Preview(1, 3, 0, 5, b"b", True)

    def shown() -> list[Preview]:
        with tenant.db.read() as view:
            return [*latest(view, [request.id]).get(request.id, {}).values()]

    assert shown() == []
    with statements(tenant.db) as said:
        tenant.store.queue.previews.put(request.id, [first, other])
        tenant.store.queue.previews.put(request.id, [second])
        tenant.store.queue.previews.put(request.id, [Preview(2, 4, 2, 5, b"early"), Preview(2, 4, 3, 5, b"early")])
        tenant.store.queue.previews.put(request.id, [Preview(1, 4, 2, 5, b"late")])
    assert not any("FULL" in one or "advisory" in one for one, _ in said), "no disk is waited for, and no lock"
    with tenant.db.read() as view:
        assert view.scalar(select(previews.c.jpeg).where(previews.c.picture == 2)) == b"early", (
            "a later attempt's stays"
        )
    assert shown() == [other, second], "the latest of each, of the present attempt"
    assert tenant.store.queue.previews.expire() == 0
    tenant.complete(request, inference_time=1.0)
    assert tenant.store.queue.previews.expire() == 4
    with tenant.db.read() as view:
        assert view.scalar(select(func.count()).select_from(previews)) == 0
