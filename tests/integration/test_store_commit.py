"""A database that goes away while a request is committed: nobody knows whether it was, and that is said."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, event
from tests.databases import PostgresServer
from tests.stores import new_request, store_on

from tintype.cli.database import open_database
from tintype.errors import PerhapsDone, PerhapsQueued, RequestUnknown, StoreUnavailable
from tintype.settings import Settings
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import Key
from tintype.store.db.database import Database
from tintype.store.db.records import Request

PRICE = 3_500


@pytest.fixture
def databases(postgres: PostgresServer) -> PostgresServer:
    """Of this kind alone."""
    return postgres


@pytest.fixture
def key(db: Database) -> Key:
    accounts = Accounts(db)
    return accounts.keys.create(accounts.create("one", PRICE).id, "key")[0]


def submit(db: Database, key: Key, once: str | None = None) -> Request:
    around = {"idempotency_key": once, "fingerprint": "f"} if once else {}
    return store_on(db, lease=15, retention=60).queue.submit(new_request(key, "slug", {}, PRICE, **around))


def cut(db: Database, *, committed: bool) -> None:
    """Have the next transaction's connection break off, before or after it was committed."""

    def commit(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert driver
        if committed:
            driver.commit()
        driver.close()

    event.listen(db._engine, "commit", commit, once=True)


@pytest.mark.parametrize("committed", [True, False])
def test_whoever_asks_by_the_id_learns_what_became_of_it(db: Database, key: Key, *, committed: bool) -> None:
    cut(db, committed=committed)
    with pytest.raises(PerhapsQueued) as error:
        submit(db, key)
    assert error.value.public_headers()["x-should-retry"] == "false"
    id, store = error.value.headers["x-request-id"], store_on(db, lease=15, retention=60)
    if committed:
        assert store.queue.find(id, key.account_id).billing.price == PRICE
    else:
        with pytest.raises(RequestUnknown):
            store.queue.find(id, key.account_id)
    assert Accounts(db).account(key.account_id).held == PRICE * committed


@pytest.mark.parametrize("committed", [True, False])
def test_with_an_idempotency_key_it_can_be_sent_again(db: Database, key: Key, *, committed: bool) -> None:
    cut(db, committed=committed)
    with pytest.raises(PerhapsQueued) as error:
        submit(db, key, "once")
    assert int(error.value.public_headers()["retry-after"]) > 0
    again = submit(db, key, "once")
    assert (again.id == error.value.headers["x-request-id"]) == committed
    assert Accounts(db).account(key.account_id).held == PRICE


def test_before_the_commit_nothing_is_queued(db: Database, key: Key, postgres: PostgresServer) -> None:
    postgres.stop("immediate")
    with pytest.raises(StoreUnavailable) as error:
        submit(db, key)
    postgres.start()
    assert type(error.value) is StoreUnavailable
    assert error.value.retry_after


@pytest.mark.parametrize("committed", [True, False])
def test_whatever_else_was_committed_perhaps_is_not_asked_for_again(db: Database, key: Key, *, committed: bool) -> None:
    """A cancel, a credit, a key: the words are true of each, and don't have a client do it a second time by itself."""
    before = Accounts(db).account(key.account_id).balance
    cut(db, committed=committed)
    with pytest.raises(PerhapsDone) as error:
        Accounts(db).credit(key.account_id, 1)
    assert error.value.public_headers()["x-should-retry"] == "false"
    assert "check whether it is done" in error.value.advice
    assert Accounts(db).account(key.account_id).balance == before + committed


def test_a_command_says_that_what_it_was_to_do_is_perhaps_done(db: Database, key: Key, url: str) -> None:
    """Who gave credits would give them again."""
    unsure = pytest.raises(PerhapsDone, match=r"it may be done, or not\. .* check whether it is done")
    with unsure as error, open_database(Settings.of(database_url=url)) as opened:
        cut(opened, committed=True)
        Accounts(opened).credit(key.account_id, 1)
    assert "\n" not in error.value.message
    assert Accounts(db).account(key.account_id).balance == PRICE + 1
