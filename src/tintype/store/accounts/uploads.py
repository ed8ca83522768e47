"""Uploaded images: their account, size and expiry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from sqlalchemy import Connection, Row, and_, bindparam, case, delete, func, insert, literal, select, tuple_, union_all

from tintype.core import Json, Size
from tintype.errors import SENT_LENGTH, BadRequest, NotFound
from tintype.store.db import measurements
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.tables import assets, outputs

SIZES = union_all(
    *(select(one.c.width, one.c.height).where(one.c.name == bindparam("file")) for one in (assets, outputs))
)
#: Bytes that a file counts as at least: a million tiny ones would fill the disk's inodes, not its space.
MIN_COUNTED = 2**16


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file."""

    name: str
    #: Bytes.
    size: int
    #: Pixels.
    width: int
    height: int
    #: What its account says of it, where it is one of `/v1/files`.
    about: Json | None = None


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """An upload that an account has named and can list; times in unix seconds."""

    name: str
    #: Bytes.
    size: int
    created_at: float
    expires_at: float
    #: What it was called, its SHA-256 in hex, and its account's own notes.
    filename: str
    sha256: str
    metadata: Json

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """The upload of a row of `assets` that has `about`."""
        return cls(row.name, row.size, expires_at=row.expires_at, **row.about)


#: Uploads that say what they are, and are there.
LISTED = and_(assets.c.about.is_not(None), assets.c.expires_at > now())


class Uploads:
    """The list of uploads; the storage has the files.

    ttl: seconds until each expires. quota: bytes of one account's together, each counted as MIN_COUNTED or more.
    """

    def __init__(self, db: Database, *, ttl: float, quota: int) -> None:
        self._db = db
        self._ttl = ttl
        self._quota = quota

    def add(self, account_id: str, uploads: Sequence[Upload]) -> float:
        """Note files; returns when they expire, in unix seconds.

        Raises BadRequest when they exceed the account's quota; none is noted then.
        """
        with self._db.write() as tx:
            moment = read_clock(tx)
            counted = case((assets.c.size < MIN_COUNTED, MIN_COUNTED), else_=assets.c.size)
            mine = select(func.coalesce(func.sum(counted), 0)).where(assets.c.account_id == account_id)
            taken = tx.execute(mine.where(assets.c.expires_at > moment)).scalar_one()
            wanted = sum(max(MIN_COUNTED, upload.size) for upload in uploads)
            if taken + wanted > self._quota:
                words = f"{wanted} bytes were sent, and {taken} are taken: an account's uploads may have {self._quota}"
                why = f"a file counts as {MIN_COUNTED} at least, and is kept for {self._ttl / 86_400:g} days"
                raise BadRequest(f"{words}; {why}")
            common = {"account_id": account_id, "expires_at": moment + self._ttl}
            rows = [asdict(upload) | common for upload in uploads]
            for row in rows:
                row["about"] = row["about"] and {**row["about"], "created_at": moment}
            tx.execute(insert(assets), rows)
            return moment + self._ttl

    def listed(self, account_id: str, size: int, after: tuple[float, str] | None = None) -> list[StoredUpload]:
        """The account's newest uploads that say what they are, or those after one with this end and name."""
        mine = select(assets).where(assets.c.account_id == account_id, LISTED)
        if after:
            mine = mine.where(tuple_(assets.c.expires_at, assets.c.name) < tuple_(*map(literal, after)))
        newest = mine.order_by(assets.c.expires_at.desc(), assets.c.name.desc()).limit(size)
        with self._db.read() as view:
            return [*map(StoredUpload.of, view.execute(newest))]

    def find(self, name: str, account_id: str) -> StoredUpload:
        """One of these; raises NotFound."""
        with self._db.read() as view:
            return _find(view, name, account_id)

    def remove(self, name: str, account_id: str) -> None:
        """Forget one of these: its file is the caller's to delete. Raises NotFound."""
        with self._db.write() as tx:
            _find(tx, name, account_id)
            tx.execute(delete(assets).where(assets.c.name == name))

    def size_of(self, name: str) -> Size | None:
        """Width and height in pixels of an uploaded or finished image; None where they were never noted."""
        with self._db.read() as view:
            row = view.execute(SIZES, {"file": name}).first()
            if row is None:
                return measurements.unfolded_size(view, name)
        return None if row.width is None else (row.width, row.height)

    def expire(self) -> int:
        """Delete the uploads that have expired; how many. Also the noted sizes of expired outputs."""
        with self._db.write() as tx:
            tx.execute(delete(outputs).where(outputs.c.expires_at <= now()))
            return tx.execute(delete(assets).where(assets.c.expires_at <= now())).rowcount


def _find(view: Connection, name: str, account_id: str) -> StoredUpload:
    mine = select(assets).where(assets.c.name == name, assets.c.account_id == account_id, LISTED)
    row = view.execute(mine).one_or_none()
    if row is None:
        raise NotFound(f"File {name[:SENT_LENGTH]} not found")
    return StoredUpload.of(row)
