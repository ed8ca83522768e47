"""Where chaos and soak take place: servers on SQLite or on PostgreSQL, and a receiver of webhooks on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exists, select

from tests.acceptance.harness import Server
from tests.databases import PostgresServer
from tests.object_storage import object_storage
from tests.toy_weights import small_setting
from tintype.store.db.database import Database
from tintype.store.db.records import DeliveryStatus, Status
from tintype.store.db.tables import deliveries, requests

#: Receivers on this machine are told, and soon told again.
TELLING = {"webhook_allow": "127.0.0.1", "webhook_poll": 0.1, "webhook_backoff": 0.1}
OVER = (Status.COMPLETED, Status.FAILED)


@dataclass
class Scene:
    """Servers on one database, and the process that runs it if there is one."""

    servers: list[Server]
    url: str
    postgres: PostgresServer | None = None

    @property
    def name(self) -> str:
        """Which database that is."""
        return "PostgreSQL" if self.postgres else "SQLite"

    def addresses(self) -> list[str]:
        """Where a server is, or was until a moment ago."""
        return [server.address for server in self.servers]

    def store(self) -> Database:
        """The database."""
        return Database(self.url)

    def busy(self, db: Database) -> bool:
        """Whether a request goes on, or a message waits to be sent."""
        with db.read() as view:
            goes_on = view.scalar(select(exists().where(requests.c.status.not_in(OVER))))
            return bool(goes_on or view.scalar(select(exists().where(deliveries.c.status == DeliveryStatus.PENDING))))


@contextmanager
def scene_on(kind: str, request: pytest.FixtureRequest, **settings: Any) -> Iterator[Scene]:
    """One server on `sqlite`, or on `postgres` two that share the database and a storage, the first with a worker."""
    make: Callable[..., Server] = request.getfixturevalue("new_server")
    weights: Path = request.getfixturevalue("weights")
    settings = {"weights": small_setting(weights), **TELLING, **settings}
    if kind == "sqlite":
        server = make(**settings).start()
        yield Scene([server], f"sqlite:///{server.data / 'tintype.db'}")
        assert server.stop() == 0
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    url = postgres.empty()
    with object_storage() as storage:
        settings |= {"database_url": url, **storage.settings}
        first, second = make(**settings).start(), make(**settings, devices="").start()
        yield Scene([first, second], url, postgres)
        assert [second.stop(), first.stop()] == [0, 0]
    postgres.drop(url)
