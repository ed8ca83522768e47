"""The ledger over a real SQLite file: what each step of a request writes, and that nothing can be unwritten."""

from collections.abc import Iterator

import pytest
from sqlalchemy import delete, insert, text, update
from sqlalchemy.exc import IntegrityError
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.errors import OutOfCredits, SpendCapReached
from tintype.store.billing.ledger import Imbalance
from tintype.store.db.database import Database
from tintype.store.db.records import Entry
from tintype.store.db.tables import accounts as accounts_table
from tintype.store.db.tables import api_keys, ledger, unended


@pytest.fixture
def tenant(db: Database) -> Iterator[Tenant]:
    """With $0.01."""
    made = Tenant(store_on(db), 10_000)
    yield made
    assert made.accounts.imbalances() == []


def rows(tenant: Tenant) -> list[tuple[Entry, int, int]]:
    """Kind, balance and held of every row of the ledger but the first grant, the oldest first."""
    lines = tenant.accounts.lines(tenant.account_id, 100)[::-1]
    assert (lines[0].kind, lines[0].balance) == (Entry.GRANT, 10_000)
    return [(line.kind, line.balance, line.held) for line in lines[1:]]


def test_a_completed_request_is_held_then_settled(tenant: Tenant) -> None:
    request = tenant.submit(price=3_000)
    assert rows(tenant) == [(Entry.HOLD, 0, 3_000)]
    tenant.complete(inference_time=99)
    assert rows(tenant) == [(Entry.HOLD, 0, 3_000), (Entry.SETTLE, -3_000, -3_000)]
    assert {line.request_id for line in tenant.accounts.lines(tenant.account_id, 2)} == {request.id}
    assert tenant.find(request).billing.cost == 3_000


@pytest.mark.parametrize("end", ["cancel", "fail", "expire"])
def test_whatever_does_not_complete_is_released(tenant: Tenant, end: str) -> None:
    request = tenant.submit(price=3_000)
    if end == "cancel":
        tenant.store.queue.cancel(request.id, tenant.account_id)
    elif end == "fail":
        tenant.claim()
        tenant.store.leases.fail(request.id, 1, "broken", 500)
    else:
        impatient = store_on(tenant.db, lease=-1, retention=3600, max_attempts=1)
        assert impatient.leases.claim("dies", idle=True)
        impatient.queue.expire()
    assert rows(tenant) == [(Entry.HOLD, 0, 3_000), (Entry.RELEASE, 0, -3_000)]
    assert tenant.find(request).billing.cost is None
    assert tenant.accounts.remaining(tenant.account_id) == 10_000


@pytest.mark.parametrize(("seconds", "cost"), [(1.5, 1_500), (0.0001, 1), (2.0000001, 2_001), (60, 4_000), (0, 0)])
def test_a_price_per_second_takes_what_was_used_but_never_more_than_was_held(
    tenant: Tenant, seconds: float, cost: int
) -> None:
    request = tenant.submit(price=4_000, rate=1_000)
    tenant.complete(inference_time=seconds)
    assert rows(tenant)[1] == (Entry.SETTLE, -cost, -4_000)
    assert tenant.find(request).billing.cost == cost


def test_what_is_free_leaves_no_rows(tenant: Tenant) -> None:
    request = tenant.submit(price=0)
    tenant.complete(inference_time=1)
    assert rows(tenant) == []
    assert tenant.find(request).billing.cost == 0


def test_what_an_operator_gives_and_takes(tenant: Tenant) -> None:
    tenant.accounts.credit(tenant.account_id, 500, "invoice 7")
    tenant.accounts.credit(tenant.account_id, -200)
    tenant.accounts.credit(tenant.account_id, 0)
    assert rows(tenant) == [(Entry.GRANT, 500, 0), (Entry.ADJUST, -200, 0)]
    assert tenant.accounts.lines(tenant.account_id, 2)[1].note == "invoice 7"


def test_refusals_leave_no_rows(tenant: Tenant) -> None:
    with pytest.raises(OutOfCredits):
        tenant.submit(price=10_001)
    assert rows(tenant) == []


def test_a_spend_cap_counts_what_is_spent_and_held(tenant: Tenant) -> None:
    key = tenant.new_key(spend_cap=5_000)
    tenant.submit(key=key, price=2_000)
    tenant.complete(inference_time=1)
    held = tenant.submit(key=key, price=2_000)
    with pytest.raises(SpendCapReached, match=r"may spend \$0\.005, of which \$0\.001 is left, .* needs \$0\.0011"):
        tenant.submit(key=key, price=1_100)
    tenant.store.queue.cancel(held.id, tenant.account_id)
    tenant.submit(key=key, price=3_000)
    with pytest.raises(SpendCapReached, match=r"\$0 is left"):
        tenant.submit(key=key, price=1)


def test_what_a_cap_leaves_is_read_anew(tenant: Tenant) -> None:
    keys, key = tenant.accounts.keys, tenant.new_key(spend_cap=5_000)
    assert keys.left_of_cap(tenant.key) is None
    tenant.submit(key=key, price=3_000)
    assert keys.left_of_cap(key) == 2_000
    tenant.complete()
    keys.set_limits(key.id, spend_cap=1_000)
    assert keys.left_of_cap(key) == 0
    keys.set_limits(key.id, spend_cap=None)
    assert keys.left_of_cap(key) is None


@pytest.mark.parametrize("change", ["UPDATE ledger SET balance = 1", "DELETE FROM ledger"])
def test_the_database_itself_keeps_rows_as_they_are(tenant: Tenant, change: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"), tenant.db.write() as tx:
        tx.execute(text(change))


@pytest.mark.parametrize("kind", [Entry.HOLD, Entry.SETTLE, Entry.RELEASE])
def test_the_database_itself_refuses_a_second_hold_and_a_second_end(tenant: Tenant, kind: Entry) -> None:
    request = tenant.submit(price=2_000)
    tenant.complete(inference_time=1)
    row = {"account_id": tenant.account_id, "request_id": request.id, "kind": kind, "balance": -2_000, "held": 0}
    with pytest.raises(IntegrityError), tenant.db.write() as tx:
        tx.execute(insert(ledger).values(**row, created_at=0))


def test_meddling_is_found(tenant: Tenant) -> None:
    tenant.submit(price=2_000)
    with tenant.db.write() as tx:
        tx.execute(update(accounts_table).values(balance=10_001, held=1_999))
        tx.execute(update(api_keys).values(spent=0))
        tx.execute(update(unended).values(images=7))
    held = Imbalance("held", tenant.account_id, 1_999, 2_000)
    expected = [
        Imbalance("balance", tenant.account_id, 10_001, 10_000),
        held,
        held,
        Imbalance("spent", tenant.key.id, 0, 2_000),
        Imbalance("unended images", tenant.key.id, 7, 1, money=False),
    ]
    assert tenant.accounts.imbalances() == expected
    with tenant.db.write() as tx:
        tx.execute(update(accounts_table).values(balance=10_000, held=2_000))
        tx.execute(update(api_keys).values(spent=2_000))
        tx.execute(delete(unended))
    uncounted = [Imbalance(f"unended {what}", tenant.key.id, 0, 1, money=False) for what in ("requests", "images")]
    assert tenant.accounts.imbalances() == uncounted
    with tenant.db.write() as tx:
        row = {"key_id": tenant.key.id, "priority": 0, "account_id": tenant.account_id, "test": False}
        tx.execute(insert(unended).values(**row, requests=1, images=1))
