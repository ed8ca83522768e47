"""SIGKILL between the charge and the answer: the caller asks again, gets the picture, and has paid once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx2
import psutil
import pytest
from sqlalchemy import select

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import TEXT, opened, quick
from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.errors import StoreUnavailable
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database
from tintype.store.db.records import Status
from tintype.store.db.tables import requests

ONCE = {"idempotency-key": "order-7"}


def states(server: Server) -> list[Status]:
    with server.store() as db, db.read() as view:
        return list(view.scalars(select(requests.c.status)))


def freeze(server: Server, process: psutil.Process) -> None:
    """SIGSTOP, but not while the process has the database's lock: nobody else could change anything then."""
    db = Database(server.url, timeout=0.2)
    while True:
        process.suspend()
        with suppress(StoreUnavailable), db.write():
            break
        process.resume()
    db.close()


def test_killed_between_the_charge_and_the_answer(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    before, _ = server.money()
    assert server.process
    web, [worker] = psutil.Process(server.process.pid), server.workers()
    http = server.http()
    freeze(server, worker)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.post, f"/v1/{TEXT}", json=quick(), headers=ONCE)
        until(lambda: states(server) == [Status.QUEUED])
        freeze(server, web)  # it can't answer any more; the worker charges
        worker.resume()
        until(lambda: states(server) == [Status.COMPLETED])
        charged = (before - SD35_TURBO_TXT2IMG.price, 0)
        assert server.money() == charged
        server.kill()
        with pytest.raises(httpx2.TransportError):
            call.result()
    server.start(wait_for_worker=False)
    answers = [server.http().post(f"/v1/{TEXT}", json=quick(), headers=ONCE) for _ in range(2)]
    assert [answer.headers["idempotent-replayed"] for answer in answers] == ["true", "true"]
    assert opened(answers[0].content).size == (128, 128)
    assert answers[0].content == answers[1].content
    assert server.money() == charged
    assert states(server) == [Status.COMPLETED]
    with server.store() as db:
        assert Accounts(db).imbalances() == []
    assert server.stop() == 0
