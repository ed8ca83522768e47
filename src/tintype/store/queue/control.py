"""What an operator tells the whole server: whether the queue is paused."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Exists, delete, exists, insert, select

from tintype.store.db.audit import record
from tintype.store.db.database import Database, now
from tintype.store.db.notify import ring
from tintype.store.db.tables import controls

PAUSE = controls.c.name == "pause"


def paused() -> Exists:
    """Whether the queue is paused, in SQL: claims read it in the query that they make anyway."""
    return exists().where(PAUSE)


class Controls:
    """The pause: a row that outlives restarts, for all web processes and workers of one database.

    While it lasts nobody claims a live request. What runs goes on, what is asked waits, and test keys' requests run.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def pause(self) -> float:
        """Pause the queue, unless it is paused; since when it is, in unix seconds."""
        with self._db.write() as tx:
            since: Any = tx.scalar(select(controls.c.since).where(PAUSE))
            if since is None:
                since = tx.scalar(insert(controls).values(name="pause", since=now()).returning(controls.c.since))
                record(tx, "queue.pause", "queue")
            return float(since)

    def resume(self) -> None:
        """Let the queue go on, if it is paused."""
        with self._db.write() as tx:
            if tx.execute(delete(controls).where(PAUSE)).rowcount:
                record(tx, "queue.resume", "queue")
            ring(tx)

    def paused_since(self) -> float | None:
        """Since when the queue is paused, in unix seconds; None while it is not."""
        with self._db.read() as view:
            return view.scalar(select(controls.c.since).where(PAUSE))
