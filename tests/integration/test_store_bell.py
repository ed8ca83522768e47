"""Wake-ups: PostgreSQL notifies workers of what is queued and committed, and again after the server was away."""

from __future__ import annotations

import threading

import pytest
from tests.databases import PostgresServer, SqliteFiles
from tests.stores import new_request, store_on

from tintype.errors import OutOfCredits
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import Key
from tintype.store.db.database import Database
from tintype.store.db.notify import Listener


class Heard:
    """Counts, and lets a test wait for the next ring."""

    def __init__(self) -> None:
        self._rung = threading.Semaphore(0)

    def __call__(self) -> None:
        self._rung.release()

    def once(self, seconds: float = 20.0) -> bool:
        return self._rung.acquire(timeout=seconds)


@pytest.fixture
def databases(postgres: PostgresServer) -> PostgresServer:
    """Of this kind alone."""
    return postgres


def key_with(db: Database, dollars: int) -> Key:
    accounts = Accounts(db)
    return accounts.keys.create(accounts.create("one", dollars).id, "key")[0]


def test_it_rings_for_what_is_queued(db: Database) -> None:
    store, heard = store_on(db, lease=15, retention=60), Heard()
    rich, poor = key_with(db, 1000), key_with(db, 0)
    with Listener(db, heard):
        assert heard.once(), "it says at once that there may be something"
        store.queue.submit(new_request(rich, "sd3", {}, 10))
        assert heard.once()
        with pytest.raises(OutOfCredits):
            store.queue.submit(new_request(poor, "sd3", {}, 10))
        claimed = store.leases.claim("w", idle=True)
        assert claimed
        assert not heard.once(0.2), "neither a refusal nor a claim is news"
        store.leases.hand_back(claimed.id, claimed.attempt)
        assert heard.once()
        store_on(db).queue.pause()
        store_on(db).queue.resume()
        assert heard.once(), "what waited can be begun"


def test_it_rings_again_after_the_server_was_away(db: Database, postgres: PostgresServer) -> None:
    store, heard, key = store_on(db, lease=15, retention=60), Heard(), key_with(db, 1000)
    with Listener(db, heard):
        assert heard.once()
        postgres.stop("immediate")
        postgres.start()
        assert heard.once(), "for what may have been queued meanwhile"
        store.queue.submit(new_request(key, "sd3", {}, 10))
        assert heard.once()


def test_sqlite_has_none(sqlite_files: SqliteFiles) -> None:
    db, heard = Database(sqlite_files.fresh()), Heard()
    with Listener(db, heard):
        store_on(db, lease=15, retention=60).queue.submit(new_request(key_with(db, 1000), "sd3", {}, 10))
        assert not heard.once(0.1)
    db.close()
