"""Wake-ups of workers by PostgreSQL's LISTEN and NOTIFY: best effort; polling remains the source of truth."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database

#: The wake-ups'.
CHANNEL = "tintype_queued"
#: Seconds between a listener's checks whether to stop, and its attempts to reach a database that is away.
PAUSE = 1.0


def notify(tx: Connection) -> None:
    """Wake the workers when this transaction commits, and not at all if it doesn't: something is claimable."""
    if tx.dialect.name == "postgresql":
        tx.execute(text(f"NOTIFY {CHANNEL}"))


class Listener:
    """Calls `heard` from a thread of its own at each wake-up, while its `with` block lasts."""

    def __init__(self, db: Database, heard: Callable[[], None]) -> None:
        self._db = db
        self._heard = heard
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="notify", daemon=True)

    def __enter__(self) -> Listener:
        if self._db.can_notify:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._db.can_notify:
            self._thread.join()

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                with self._db.listening(CHANNEL) as connection:
                    self._heard()  # what was queued before it listened
                    self._hear(connection)
            except StoreUnavailable:
                self._done.wait(PAUSE)  # polling goes on

    def _hear(self, connection: Any) -> None:
        while not self._done.is_set():
            for _ in connection.notifies(timeout=PAUSE, stop_after=1):
                self._heard()
