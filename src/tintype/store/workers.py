"""Which workers are alive, and what they have done: for the operator's eyes, no decision depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from tintype.store.database import Database, now, read_clock
from tintype.store.tables import workers


@dataclass(frozen=True)
class WorkerRow:
    """One row of `workers`: times in unix seconds, counts since the worker started."""

    id: str
    device: str
    started_at: float
    seen_at: float
    forward_passes: int
    #: Rows of all forward passes: pictures, twice with guidance.
    rows: int


class Workers:
    """The workers' signs of life."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def beat(self, id: str, device: str, forward_passes: int, rows: int) -> None:
        """Note that the worker lives; the first time makes it known."""
        with self._db.write() as tx:
            seen = {"device": device, "seen_at": read_clock(tx), "forward_passes": forward_passes, "rows": rows}
            if tx.execute(update(workers).where(workers.c.id == id).values(seen)).rowcount == 0:
                tx.execute(insert(workers).values(**seen, id=id, started_at=seen["seen_at"]))

    def alive(self, within: float) -> list[WorkerRow]:
        """Those seen in the last `within` seconds, the oldest first."""
        seen = select(workers).where(workers.c.seen_at >= now() - within).order_by(workers.c.started_at, workers.c.id)
        with self._db.read() as view:
            return [WorkerRow(**row._mapping) for row in view.execute(seen)]

    def leave(self, id: str) -> None:
        """Forget a worker that stopped."""
        with self._db.write() as tx:
            tx.execute(delete(workers).where(workers.c.id == id))
