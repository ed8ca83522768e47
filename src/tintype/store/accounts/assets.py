"""Uploaded pictures: whose they are, how large, and how long they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import case, delete, func, insert, select, union_all

from tintype.errors import BadRequest
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.tables import assets, outputs

#: Bytes that a file counts as at least: a million tiny ones would fill the disk's tables, not its room.
LEAST = 2**16


@dataclass(frozen=True)
class Upload:
    """A file by its name, with its bytes and its pixels."""

    name: str
    size: int
    width: int
    height: int


class Assets:
    """The list of uploads; their files lie elsewhere.

    life: seconds that each is kept. quota: bytes that one account's may take together, each counted as LEAST or more.
    """

    def __init__(self, db: Database, *, life: float, quota: int) -> None:
        self._db = db
        self._life = life
        self._quota = quota

    def add(self, account_id: str, uploads: Sequence[Upload]) -> float:
        """Note files; returns when they expire, in unix seconds.

        Raises BadRequest when they are more than the account has room for; none is noted then.
        """
        with self._db.write() as tx:
            moment = read_clock(tx)
            counted = case((assets.c.size < LEAST, LEAST), else_=assets.c.size)
            mine = select(func.coalesce(func.sum(counted), 0)).where(assets.c.account_id == account_id)
            taken = tx.execute(mine.where(assets.c.expires_at > moment)).scalar_one()
            wanted = sum(max(LEAST, upload.size) for upload in uploads)
            if taken + wanted > self._quota:
                words = f"{wanted} bytes were sent, and {taken} are taken: an account's uploads may have {self._quota}"
                why = f"a file counts as {LEAST} at least, and is kept for {self._life / 86_400:g} days"
                raise BadRequest(f"{words}; {why}")
            common = {"account_id": account_id, "expires_at": moment + self._life}
            tx.execute(insert(assets), [asdict(upload) | common for upload in uploads])
            return moment + self._life

    def size_of(self, name: str) -> tuple[int, int] | None:
        """Width and height in pixels of an uploaded or finished picture; None where they were never noted."""
        both = [select(kept.c.width, kept.c.height).where(kept.c.name == name) for kept in (assets, outputs)]
        with self._db.read() as view:
            row = view.execute(union_all(*both)).first()
        return None if row is None or row.width is None else (row.width, row.height)

    def expire(self) -> int:
        """Forget the uploads whose time is over; how many. With them, sizes of outputs whose time is over too."""
        with self._db.write() as tx:
            tx.execute(delete(outputs).where(outputs.c.expires_at <= now()))
            return tx.execute(delete(assets).where(assets.c.expires_at <= now())).rowcount
