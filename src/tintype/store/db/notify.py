"""A bell that rings in every worker when something is queued, where the database has one; polling stays the truth.

PostgreSQL's LISTEN and NOTIFY: a message is sent when its transaction commits, and to nobody if it doesn't.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database

CHANNEL = "tintype_queued"
#: Seconds between looks whether to stop, and between attempts to reach a database that is away.
PATIENCE = 1.0


def ring(tx: Connection) -> None:
    """Have the bell ring when this transaction commits."""
    if tx.dialect.name == "postgresql":
        tx.execute(text(f"NOTIFY {CHANNEL}"))


class Bell:
    """Listens on a thread of its own while its `with` block lasts."""

    def __init__(self, db: Database, heard: Callable[[], None]) -> None:
        self._db = db
        self._heard = heard
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="bell", daemon=True)

    def __enter__(self) -> Bell:
        if self._db.has_bell:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._db.has_bell:
            self._thread.join()

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                with self._db.listening(CHANNEL) as connection:
                    self._heard()  # what was queued while nobody listened
                    self._hear(connection)
            except StoreUnavailable:
                self._done.wait(PATIENCE)  # polling goes on

    def _hear(self, connection: Any) -> None:
        while not self._done.is_set():
            for _ in connection.notifies(timeout=PATIENCE, stop_after=1):
                self._heard()
