"""A state machine over the store: any order of calls, by workers alive, dead and late, beside a model of the truth.

The model knows what each call must answer; after every call, every row and every account is compared with it.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select, update

from tintype.errors import OutOfCredits, RequestUnknown
from tintype.store.accounts import Accounts, Key
from tintype.store.database import Database, read_clock
from tintype.store.migrations import migrate
from tintype.store.requests import Mark, Request, Requests, Status, Verdict
from tintype.store.tables import requests as table

START = 20_000
MAX_ATTEMPTS = 3
#: fsync costs nothing in a folder of memory: the machine makes some ten thousand commits.
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@cache
def migrated() -> Path:
    """A fresh database, migrated once and copied for every example."""
    file = Path(tempfile.mkdtemp(dir=FOLDER)) / "store.db"
    db = Database(f"sqlite:///{file}")
    migrate(db)
    db.close()
    return file


@pytest.fixture(scope="module", autouse=True)
def _sweep() -> object:
    yield
    shutil.rmtree(migrated().parent)


@dataclass
class Known:
    """What the model knows of one request."""

    id: str
    key: Key
    price: int
    priority: int
    status: Status = Status.QUEUED
    attempt: int = 0
    hand_backs: int = 0
    worker: str | None = None
    lapsed: bool = False
    cancel_requested: bool = False
    error: str | None = None

    @property
    def counted(self) -> int:
        return self.attempt - self.hand_backs

    @property
    def ended(self) -> bool:
        return self.status in (Status.COMPLETED, Status.FAILED)

    def end(self, error: str | None = None) -> None:
        self.status = Status.COMPLETED if error is None else Status.FAILED
        self.error = error

    def requeue(self) -> None:
        if self.cancel_requested:
            self.end("cancelled")
        else:
            self.status, self.worker, self.lapsed = Status.QUEUED, None, False


@dataclass(frozen=True)
class Run:
    """A claim that a worker remembers, whether or not it is still the worker's."""

    id: str
    attempt: int


@dataclass
class Model:
    """The truth, kept in the simplest way; requests in the order of arrival."""

    known: dict[str, Known] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)

    def running(self, run: Run) -> Known | None:
        """The request, if this run is the one that has it."""
        one = self.known.get(run.id)
        return one if one and one.status is Status.PROCESSING and one.attempt == run.attempt else None

    def held(self, account_id: str) -> int:
        return sum(one.price for one in self.known.values() if one.key.account_id == account_id and not one.ended)

    def complete(self, one: Known) -> None:
        self.spent[one.key.account_id] += 0 if one.cancel_requested else one.price
        one.end("cancelled" if one.cancel_requested else None)

    def fail(self, one: Known) -> None:
        one.end("broken")

    def retry(self, one: Known) -> None:
        if one.counted >= MAX_ATTEMPTS and not one.cancel_requested:
            one.end("oom")
        else:
            one.requeue()

    def hand_back(self, one: Known) -> None:
        one.hand_backs += 0 if one.cancel_requested else 1
        one.requeue()

    def give_up(self) -> None:
        for one in self.known.values():
            if one.status is Status.PROCESSING and one.lapsed and (one.cancel_requested or one.counted >= MAX_ATTEMPTS):
                one.end("cancelled" if one.cancel_requested else f"gave up after {MAX_ATTEMPTS} attempts")

    def head(self) -> Known | None:
        waiting = [one for one in self.known.values() if one.status is Status.QUEUED or (not one.ended and one.lapsed)]
        return min(waiting, key=lambda one: (-one.priority, self.turns.get(one.key.id, 0)), default=None)

    def claimed(self, one: Known, worker: str) -> None:
        one.status, one.worker, one.lapsed, one.attempt = Status.PROCESSING, worker, False, one.attempt + 1
        self.turns[one.key.id] = max(self.turns.values(), default=0) + 1


choice = st.integers(0, 5)
#: Key, price and priority.
asking = st.tuples(choice, st.sampled_from([2_000, 5_000, 9_000]), st.sampled_from([0, 0, 1]))
claiming = st.lists(st.sampled_from(["w1", "w2", "w3"]), min_size=1, max_size=3)
#: The ways in which a worker is done with a request, and what it says then.
LEAVE: dict[str, list[object]] = {
    "complete": [{"images": []}],
    "fail": ["broken", 400],
    "retry": ["oom"],
    "hand_back": [],
}


class StoreMachine(RuleBasedStateMachine):
    """Two accounts, three keys, three workers."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))
        shutil.copy(migrated(), self.folder / "store.db")
        self.db = Database(f"sqlite:///{self.folder}/store.db")
        self.accounts = Accounts(self.db)
        self.requests = Requests(self.db, lease=1000, retention=1000, max_attempts=MAX_ATTEMPTS)
        first, second = (self.accounts.create(name, START).id for name in ("first", "second"))
        self.keys = [self.accounts.create_key(account_id, "key")[0] for account_id in (first, first, second)]
        self.model = Model(spent={first: 0, second: 0})
        self.runs: list[Run] = []

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.folder)

    # What callers do

    @rule(asked=st.lists(asking, min_size=1, max_size=4))
    def submit(self, asked: list[tuple[int, int, int]]) -> None:
        for key, price, priority in asked:
            self.submit_one(self.keys[key % len(self.keys)], price, priority)

    def submit_one(self, asker: Key, price: int, priority: int) -> None:
        available = START - self.model.spent[asker.account_id] - self.model.held(asker.account_id)
        if available < price:
            with pytest.raises(OutOfCredits):
                self.requests.submit(asker, "sd3", {}, price, priority)
        else:
            request = self.requests.submit(asker, "sd3", {}, price, priority)
            self.model.known[request.id] = Known(request.id, asker, price, priority)

    @precondition(lambda self: self.model.known)
    @rule(which=choice)
    def cancel(self, which: int) -> None:
        one = self.pick(which)
        self.another_account_sees_nothing(one)
        if one.status is Status.QUEUED:
            one.end("cancelled")
        elif one.status is Status.PROCESSING:
            one.cancel_requested = True
        request = self.requests.cancel(one.id, one.key.account_id)
        assert (request.status, request.error) == (one.status, one.error)

    def another_account_sees_nothing(self, one: Known) -> None:
        another = next(key.account_id for key in self.keys if key.account_id != one.key.account_id)
        for look in (self.requests.find, self.requests.cancel):
            with pytest.raises(RequestUnknown):
                look(one.id, another)

    # What workers do, in time and too late

    # Two rules, as hypothesis leaves out some rules in every example, and without claims little happens.
    @precondition(lambda self: self.model.head())
    @rule(workers=claiming)
    def idle_workers_claim(self, workers: list[str]) -> None:
        for worker in workers:
            self.claim_one(worker, idle=True)

    @precondition(lambda self: self.model.head())
    @rule(workers=claiming)
    def busy_workers_claim(self, workers: list[str]) -> None:
        for worker in workers:
            self.claim_one(worker, idle=False)

    def claim_one(self, worker: str, *, idle: bool) -> None:
        self.model.give_up()
        head = self.model.head()
        request = self.requests.claim(worker, idle=idle)
        if head is None or (head.counted and not idle):
            assert request is None
            return
        assert request is not None
        assert request.id == head.id
        self.model.claimed(head, worker)
        self.runs.append(Run(request.id, request.attempt))

    @precondition(lambda self: self.runs)
    @rule(which=st.lists(choice, min_size=1, max_size=4), step=st.integers(0, 20))
    def renew(self, which: list[int], step: int) -> None:
        runs = {run.id: run for run in map(self.pick_run, which)}
        expected = {}
        for run in runs.values():
            one = self.model.running(run)
            if one:
                one.lapsed = False
            expected[run.id] = Verdict.LOST if one is None else Verdict.CANCEL if one.cancel_requested else Verdict.KEEP
        assert self.requests.renew([Mark(run.id, run.attempt, step, 20) for run in runs.values()]) == expected

    @precondition(lambda self: self.runs)
    @rule(done=st.lists(st.tuples(choice, st.sampled_from(["complete", *LEAVE])), min_size=1, max_size=4))
    def leave(self, done: list[tuple[int, str]]) -> None:
        for which, how in done:
            self.leave_one(self.pick_run(which), how)

    def leave_one(self, run: Run, how: str) -> None:
        """A worker is done with a request in one of four ways, or believes that it is."""
        one = self.model.running(run)
        expected = one is not None and not (how == "complete" and one.cancel_requested)
        if one:
            getattr(self.model, how)(one)
        assert getattr(self.requests, how)(run.id, run.attempt, *LEAVE[how]) is expected

    # What time does

    @precondition(lambda self: any(one.status is Status.PROCESSING for one in self.model.known.values()))
    @rule(which=st.lists(choice, min_size=1, max_size=3))
    def leases_run_out(self, which: list[int]) -> None:
        for one in [self.pick(index, Status.PROCESSING) for index in which]:
            self.move_to_the_past(one, "lease_until")
            one.lapsed = True

    @precondition(lambda self: any(one.ended for one in self.model.known.values()))
    @rule(which=choice)
    def a_record_grows_old(self, which: int) -> None:
        one = self.pick(which, Status.COMPLETED, Status.FAILED)
        self.move_to_the_past(one, "expires_at")
        with pytest.raises(RequestUnknown):
            self.requests.find(one.id, one.key.account_id)
        self.model.expired.add(one.id)
        del self.model.known[one.id]

    @rule()
    def expire(self) -> None:
        self.model.give_up()
        assert self.requests.expire() == len(self.model.expired)
        self.model.expired.clear()

    # What must always hold

    @invariant()
    def every_request_is_where_the_model_has_it(self) -> None:
        with self.db.read() as view:
            moment = read_clock(view)
            rows = {row.id: Request.of(row) for row in view.execute(select(table))}
        assert rows.keys() == self.model.known.keys() | self.model.expired
        for one in self.model.known.values():
            row = rows[one.id]
            assert (row.status, row.attempt, row.hand_backs) == (one.status, one.attempt, one.hand_backs)
            assert (row.error, row.cancel_requested) == (one.error, one.cancel_requested)
            assert row.counted <= MAX_ATTEMPTS
            assert (row.result == {"images": []}) is (row.status is Status.COMPLETED)
            assert (row.ended_at is not None) is (row.expires_at is not None) is one.ended
            alive = row.lease_until is not None and row.lease_until > moment
            assert alive is (one.status is Status.PROCESSING and not one.lapsed)
            assert one.ended or row.worker == one.worker

    @invariant()
    def money_adds_up(self) -> None:
        for account in self.accounts.list():
            assert account.balance == START - self.model.spent[account.id]
            assert account.held == self.model.held(account.id)
            assert account.remaining >= 0

    @invariant()
    def the_next_one_is_at_place_one(self) -> None:
        queued = [one for one in self.model.known.values() if one.status is Status.QUEUED]
        places = sorted(self.requests.position(one.id) or 0 for one in queued)
        assert places == list(range(1, len(queued) + 1))

    # Helpers

    def pick(self, which: int, *statuses: Status) -> Known:
        among = [one for one in self.model.known.values() if not statuses or one.status in statuses]
        return among[which % len(among)]

    def pick_run(self, which: int) -> Run:
        """Mostly a recent one: the older ones are late."""
        return self.runs[-1 - which % min(len(self.runs), 6)]

    def move_to_the_past(self, one: Known, column: str) -> None:
        with self.db.write() as tx:
            tx.execute(update(table).where(table.c.id == one.id).values({column: read_clock(tx) - 0.01}))


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
