"""Which of several workers gets a request: for a moment, the one that has its model loaded."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from tests.databases import asked, moved_clock, place_of, statements
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.core import WorkerReport
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import Request
from tintype.store.db.tables import requests as table

#: Longer than any test takes: time passes when a test says so.
WAIT = 1000.0
BUDGET = 1000


class Fleet(Tenant):
    """A tenant, the workers of its store, and what each of them has said that it has loaded."""

    def __init__(self, db: Database, wait: float = WAIT) -> None:
        super().__init__(store_on(db, warm_wait=wait))
        self.preloads = self.store.ops.preloads
        self._loaded: dict[str, set[str]] = {}

    def report(self, worker: str, *loaded: str) -> None:
        """A worker's heartbeat, with what it has loaded."""
        self.beat(worker, report=WorkerReport.from_json({"memory": {"budget": BUDGET}}))
        self.preloads.note(worker, loaded)
        self._loaded[worker] = set(loaded)

    def ask(self, slug: str, **changes: Any) -> str:
        """The id of a queued request."""
        return self.submit(slug, **changes).id

    def claimed(self, worker: str, *, idle: bool = True) -> str | None:
        """The id of what a worker is given, if anything."""
        request = self.store.leases.claim(worker, idle=idle, loaded=self._loaded.get(worker, set()))
        return request and request.id

    def wait(self, id: str) -> None:
        """Let so much time pass for a request that it is left to nobody any more."""
        with self.db.write() as tx:
            tx.execute(update(table).where(table.c.id == id).values(submitted_at=read_clock(tx) - WAIT - 0.01))

    def die(self, worker: str) -> None:
        with moved_clock(self.db, -60):
            self.report(worker, *self._loaded[worker])

    def leave(self, worker: str) -> None:
        self.workers.leave(worker)

    def drain(self, worker: str) -> None:
        self.workers.drain(worker)

    def work(self, worker: str, pictures: int = 1) -> None:
        """Have the worker begin something else."""
        id = self.ask("other", priority=9, images=pictures)
        assert self.claimed(worker) == id

    def fill(self, worker: str) -> None:
        self.work(worker, pictures=2)

    def try_again(self, worker: str) -> None:
        """Have the worker run a request alone that failed before."""
        self.work(worker)
        [running] = [one for one in self.running() if one.lease.worker == worker]
        assert self.store.leases.retry(running.id, running.attempt, "oom")
        assert self.claimed(worker) == running.id

    def lose(self, worker: str) -> None:
        self.report(worker, "other")

    def running(self) -> list[Request]:
        with self.db.read() as view:
            rows = view.execute(table.select().where(table.c.status == "PROCESSING")).all()
        return [Request.of(row) for row in rows]


@pytest.fixture
def fleet(db: Database) -> Fleet:
    """One worker with a model, and one without any."""
    fleet = Fleet(db)
    fleet.report("warm", "sd3")
    fleet.report("cold")
    return fleet


def test_who_has_the_model_gets_the_request(fleet: Fleet) -> None:
    id = fleet.ask("sd3")
    assert fleet.claimed("cold") is None
    assert fleet.claimed("warm") == id


def test_who_has_waited_long_enough_is_anybody_s_in_its_turn(fleet: Fleet) -> None:
    first, second, third = (fleet.ask("sd3") for _ in range(3))
    fleet.wait(second)
    assert fleet.claimed("cold") == second
    assert fleet.claimed("cold") is None
    fleet.wait(first)
    fleet.wait(third)
    assert [fleet.claimed("cold") for _ in range(3)] == [first, third, None]


def test_the_next_in_turn_is_taken_instead_and_nobody_loses_a_turn(fleet: Fleet) -> None:
    a, b = fleet.key, fleet.new_key("B")
    left = [fleet.ask("sd3", key=key) for key in (a, a, b)]
    taken = [fleet.ask("sd1.5", key=key) for key in (a, b)]
    urgent = fleet.ask("sd1.5", key=b, priority=1)
    assert [fleet.claimed("cold") for _ in range(4)] == [urgent, *taken, None]
    places = [place_of(fleet.db, id) for id in left]
    assert places == [1, 3, 2]
    for id in left:
        fleet.wait(id)
    assert [fleet.claimed("cold") for _ in range(3)] == [left[0], left[2], left[1]]


def test_nothing_is_left_to_who_could_not_begin_it(fleet: Fleet) -> None:
    reasons = [Fleet.die, Fleet.leave, Fleet.drain, Fleet.fill, Fleet.try_again, Fleet.lose]
    for number, reason in enumerate(reasons):
        slug, worker = f"model {number}", f"warm {number}"
        fleet.report(worker, slug)
        id = fleet.ask(slug)
        assert fleet.claimed("cold") is None
        reason(fleet, worker)
        assert fleet.claimed("cold") == id, reason


def test_a_worker_has_room_as_soon_as_what_filled_it_is_given_up(fleet: Fleet) -> None:
    """Also where the claim itself gives that up: the request is left to the worker then."""
    fleet.fill("warm")
    [lost] = fleet.running()
    fleet.store.queue.cancel(lost.id, fleet.account_id)
    with fleet.db.write() as tx:
        tx.execute(update(table).where(table.c.id == lost.id).values(lease_until=read_clock(tx) - 1))
    id = fleet.ask("sd3")
    assert fleet.claimed("cold") is None
    assert fleet.claimed("warm") == id


def test_a_worker_that_has_little_in_hand_has_room(fleet: Fleet) -> None:
    fleet.work("warm")
    id = fleet.ask("sd3")
    assert fleet.claimed("cold") is None
    fleet.work("warm")
    assert fleet.claimed("cold") == id


def test_what_several_have_is_the_first_one_s(fleet: Fleet) -> None:
    fleet.report("cold", "sd3")
    id = fleet.ask("sd3")
    assert fleet.claimed("cold") == id


def test_a_retry_is_left_to_nobody_and_runs_alone(fleet: Fleet) -> None:
    id = fleet.ask("sd3")
    assert fleet.claimed("warm") == id
    assert fleet.store.leases.retry(id, 1, "oom")
    assert fleet.claimed("cold", idle=False) is None
    assert fleet.claimed("cold") == id


def test_a_request_that_was_handed_back_is_as_new(fleet: Fleet) -> None:
    id = fleet.ask("sd3")
    assert fleet.claimed("warm") == id
    assert fleet.store.leases.hand_back(id, 1)
    assert fleet.claimed("cold") is None
    assert fleet.claimed("warm") == id


def test_it_can_be_turned_off(db: Database) -> None:
    fleet = Fleet(db, wait=0)
    fleet.report("warm", "sd3")
    id = fleet.ask("sd3")
    assert fleet.claimed("cold") == id


@pytest.mark.parametrize("wait", [0, WAIT])
def test_a_claim_costs_as_many_queries_as_ever(db: Database, wait: float) -> None:
    """Poll · request, two turns: also where there are others, and one has the model."""
    fleet = Fleet(db, wait)
    fleet.report("only")
    first, second = fleet.ask("sd3"), fleet.ask("sd1.5")
    with statements(fleet.db) as alone:
        assert fleet.claimed("only") == first
    fleet.report("warm", "sd3")
    fleet.ask("sd3", priority=1)
    with statements(fleet.db) as several:
        assert (fleet.claimed("only") == second) is bool(wait)
    assert [len(asked(said)) for said in (alone, several)] == [4, 4]


def test_a_worker_that_leaves_all_to_others_takes_no_lock(fleet: Fleet) -> None:
    fleet.ask("sd3")
    with statements(fleet.db) as said:
        assert fleet.claimed("cold") is None
    assert len(asked(said)) == 1
    assert not [one for one, _ in said if "IMMEDIATE" in one or "advisory" in one]


def test_a_worker_says_anew_what_it_has(fleet: Fleet) -> None:
    fleet.report("warm", "sd1.5")
    models = {slug: fleet.preloads.of(slug, ["warm"]) for slug in ("sd3", "sd1.5")}
    assert {slug: [one.loaded for one in told] for slug, told in models.items()} == {"sd3": [False], "sd1.5": [True]}
    fleet.preloads.ask("sd1.5", ["warm"])
    assert fleet.preloads.asked("warm") == ["sd1.5"], "what it has in parts may be loaded as a whole"
    assert [one.loaded for one in fleet.preloads.of("sd1.5", ["warm"])] == [True]


def test_who_is_idle(fleet: Fleet) -> None:
    fleet.leave("warm")
    for number, reason in enumerate([Fleet.die, Fleet.leave, Fleet.drain, Fleet.work]):
        worker = f"idle {number}"
        fleet.report(worker)
        assert fleet.store.leases.idle_elsewhere("cold", BUDGET)
        assert not fleet.store.leases.idle_elsewhere("cold", BUDGET + 1)
        reason(fleet, worker)
        assert not fleet.store.leases.idle_elsewhere("cold", 0), "but itself"
        assert fleet.store.leases.idle_elsewhere(worker, 0)
