"""The ledger over a real SQLite file: what each step of a request writes, and that nothing can be unwritten."""

from collections.abc import Iterator

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.exc import IntegrityError
from tests.stores import a_result, new_request, store_on

from tintype.errors import OutOfCredits, SpendCapReached
from tintype.store.accounts.accounts import Accounts
from tintype.store.billing.ledger import Imbalance
from tintype.store.db.database import Database
from tintype.store.db.records import Entry
from tintype.store.db.tables import accounts as accounts_table
from tintype.store.db.tables import api_keys, ledger


class Till:
    """One account with $0.01, one key, and what its ledger says."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.accounts = Accounts(db)
        self.store = store_on(db, lease=15, retention=3600)
        self.id = self.accounts.create("one", 10_000).id
        self.key, _ = self.accounts.keys.create(self.id, "key")

    def rows(self) -> list[tuple[Entry, int, int]]:
        """Kind, balance and held of every row but the first grant, the oldest first."""
        lines = self.accounts.lines(self.id, 100)[::-1]
        assert (lines[0].kind, lines[0].balance) == (Entry.GRANT, 10_000)
        return [(line.kind, line.balance, line.held) for line in lines[1:]]

    def run(self, seconds: float) -> None:
        request = self.store.leases.claim("w", idle=True)
        assert request is not None
        assert self.store.leases.complete(request.id, request.attempt, a_result(inference_time=seconds))


@pytest.fixture
def till(url: str) -> Iterator[Till]:
    db = Database(url)
    made = Till(db)
    yield made
    assert made.accounts.imbalances() == []
    db.close()


def test_a_completed_request_is_held_then_settled(till: Till) -> None:
    request = till.store.queue.submit(new_request(till.key, "sd3", {}, 3_000))
    assert till.rows() == [(Entry.HOLD, 0, 3_000)]
    till.run(seconds=99)
    assert till.rows() == [(Entry.HOLD, 0, 3_000), (Entry.SETTLE, -3_000, -3_000)]
    assert {line.request_id for line in till.accounts.lines(till.id, 2)} == {request.id}
    assert till.store.queue.find(request.id, till.id).billing.cost == 3_000


@pytest.mark.parametrize("end", ["cancel", "fail", "expire"])
def test_whatever_does_not_complete_is_released(till: Till, end: str) -> None:
    request = till.store.queue.submit(new_request(till.key, "sd3", {}, 3_000))
    if end == "cancel":
        till.store.queue.cancel(request.id, till.id)
    elif end == "fail":
        assert till.store.leases.claim("w", idle=True)
        till.store.leases.fail(request.id, 1, "broken", 500)
    else:
        impatient = store_on(till.db, lease=-1, retention=3600, max_attempts=1)
        assert impatient.leases.claim("dies", idle=True)
        impatient.queue.expire()
    assert till.rows() == [(Entry.HOLD, 0, 3_000), (Entry.RELEASE, 0, -3_000)]
    assert till.store.queue.find(request.id, till.id).billing.cost is None
    assert till.accounts.remaining(till.id) == 10_000


@pytest.mark.parametrize(("seconds", "cost"), [(1.5, 1_500), (0.0001, 1), (2.0000001, 2_001), (60, 4_000), (0, 0)])
def test_a_price_per_second_takes_what_was_used_but_never_more_than_was_held(
    till: Till, seconds: float, cost: int
) -> None:
    request = till.store.queue.submit(new_request(till.key, "sd3", {}, 4_000, rate=1_000))
    till.run(seconds)
    assert till.rows()[1] == (Entry.SETTLE, -cost, -4_000)
    assert till.store.queue.find(request.id, till.id).billing.cost == cost


def test_what_is_free_leaves_no_rows(till: Till) -> None:
    request = till.store.queue.submit(new_request(till.key, "sd3", {}, 0))
    till.run(1)
    assert till.rows() == []
    assert till.store.queue.find(request.id, till.id).billing.cost == 0


def test_what_an_operator_gives_and_takes(till: Till) -> None:
    till.accounts.credit(till.id, 500, "invoice 7")
    till.accounts.credit(till.id, -200)
    till.accounts.credit(till.id, 0)
    assert till.rows() == [(Entry.GRANT, 500, 0), (Entry.ADJUST, -200, 0)]
    assert till.accounts.lines(till.id, 2)[1].note == "invoice 7"


def test_refusals_leave_no_rows(till: Till) -> None:
    with pytest.raises(OutOfCredits):
        till.store.queue.submit(new_request(till.key, "sd3", {}, 10_001))
    assert till.rows() == []


def test_a_spend_cap_counts_what_is_spent_and_held(till: Till) -> None:
    with till.db.write() as tx:
        tx.execute(update(api_keys).values(spend_cap=5_000))
    till.store.queue.submit(new_request(till.key, "sd3", {}, 2_000))
    till.run(1)
    held = till.store.queue.submit(new_request(till.key, "sd3", {}, 2_000))
    with pytest.raises(SpendCapReached, match=r"may spend \$0\.005, of which \$0\.001 is left, .* needs \$0\.0011"):
        till.store.queue.submit(new_request(till.key, "sd3", {}, 1_100))
    till.store.queue.cancel(held.id, till.id)
    till.store.queue.submit(new_request(till.key, "sd3", {}, 3_000))
    with pytest.raises(SpendCapReached, match=r"\$0 is left"):
        till.store.queue.submit(new_request(till.key, "sd3", {}, 1))


@pytest.mark.parametrize("change", ["UPDATE ledger SET balance = 1", "DELETE FROM ledger"])
def test_the_database_itself_keeps_rows_as_they_are(till: Till, change: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"), till.db.write() as tx:
        tx.execute(text(change))


@pytest.mark.parametrize("kind", [Entry.HOLD, Entry.SETTLE, Entry.RELEASE])
def test_the_database_itself_refuses_a_second_hold_and_a_second_end(till: Till, kind: Entry) -> None:
    request = till.store.queue.submit(new_request(till.key, "sd3", {}, 2_000))
    till.run(1)
    row = {"account_id": till.id, "request_id": request.id, "kind": kind, "balance": -2_000, "held": 0}
    with pytest.raises(IntegrityError), till.db.write() as tx:
        tx.execute(insert(ledger).values(**row, created_at=0))


def test_meddling_is_found(till: Till) -> None:
    till.store.queue.submit(new_request(till.key, "sd3", {}, 2_000))
    with till.db.write() as tx:
        tx.execute(update(accounts_table).values(balance=10_001, held=1_999))
        tx.execute(update(api_keys).values(spent=0))
    held = Imbalance("held", till.id, 1_999, 2_000)
    expected = [Imbalance("balance", till.id, 10_001, 10_000), held, held, Imbalance("spent", till.key.id, 0, 2_000)]
    assert till.accounts.imbalances() == expected
    with till.db.write() as tx:
        tx.execute(update(accounts_table).values(balance=10_000, held=2_000))
        tx.execute(update(api_keys).values(spent=2_000))
