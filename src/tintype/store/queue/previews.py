"""Looks at pictures on their way: who wants them, and the latest one of each picture of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import Connection, delete, insert, select, update

from tintype.store.db.database import Database, now
from tintype.store.db.records import Status
from tintype.store.db.tables import previews, requests

p = previews.c


@dataclass(frozen=True)
class Preview:
    """A small JPEG of how one of a request's pictures looks after a step of an attempt, or at its end."""

    attempt: int
    #: Counts the attempt's previews from 1.
    look: int
    #: Which picture, from 0.
    picture: int
    step: int
    jpeg: bytes
    finished: bool = False


class Previews:
    """Written by workers while somebody watches, read by whichever web process is asked."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def watch(self, ids: Sequence[str], seconds: float) -> None:
        """Have previews of requests made for that long."""
        with self._db.write() as tx:
            tx.execute(update(requests).where(requests.c.id.in_(ids)).values(watched_until=now() + seconds))

    def watched(self, ids: Sequence[str]) -> set[str]:
        """Those of the requests at which somebody looks."""
        if not ids:
            return set()
        with self._db.read() as view:
            return set(
                view.scalars(select(requests.c.id).where(requests.c.id.in_(ids), requests.c.watched_until > now()))
            )

    def put(self, id: str, looks: Sequence[Preview]) -> None:
        """Keep the latest of some of a request's pictures."""
        with self._db.write() as tx:
            for preview in looks:
                tx.execute(delete(previews).where(p.request_id == id, p.picture == preview.picture))
                tx.execute(insert(previews).values(request_id=id, **vars(preview)))

    def expire(self) -> int:
        """Forget those of requests that no longer run; how many."""
        running = select(requests.c.id).where(requests.c.status == Status.PROCESSING)
        with self._db.write() as tx:
            return tx.execute(delete(previews).where(p.request_id.not_in(running))).rowcount


def latest(view: Connection, ids: Sequence[str]) -> dict[str, dict[int, Preview]]:
    """The previews of these requests' present attempts: id → picture → preview."""
    if not ids:
        return {}
    of_attempt = previews.join(requests, (requests.c.id == p.request_id) & (requests.c.attempt == p.attempt))
    columns = (p[field.name] for field in fields(Preview))
    made = select(p.request_id, *columns).select_from(of_attempt).where(p.request_id.in_(ids)).order_by(p.look)
    found: dict[str, dict[int, Preview]] = {}
    for id, *values in view.execute(made):
        preview = Preview(*values)
        found.setdefault(id, {})[preview.picture] = preview
    return found
