"""Looks at pictures on their way: who wants them, and the latest one of each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from tintype.store.database import Database, now
from tintype.store.records import Status
from tintype.store.tables import previews, requests

p = previews.c


@dataclass(frozen=True)
class Preview:
    """A small JPEG of how a picture looks after a step of an attempt."""

    attempt: int
    step: int
    jpeg: bytes


class Previews:
    """Written by workers while somebody watches, read by whichever web process is asked."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def watch(self, id: str, seconds: float) -> None:
        """Have previews of a request made for that long."""
        with self._db.write() as tx:
            tx.execute(update(requests).where(requests.c.id == id).values(watched_until=now() + seconds))

    def watched(self, ids: Sequence[str]) -> set[str]:
        """Those of the requests at which somebody looks."""
        if not ids:
            return set()
        with self._db.read() as view:
            return set(
                view.scalars(select(requests.c.id).where(requests.c.id.in_(ids), requests.c.watched_until > now()))
            )

    def put(self, id: str, preview: Preview) -> None:
        """Keep a request's latest."""
        values = {"attempt": preview.attempt, "step": preview.step, "jpeg": preview.jpeg}
        with self._db.write() as tx:
            if tx.execute(update(previews).where(p.request_id == id).values(values)).rowcount == 0:
                tx.execute(insert(previews).values(request_id=id, **values))

    def latest(self, id: str, after: tuple[int, int]) -> Preview | None:
        """A request's, if it is of a later (attempt, step)."""
        with self._db.read() as view:
            row = view.execute(select(p.attempt, p.step, p.jpeg).where(p.request_id == id)).one_or_none()
        return None if row is None or (row.attempt, row.step) <= after else Preview(*row)

    def expire(self) -> int:
        """Forget those of requests that no longer run; how many."""
        running = select(requests.c.id).where(requests.c.status == Status.PROCESSING)
        with self._db.write() as tx:
            return tx.execute(delete(previews).where(p.request_id.not_in(running))).rowcount
