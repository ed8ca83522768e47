"""A state machine over the store: any order of calls, by workers alive, dead and late, next to a model of the truth.

The model knows what each call must answer; after every call, every row and every account is compared with it.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event, func, select, update
from tests.databases import Databases, place_of
from tests.stores import a_result, new_request, store_on

from tintype.catalog.limits import LIMITS
from tintype.errors import (
    BadRequest,
    IdempotencyMismatch,
    OutOfCredits,
    RequestUnknown,
    SpendCapReached,
    TintypeError,
    TooManyRequests,
)
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import Key
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import DAY, LeaseStatus, Progress, Request, Status
from tintype.store.db.tables import history, samples
from tintype.store.db.tables import requests as table
from tintype.store.ops.preload import Preloads
from tintype.store.ops.processes import Workers
from tintype.store.queue.claim import BUSY

START = 20_000
#: Micro-dollars that the fourth key may spend, concurrent requests that the first may have, and what the last may spend
#: and submit in a day.
CAP, AT_ONCE = 12_000, 4
A_DAY: dict[str, int] = {"daily_spend": 10_000, "daily_requests": 3}
#: Seconds for which a new request is left to others; until a lease or a record expires; and until the midnight, and
#: after it, at which the clock begins and goes on.
YOUNG, LONG, UNTIL, AFTER = 1000, 4000, 1000, 1100
MAX_ATTEMPTS = 3
#: What every completed request took.
SECONDS = 3


@dataclass
class Known:
    """What the model knows of one request."""

    id: str
    key: Key
    price: int
    priority: int
    slug: str
    rate: int | None = None
    once: str = ""
    #: Midnights that had passed.
    day: int = 0
    status: Status = Status.QUEUED
    attempt: int = 0
    hand_backs: int = 0
    worker: str | None = None
    lapsed: bool = False
    overdue: bool = False
    #: Whether it came so lately that it is left to a worker that has its model.
    young: bool = True
    cancel_requested: bool = False
    error: str | None = None

    @property
    def cost(self) -> int:
        """What it costs if it completes."""
        return self.price if self.rate is None else min(self.price, self.rate * SECONDS)

    @property
    def charged(self) -> int:
        return self.cost if self.status is Status.COMPLETED else 0

    @property
    def counted(self) -> int:
        return self.attempt - self.hand_backs

    @property
    def unwanted(self) -> bool:
        return self.cancel_requested or self.overdue

    @property
    def ended(self) -> bool:
        return self.status in (Status.COMPLETED, Status.FAILED)

    def end(self, error: str | None = None) -> None:
        self.status = Status.COMPLETED if error is None else Status.FAILED
        self.error = error

    def requeue(self) -> None:
        if self.unwanted:
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
    #: Those whose records are gone too.
    submitted: list[Known] = field(default_factory=list)
    #: Midnights that have passed.
    day: int = 0
    #: By key.
    spent: Counter[str] = field(default_factory=Counter)
    #: By account: what operators gave and took.
    given: Counter[str] = field(default_factory=Counter)
    turns: dict[str, int] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    #: What the workers that are alive have loaded.
    loaded: dict[str, set[str]] = field(default_factory=dict)

    def running(self, run: Run) -> Known | None:
        """The request, if this run is the one that has it."""
        one = self.known.get(run.id)
        return one if one and one.status is Status.PROCESSING and one.attempt == run.attempt else None

    def held(self, keys: list[Key]) -> int:
        return sum(one.price for one in self.known.values() if one.key in keys and not one.ended)

    def used_today(self, key: Key) -> tuple[int, int]:
        """Micro-dollars and requests."""
        today = [one for one in self.submitted if one.key is key and one.day == self.day]
        return sum(one.price if not one.ended else one.charged for one in today), len(today)

    def complete(self, one: Known) -> None:
        self.spent[one.key.id] += 0 if one.unwanted else one.cost
        one.end("cancelled" if one.unwanted else None)

    def fail(self, one: Known) -> None:
        one.end("broken")

    def retry(self, one: Known) -> None:
        if one.counted >= MAX_ATTEMPTS and not one.unwanted:
            one.end("oom")
        else:
            one.requeue()

    def hand_back(self, one: Known) -> None:
        one.hand_backs += 0 if one.unwanted else 1
        one.requeue()

    def give_up(self) -> None:
        for one in self.known.values():
            free = one.status is Status.QUEUED or (one.status is Status.PROCESSING and one.lapsed)
            if free and (one.unwanted or one.counted >= MAX_ATTEMPTS):
                one.end("cancelled" if one.unwanted else f"gave up after {MAX_ATTEMPTS} attempts")

    def left(self, one: Known, worker: str) -> bool:
        """Whether this worker leaves a waiting request to another one."""
        others = (other for other in self.loaded if other != worker and self.has_room(other))
        ready = {slug for other in others for slug in self.loaded[other]} - self.loaded.get(worker, set())
        return one.young and not one.counted and one.slug in ready

    def has_room(self, worker: str) -> bool:
        own = [one for one in self.known.values() if one.status is Status.PROCESSING and one.worker == worker]
        return len(own) < BUSY and all(one.counted == 1 for one in own)

    def head(self, worker: str) -> Known | None:
        waiting = [one for one in self.known.values() if one.status is Status.QUEUED or (not one.ended and one.lapsed)]
        waiting = [one for one in waiting if not self.left(one, worker)]
        return min(waiting, key=self.turn, default=None)

    def turn(self, one: Known) -> tuple[int, int, int]:
        return -one.priority, self.turns.get(one.key.account_id, 0), self.turns.get(one.key.id, 0)

    def claimed(self, one: Known, worker: str) -> None:
        one.status, one.worker, one.lapsed, one.attempt = Status.PROCESSING, worker, False, one.attempt + 1
        self.turns[one.key.id] = self.turns[one.key.account_id] = max(self.turns.values(), default=0) + 1


SLUGS = ("sd3", "sd1.5")
choice = st.integers(0, 5)
#: Key, price, micro-dollars per second, priority and model.
asking = st.tuples(
    choice,
    st.sampled_from([0, 2_000, 5_000, 9_000]),
    st.sampled_from([None, 1_000]),
    st.sampled_from([0, 0, 1]),
    st.sampled_from(SLUGS),
)
workers = st.sampled_from(["w1", "w2", "w3"])
claiming = st.lists(workers, min_size=1, max_size=3)
#: The ways in which a worker is done with a request, and what it says then.
LEAVE: dict[str, list[object]] = {
    "complete": [a_result(inference_time=SECONDS)],
    "fail": ["broken", 400],
    "retry": ["oom"],
    "hand_back": [],
}


#: What dies in addition to the ways to leave; of these, some have nothing to write at times.
HARMLESS = {"submit again", "claim", "end overdue"}
ANYBODY = ("submit", "cancel", "give", "renew", "expire", *sorted(HARMLESS))


class Died(BaseException):
    """As sudden as a power cut."""


@contextmanager
def dying(db: Database, at: int) -> Iterator[None]:
    """Let the database's user die before its `at`-th statement, or else before its commit."""
    left = count(at, -1)

    def die(*_: object) -> None:
        raise Died

    def step(*_: object) -> None:
        if next(left) <= 1:
            die()

    event.listen(db._engine, "before_cursor_execute", step)
    event.listen(db._engine, "commit", die)
    try:
        yield
    finally:
        event.remove(db._engine, "before_cursor_execute", step)
        event.remove(db._engine, "commit", die)


class StoreMachine(RuleBasedStateMachine):
    """Two accounts with keys, some of them limited; three workers; a midnight."""

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self.databases = databases

    @initialize()
    def open(self) -> None:
        self.url, self.ahead = self.databases.fresh(), 0.0
        self.connect()
        self.move_clock(DAY - UNTIL - self.moment() % DAY)
        first, second = (self.accounts.create(name, START).id for name in ("first", "second"))
        limits: list[tuple[str, dict[str, int]]] = [(first, {"concurrency": AT_ONCE}), (first, {}), (second, {}),
                                               (second, {"spend_cap": CAP}), (second, A_DAY)]  # fmt: skip
        self.keys = [self.accounts.keys.create(account_id, "key", **limit)[0] for account_id, limit in limits]
        self.model = Model(given=Counter({first: START, second: START}))
        self.runs: list[Run] = []
        self.numbers = count()

    def connect(self) -> None:
        self.db = Database(self.url)
        self.db.move_clock(self.ahead)
        self.accounts = Accounts(self.db)
        self.store = store_on(self.db, lease=LONG, retention=LONG, max_attempts=MAX_ATTEMPTS, warm_wait=YOUNG)

    def teardown(self) -> None:
        self.db.close()
        self.databases.drop(self.url)

    # What callers do

    @rule(asked=st.lists(asking, min_size=1, max_size=4))
    def submit(self, asked: list[tuple[int, int, int | None, int, str]]) -> None:
        for key, *what in asked:
            self.submit_one(self.keys[key % len(self.keys)], *what)

    def submit_one(self, asker: Key, price: int, rate: int | None, priority: int, slug: str) -> None:
        if refusal := self.refusal(asker, price):
            with pytest.raises(refusal):
                self.store.queue.submit(new_request(asker, slug, {}, price, priority, rate=rate))
        else:
            once = f"once-{next(self.numbers)}"
            sent = {"rate": rate, "idempotency_key": once, "fingerprint": "same"}
            request = self.store.queue.submit(new_request(asker, slug, {}, price, priority, **sent))
            known = Known(request.id, asker, price, priority, slug, rate, once, self.model.day)
            self.model.known[request.id] = known
            self.model.submitted.append(known)

    def refusal(self, asker: Key, price: int) -> type[TintypeError] | None:
        """Why a request is not let in, if it isn't."""
        spent, number = self.model.used_today(asker)
        if asker.daily_requests is not None and number >= asker.daily_requests:
            return TooManyRequests
        if asker.daily_spend is not None and price and spent + price > asker.daily_spend:
            return TooManyRequests
        own = [one for one in self.model.known.values() if one.key is asker and not one.ended]
        if asker.concurrency and len(own) >= asker.concurrency:
            return TooManyRequests
        if self.available(asker.account_id) < price:
            return OutOfCredits
        committed = self.model.spent[asker.id] + self.model.held([asker])
        return SpendCapReached if asker.spend_cap is not None and committed + price > asker.spend_cap else None

    @precondition(lambda self: self.model.known)
    @rule(which=choice)
    def submit_again(self, which: int) -> None:
        """With the same idempotency key: nothing happens, whatever has become of the request."""
        one = self.pick(which)
        again = self.store.queue.submit(
            new_request(one.key, "sd3", {}, one.price, idempotency_key=one.once, fingerprint="same")
        )
        assert again.id == one.id
        with pytest.raises(IdempotencyMismatch):
            self.store.queue.submit(
                new_request(one.key, "sd3", {}, one.price, idempotency_key=one.once, fingerprint="other")
            )

    @rule(which=choice, amount=st.sampled_from([-9_000, -1_000, 3_000]))
    def an_operator_gives_or_takes(self, which: int, amount: int) -> None:
        account_id = self.keys[which % len(self.keys)].account_id
        if self.available(account_id) + amount < 0:
            with pytest.raises(BadRequest):
                self.accounts.credit(account_id, amount)
        else:
            self.accounts.credit(account_id, amount)
            self.model.given[account_id] += amount

    @precondition(lambda self: self.model.known)
    @rule(which=choice)
    def cancel(self, which: int) -> None:
        one = self.pick(which)
        self.another_account_sees_nothing(one)
        if one.status is Status.QUEUED:
            one.end("cancelled")
        elif one.status is Status.PROCESSING:
            one.cancel_requested = True
        request = self.store.queue.cancel(one.id, one.key.account_id)
        assert (request.status, request.error) == (one.status, one.error)

    def another_account_sees_nothing(self, one: Known) -> None:
        another = next(key.account_id for key in self.keys if key.account_id != one.key.account_id)
        for look in (self.store.queue.find, self.store.queue.cancel):
            with pytest.raises(RequestUnknown):
                look(one.id, another)

    # What workers do, in time and too late

    # Two rules, as hypothesis leaves out some rules in every example, and without claims little happens.
    @precondition(lambda self: self.model.head(""))
    @rule(workers=claiming)
    def idle_workers_claim(self, workers: list[str]) -> None:
        for worker in workers:
            self.claim_one(worker, idle=True)

    @precondition(lambda self: self.model.head(""))
    @rule(workers=claiming)
    def busy_workers_claim(self, workers: list[str]) -> None:
        for worker in workers:
            self.claim_one(worker, idle=False)

    @precondition(lambda self: self.model.head(""))
    @rule()
    def a_pause_comes_and_goes(self) -> None:
        store_on(self.db).queue.pause()
        assert self.store.leases.claim("w1", idle=True) is None
        store_on(self.db).queue.resume()

    def claim_one(self, worker: str, *, idle: bool) -> None:
        if self.model.head(worker):  # where all is left to others, nothing is touched
            self.model.give_up()
        head = self.model.head(worker)
        request = self.store.leases.claim(worker, idle=idle, loaded=self.model.loaded.get(worker, set()))
        if head is None or (head.counted and not idle):
            assert request is None
            return
        assert request is not None
        assert request.id == head.id
        self.model.claimed(head, worker)
        self.runs.append(Run(request.id, request.attempt))

    @rule(worker=workers, loaded=st.sets(st.sampled_from(SLUGS)))
    def a_worker_says_what_it_has(self, worker: str, loaded: set[str]) -> None:
        Workers(self.db).heartbeat(worker, "cpu", 0, 0)
        Preloads(self.db).note(worker, loaded)
        self.model.loaded[worker] = loaded

    @precondition(lambda self: self.model.loaded)
    @rule(worker=workers)
    def a_worker_leaves(self, worker: str) -> None:
        """What it has in hand is still its own."""
        Workers(self.db).leave(worker)
        self.model.loaded.pop(worker, None)

    @precondition(lambda self: self.runs)
    @rule(which=st.lists(choice, min_size=1, max_size=4), step=st.integers(0, 20))
    def renew(self, which: list[int], step: int) -> None:
        runs = {run.id: run for run in map(self.pick_run, which)}
        expected = {}
        for run in runs.values():
            one = self.model.running(run)
            if one:
                one.lapsed = False
            expected[run.id] = (
                LeaseStatus.LOST if one is None else LeaseStatus.CANCEL if one.unwanted else LeaseStatus.KEEP
            )
        assert self.store.leases.renew([Progress(run.id, run.attempt, step, 20) for run in runs.values()]) == expected

    @precondition(lambda self: self.runs)
    @rule(done=st.lists(st.tuples(choice, st.sampled_from(["complete", *LEAVE])), min_size=1, max_size=4))
    def leave(self, done: list[tuple[int, str]]) -> None:
        for which, how in done:
            self.leave_one(self.pick_run(which), how)

    def leave_one(self, run: Run, how: str) -> None:
        """A worker is done with a request in one of four ways, or believes that it is."""
        one = self.model.running(run)
        expected = one is not None and not (how == "complete" and one.unwanted)
        if one:
            getattr(self.model, how)(one)
        assert getattr(self.store.leases, how)(run.id, run.attempt, *LEAVE[how]) is expected

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
            self.store.queue.find(one.id, one.key.account_id)
        self.model.expired.add(one.id)
        del self.model.known[one.id]

    @precondition(lambda self: any(not one.ended for one in self.model.known.values()))
    @rule(which=choice)
    def a_deadline_passes(self, which: int) -> None:
        one = self.pick(which, Status.QUEUED, Status.PROCESSING)
        self.move_to_the_past(one, "cancel_at")
        one.overdue = True

    @precondition(lambda self: any(one.status is Status.QUEUED and one.young for one in self.model.known.values()))
    @rule()
    def one_has_waited_long(self) -> None:
        one = next(one for one in self.model.known.values() if one.status is Status.QUEUED and one.young)
        self.move_to_the_past(one, "submitted_at", YOUNG + 1)
        one.young = False

    @precondition(lambda self: not self.model.day)
    @rule()
    def midnight_passes(self) -> None:
        self.move_clock(UNTIL + AFTER)
        self.model.day += 1
        self.model.loaded.clear()  # no worker has been heard of for minutes
        for one in self.model.known.values():
            one.young = False

    @rule()
    def end_overdue(self) -> None:
        self.model.give_up()
        self.store.queue.end_overdue()

    # What power cuts do

    @precondition(lambda self: self.model.known)
    @rule(which=choice, how=st.sampled_from([*ANYBODY, *LEAVE]), at=st.integers(1, 8))
    def a_process_dies(self, which: int, how: str, at: int) -> None:
        """In the middle of a change: the change never was. The store keeps nothing but what is on disk."""
        one = self.pick(which)
        doing: dict[str, Callable[[], object]] = {
            "submit": lambda: self.store.queue.submit(
                new_request(one.key, "sd3", {}, 0, idempotency_key="dies", fingerprint="same")
            ),
            "submit again": lambda: self.store.queue.submit(
                new_request(one.key, "sd3", {}, one.price, idempotency_key=one.once, fingerprint="same")
            ),
            "cancel": lambda: self.store.queue.cancel(one.id, one.key.account_id),
            "give": lambda: self.accounts.credit(one.key.account_id, 1_000),
            "claim": lambda: self.store.leases.claim("w1", idle=True),
            "renew": lambda: self.store.leases.renew([Progress(one.id, one.attempt, 1, 20)]),
            "end overdue": self.store.queue.end_overdue,
            "expire": self.store.queue.expire,
        }
        doing |= {how: partial(getattr(self.store.leases, how), one.id, one.attempt, *LEAVE[how]) for how in LEAVE}
        with suppress(Died, TintypeError), dying(self.db, at):
            doing[how]()
            # What changes nothing writes nothing, and has no commit to die before.
            assert how in HARMLESS
        self.another_process_goes_on()

    def another_process_goes_on(self) -> None:
        """It has nothing of the first but the file."""
        self.db.close()
        self.connect()

    @rule()
    def expire(self) -> None:
        self.model.give_up()
        assert self.store.queue.expire() == len(self.model.expired)
        self.model.expired.clear()
        self.every_end_is_counted_once()

    # What must always hold

    @invariant()
    def every_request_is_where_the_model_has_it(self) -> None:
        with self.db.read() as view:
            moment = read_clock(view)
            rows = {row.id: Request.of(row) for row in view.execute(select(table))}
        assert rows.keys() == self.model.known.keys() | self.model.expired
        for one in self.model.known.values():
            row = rows[one.id]
            assert (row.status, row.attempt, row.lease.hand_backs) == (one.status, one.attempt, one.hand_backs)
            assert (row.error, row.lease.cancel_requested) == (one.error, one.cancel_requested)
            assert row.attempts <= MAX_ATTEMPTS
            assert (row.result == LEAVE["complete"][0]) is (row.status is Status.COMPLETED)
            assert (row.timing.ended_at is not None) is (row.timing.expires_at is not None) is one.ended
            alive = row.lease.until is not None and row.lease.until > moment
            assert alive is (one.status is Status.PROCESSING and not one.lapsed)
            assert one.ended or row.lease.worker == one.worker

    @invariant()
    def money_adds_up(self) -> None:
        """Balance = sum of the ledger = what was given − what completed requests cost."""
        for account in self.accounts.list():
            assert account.balance == self.balance(account.id)
            assert account.held == self.model.held(self.keys_of(account.id))
            assert account.remaining >= 0
        assert self.accounts.imbalances() == []

    @invariant()
    def each_key_s_day_adds_up(self) -> None:
        moment = self.moment()
        for key in self.accounts.keys.list():
            used = tuple(key.used(LIMITS[name], moment) for name in ("daily_spend", "daily_requests"))
            assert used == self.model.used_today(next(one for one in self.keys if one.id == key.id))

    def every_end_is_counted_once(self) -> None:
        ends: Counter[Status] = Counter()
        with self.db.read() as view:
            for where in (table, history):
                ends.update(view.scalars(select(where.c.status)))
            badly = samples.c.failed + samples.c.refused + samples.c.cancelled
            counted = view.execute(select(func.sum(samples.c.completed), func.sum(badly))).one()
        assert tuple(int(count or 0) for count in counted) == (ends[Status.COMPLETED], ends[Status.FAILED])

    @invariant()
    def the_next_one_is_at_place_one(self) -> None:
        queued = [one for one in self.model.known.values() if one.status is Status.QUEUED]
        places = sorted(place_of(self.db, one.id) or 0 for one in queued)
        assert places == list(range(1, len(queued) + 1))

    # Helpers

    def moment(self) -> float:
        with self.db.read() as view:
            return read_clock(view)

    def move_clock(self, seconds: float) -> None:
        self.ahead += seconds
        self.db.move_clock(seconds)

    def keys_of(self, account_id: str) -> list[Key]:
        return [key for key in self.keys if key.account_id == account_id]

    def balance(self, account_id: str) -> int:
        return self.model.given[account_id] - sum(self.model.spent[key.id] for key in self.keys_of(account_id))

    def available(self, account_id: str) -> int:
        return self.balance(account_id) - self.model.held(self.keys_of(account_id))

    def pick(self, which: int, *statuses: Status) -> Known:
        among = [one for one in self.model.known.values() if not statuses or one.status in statuses]
        return among[which % len(among)]

    def pick_run(self, which: int) -> Run:
        """Mostly a recent one: the older ones are late."""
        return self.runs[-1 - which % min(len(self.runs), 6)]

    def move_to_the_past(self, one: Known, column: str, seconds: float = 0.01) -> None:
        with self.db.write() as tx:
            tx.execute(update(table).where(table.c.id == one.id).values({column: read_clock(tx) - seconds}))


@pytest.mark.timeout(400)  # shrinking a failure takes minutes; and so it is among the first of a whole run
def test_any_order_of_calls(databases: Databases) -> None:
    run_state_machine_as_test(
        lambda: StoreMachine(databases),
        settings=settings(
            # The same code on both: on Postgres a commit takes ten times as long.
            max_examples=int(os.environ.get("TINTYPE_EXAMPLES", "20" if databases.quick else "5")),
            stateful_step_count=40,
            deadline=None,
            derandomize="CI" in os.environ,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
