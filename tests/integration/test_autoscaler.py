"""A Ray fleet's autoscaler over a real store: who leads, what it starts and drains. The cluster is a list of names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.stores import a_result, store_on
from tests.tenants import Tenant

from tintype.core import RunningImages, WorkerReport
from tintype.fleet import autoscaler as autoscaler_module
from tintype.fleet.autoscaler import Autoscaler
from tintype.fleet.scaling import ScalingPolicy
from tintype.store.db.database import Database
from tintype.store.db.migrations import migrate
from tintype.store.ops.autoscaler import LeaderLease, fleet_name, waits, wanted
from tintype.store.ops.preload import Preloads
from tintype.store.queue.eta import GUESS, Demand

NO_COOLDOWN = ScalingPolicy(min_workers=0, max_workers=3, target_wait=10, cooldown=0)
#: Steps of a request that keeps one worker busy for the wanted wait.
STEPS = round(10 / GUESS)


class Names:
    """The actors of a cluster that has room for any number of them."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self.ended: list[str] = []
        self.crowded = False

    def names(self) -> list[str]:
        return [*self.there, "somebody else's"]

    def start(self, name: str) -> None:
        assert name not in self.there
        self.there.append(name)

    def end(self, name: str) -> None:
        self.there.remove(name)
        self.ended.append(name)

    def unplaced(self, names: Iterable[str]) -> list[str]:
        return list(names) if self.crowded else []

    def capacity(self) -> str:
        return "one needs 1 GPU; there is none"


class Site(Tenant):
    """A tenant, a cluster, and autoscalers over them."""

    def __init__(self, db: Database) -> None:
        super().__init__(store_on(db), asks={"slug": "a", "price": 1, "steps": STEPS, "speed_key": "a 1"})
        self.cluster = Names()

    def autoscaler(self, holder: str = "k1", policy: ScalingPolicy = NO_COOLDOWN) -> Autoscaler:
        return Autoscaler(self.store, LeaderLease(self.db, holder, 15), self.cluster, policy)

    def submit_many(self, number: int) -> None:
        for _ in range(number):
            self.submit()

    def end_all(self) -> None:
        while claimed := self.store.leases.claim("w", idle=True):
            self.store.leases.complete(claimed.id, claimed.attempt, a_result(inference_time=STEPS * GUESS))

    def beat_all(self, *ids: str, busy: bool = False) -> list[bool]:
        report = WorkerReport(running=(RunningImages("r", "a", 1, 0, 4),) if busy else ())
        return [self.beat(id, report=report) for id in ids]

    def wanted(self) -> int | None:
        with self.db.read() as view:
            return wanted(view)


@pytest.fixture
def site(db: Database) -> Site:
    return Site(db)


def test_what_is_asked(site: Site) -> None:
    assert site.store.queue.demand() == Demand(0, 0, 0, 0)
    site.submit("b", speed_key="b 1"), site.submit("b", speed_key="b 1")
    site.submit(test=True)
    site.claim("w1")
    store_on(site.db).queue.pause()
    assert site.store.queue.demand() == Demand(STEPS * GUESS, STEPS * GUESS, 1, 1, frozenset({"b"}), paused=True)


def test_from_none_to_the_maximum_and_back(site: Site) -> None:
    autoscaler = site.autoscaler()
    assert (autoscaler.reconcile(), site.cluster.there) == (0, [])
    site.submit()
    assert (autoscaler.reconcile(), site.cluster.there) == (0, ["ray:1"])
    site.submit_many(4)
    autoscaler.reconcile()
    assert site.cluster.there == ["ray:1", "ray:2", "ray:3"]
    assert (autoscaler.reconcile(), site.wanted()) == (3, 3)
    site.end_all()
    site.beat_all("ray:2-host-1")
    autoscaler.reconcile()
    assert site.cluster.there == ["ray:2"], "those without a worker are ended immediately, the other drains"
    assert site.beat_all("ray:2-host-1") == [True]
    autoscaler.reconcile()
    assert site.cluster.there == ["ray:2"]
    site.workers.leave("ray:2-host-1")
    autoscaler.reconcile()
    assert (site.cluster.there, site.workers.shown()[1], site.wanted()) == ([], [], 0)


def test_none_is_started_while_the_storage_refuses_all_that_are_there(site: Site) -> None:
    site.submit()
    autoscaler = site.autoscaler()
    autoscaler.reconcile()
    refused = {"storage": "there is no such bucket"}
    site.workers.heartbeat("ray:1-host-1", "cpu", 0, 0, report=WorkerReport.from_json(refused))
    site.submit_many(4)
    autoscaler.reconcile()
    assert site.cluster.there == ["ray:1"]
    site.beat_all("ray:1-host-1")
    autoscaler.reconcile()
    assert site.cluster.there == ["ray:1", "ray:2", "ray:3"]


def test_an_autoscaler_finds_what_another_has_left(site: Site) -> None:
    site.submit_many(9)
    site.autoscaler().reconcile()
    site.end_all()
    later = site.autoscaler("k2", ScalingPolicy(0, 3, 10, cooldown=300))
    assert later.reconcile() is None, "the first still leads"
    site.db.move_clock(16)
    assert (later.reconcile(), site.wanted()) == (3, 3), "nothing is doubled, and nobody goes before a cool-down"
    assert site.autoscaler().reconcile() is None
    LeaderLease(site.db, "k2", 15).release()
    assert site.autoscaler().reconcile() == 3


def test_nothing_is_started_while_the_queue_is_paused(site: Site) -> None:
    autoscaler = site.autoscaler(policy=ScalingPolicy(1, 3, 10, 0))
    store_on(site.db).queue.pause()
    site.submit_many(9)
    autoscaler.reconcile()
    assert site.cluster.there == []
    store_on(site.db).queue.resume()
    autoscaler.reconcile()
    assert len(site.cluster.there) == 3


def test_an_operator_s_drain_leaves_the_slot_empty_until_it_is_recalled(site: Site) -> None:
    autoscaler = site.autoscaler()
    site.submit_many(9)
    autoscaler.reconcile()
    site.beat_all("ray:1-host-1", "ray:2-host-2", "ray:3-host-3")
    site.workers.drain("ray:2-host-2")
    autoscaler.reconcile()
    assert site.cluster.ended == [], "it has something to end yet"
    site.workers.leave("ray:2-host-2")
    for _ in range(2):
        autoscaler.reconcile()
    assert (site.cluster.there, site.wanted()) == (["ray:1", "ray:3"], 2)
    site.workers.recall("ray:2-host-2")
    autoscaler.reconcile()
    assert sorted(site.cluster.there) == ["ray:1", "ray:2", "ray:3"]


def test_a_slot_that_an_operator_drained_does_not_keep_a_fleet_from_being_taken_down(site: Site) -> None:
    site.submit_many(9)
    site.autoscaler().reconcile()
    site.beat_all("ray:1-host-1")
    site.workers.drain("ray:1-host-1")
    site.workers.leave("ray:1-host-1")
    down = site.autoscaler(policy=ScalingPolicy(0, 0, 1, 0))
    assert (down.reconcile(), site.cluster.there) == (3, [])
    assert (down.reconcile(), len(site.workers.shown()[1])) == (0, 1), "its row stays for a recall"


def test_an_operator_s_word_stands_over_the_fleet_s(site: Site) -> None:
    site.beat_all("ray:1-host-1", "ray:2-host-2")
    site.workers.release("ray:1-host-1")
    site.workers.drain("ray:1-host-1")
    site.workers.drain("ray:2-host-2")
    site.workers.release("ray:2-host-2")
    assert [worker.released for worker in site.workers.shown()[1]] == [False, False]


def test_the_idle_and_cold_go_first(site: Site) -> None:
    autoscaler = site.autoscaler()
    site.submit_many(9)
    autoscaler.reconcile()
    site.end_all()
    site.beat_all("ray:1-host-1", "ray:2-host-2")
    site.beat_all("ray:3-host-3", busy=True)
    Preloads(site.db).note("ray:2-host-2", ["a"])
    site.submit_many(2)
    autoscaler.reconcile()
    assert [worker.id for worker in site.workers.shown()[1] if worker.released] == ["ray:1-host-1"]


def test_an_actor_that_dies_immediately_is_not_started_at_every_poll(site: Site) -> None:
    autoscaler = site.autoscaler()
    site.submit()
    autoscaler.reconcile()
    site.cluster.there.clear()
    autoscaler.reconcile()
    assert site.cluster.there == []


def test_workers_that_no_node_has_room_for_are_reported_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 13.0))
    moment = 0.0
    monkeypatch.setattr(autoscaler_module.time, "monotonic", lambda: moment)
    site.cluster.crowded = True
    autoscaler, said = site.autoscaler(), []
    site.submit()
    with capture_logs() as logs:
        for moment in moments:  # noqa: B007 - it is what the clock says
            autoscaler.reconcile()
            said.append([line["cause"] for line in logs if line["log_level"] == "warning"])
    assert [len(causes) for causes in said] == [0, 0, 0, 0, 1, 1, 1], "the actor was there at the second poll"
    assert said[-1] == ["ray:1: one needs 1 GPU; there is none"]
    with site.db.read() as view:
        assert waits(view) == said[-1][0], "an operator is told too"
    site.cluster.crowded = False
    autoscaler.reconcile()
    with site.db.read() as view:
        assert waits(view) == ""


def test_a_database_names_its_fleet_once(url: str, tmp_path: Path) -> None:
    site, other = Database(url), Database(f"sqlite:///{tmp_path / 'other.db'}")
    migrate(other)
    assert fleet_name(site) == fleet_name(site) != fleet_name(other)
    site.close()
    other.close()
