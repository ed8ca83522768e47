"""Uploaded images: their account, size and expiry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import bindparam, case, delete, func, insert, select, union_all

from tintype.core import Size
from tintype.errors import BadRequest
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
            tx.execute(insert(assets), [asdict(upload) | common for upload in uploads])
            return moment + self._ttl

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
