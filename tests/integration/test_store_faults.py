"""Whatever statement fails, and however, while a bunch is submitted: who is answered has a request, no one else has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, event, select
from tests.databases import PostgresServer
from tests.stores import new_request, store_on
from tests.tenants import Tenant

from tintype.errors import PerhapsDone, PerhapsQueued, TintypeError
from tintype.store.db.database import Database
from tintype.store.db.records import Status
from tintype.store.db.tables import inputs, requests
from tintype.store.queue.queue import OWN, Queue
from tintype.store.queue.submit import Input, NewRequest

ROUNDS = 60


class Injected(Exception):
    """A mistake of ours, say."""


@contextmanager
def failing(db: Database, number: int, fail: Callable[[Connection], None]) -> Iterator[None]:
    """The statement of that number, of all threads', fails while the block runs."""
    said = iter(range(number))

    def count(connection: Connection, *_: object) -> None:
        if next(said, None) == number - 1:
            fail(connection)

    event.listen(db._engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(db._engine, "before_cursor_execute", count)


def a_bunch(chance: Random, tenants: list[Tenant]) -> list[NewRequest]:
    """Some with an image, some of an account without credits, some with a key that others have sent too."""
    some = []
    for tenant in chance.choices(tenants, k=chance.randint(1, 4)):
        once = {"idempotency_key": f"{chance.randrange(40)}", "fingerprint": "same"} if chance.random() < 0.4 else {}
        image = Input("i.png", chance.choice([3, 3, 2**31]), (8, 8)) if chance.random() < 0.6 else None
        some.append(new_request(tenant.key, "a", {}, 10, input=image, **once))
    return some


def submitted(queue: Queue, news: list[NewRequest]) -> dict[str, bool | None]:
    """By id, whether there is such a request; None for who can't know."""
    told: dict[str, bool | None] = {}
    for new, outcome in zip(news, queue.submit_each(news), strict=True):
        try:
            made = queue.submitted(new, outcome)
        except (PerhapsQueued, PerhapsDone):
            told[new.id] = None
        except (TintypeError, Injected):
            told[new.id] = False
        else:
            told |= {new.id: made.id == new.id, made.id: True}
    return told


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(3))
def test_who_is_answered_has_a_request_and_no_one_else(db: Database, seed: int, request: pytest.FixtureRequest) -> None:
    chance, store = Random(seed), store_on(db)
    tenants = [Tenant(store, money=money) for money in (10**9, 10**9, 5)]
    server: PostgresServer | None = None if db.kind == "sqlite" else request.getfixturevalue("postgres")

    def fail(connection: Connection) -> None:
        if server is None or chance.random() < 0.8:
            raise Injected
        with server.connection() as operator:
            driver: Any = connection.connection.driver_connection
            operator.execute("SELECT pg_terminate_backend(%s, 1000)", (driver.info.backend_pid,))

    def work() -> None:
        try:
            if claimed := store.leases.claim("w1", idle=True):
                store.leases.fail(claimed.id, claimed.attempt, "why", 500)
        except (TintypeError, PerhapsDone, Injected):
            pass

    told: dict[str, bool | None] = {}
    before = tenants[0].submit(price=0)
    with ThreadPoolExecutor(3) as threads:
        for _ in range(ROUNDS):
            with failing(db, chance.randint(1, 60), fail):
                both = [threads.submit(submitted, store.queue, a_bunch(chance, tenants)) for _ in range(2)]
                threads.submit(work).result()
                for one in both:
                    told |= one.result()
            for _ in range(5):  # whichever connection of the pool it takes
                assert db.ask(OWN, {"own": before.id, "whose": before.account_id})
    assert store.accounts.imbalances() == []
    with db.read() as view:
        there = {row.id: row.status for row in view.execute(select(requests.c.id, requests.c.status))}
        with_image = {*view.scalars(select(inputs.c.request_id))}
    known = {id: made for id, made in told.items() if made is not None}
    assert {id for id, made in known.items() if made} <= there.keys()
    assert not {id for id, made in known.items() if not made} & there.keys()
    assert there.keys() <= {*told, before.id}
    assert {there.get(id) for id in with_image} <= {Status.QUEUED, Status.PROCESSING}, "the images of no other request"
    assert {True, False} <= Counter(known.values()).keys()
