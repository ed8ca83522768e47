"""The log of images: what a file's digest or its watermark's number is looked up in, long after the file is gone.

A row says when an image was made, to the hour, and by which model; while its request is known, which that was. Whose it
is, and what was asked for, it does not say; but who makes an equal request finds that there was one before.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, insert, select, update

from tintype.core import LoggedFile
from tintype.store.db.database import Database, now
from tintype.store.db.records import Request
from tintype.store.db.statements import Statement
from tintype.store.db.tables import image_log

#: Seconds: the precision of `made_at`.
HOUR = 3600.0
#: Rows that are read for one number: `exact` requests and replays repeat it.
MAX_ENTRIES = 20
ADD = Statement(insert(image_log).inline())


@dataclass(frozen=True, slots=True)
class Entry:
    """What the log says of an image."""

    #: Unix seconds, of the hour's beginning.
    made_at: float
    #: The model's.
    slug: str
    #: None once its account's history no longer has it.
    request_id: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> Entry:
        return cls(row.made_at, row.slug, row.request_id)


class ImageLog:
    """Read for the detector; `add` writes it. ttl: seconds for which a row is kept."""

    def __init__(self, db: Database, ttl: float) -> None:
        self._db = db
        self._ttl = ttl

    def of_digest(self, digest: bytes) -> Entry | None:
        """The image whose file, as it was stored, has this SHA-256."""
        found = self._entries(image_log.c.digest == digest)
        return found[0] if found else None

    def of_number(self, number: bytes) -> list[Entry]:
        """The images whose watermark has this number, the latest first; at most MAX_ENTRIES."""
        return self._entries(image_log.c.number == number)

    def expire(self) -> int:
        """Delete the rows that are too old; how many."""
        with self._db.write(no_timeout=True) as tx:
            return tx.execute(delete(image_log).where(image_log.c.made_at < now() - self._ttl)).rowcount

    def _entries(self, which: ColumnElement[bool]) -> list[Entry]:
        latest = select(image_log).where(which).order_by(image_log.c.made_at.desc()).limit(MAX_ENTRIES)
        with self._db.read() as view:
            return [*map(Entry.of, view.execute(latest))]


def add(tx: Connection, request: Request, files: Sequence[LoggedFile]) -> None:
    """Note the files of a request that has just ended COMPLETED."""
    hour = (request.timing.ended_at or 0.0) // HOUR * HOUR
    for file in files:
        # Random: rows of an hour are in no order that would say whose they are.
        row = {"made_at": hour, "id": secrets.token_bytes(16), "number": file.number, "digest": file.digest}
        ADD.later(tx, {**row, "slug": request.slug, "request_id": request.id})


def forget_requests(tx: Connection, gone: Select[tuple[str]]) -> None:
    """Remove the ids that this selects."""
    tx.execute(update(image_log).where(image_log.c.request_id.in_(gone)).values(request_id=None))
