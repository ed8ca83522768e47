"""Uploaded pictures: whose they are, how much room they take, and how long they are kept."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, func, insert, select

from tintype.errors import BadRequest
from tintype.store.database import Database, now, read_clock
from tintype.store.tables import assets


class Assets:
    """The list of uploads; their files lie elsewhere.

    life: seconds that each is kept. quota: bytes that one account's may take together.
    """

    def __init__(self, db: Database, *, life: float, quota: int) -> None:
        self._db = db
        self._life = life
        self._quota = quota

    def add(self, account_id: str, sizes: Mapping[str, int]) -> float:
        """Note files by name, with their bytes; returns when they expire, in unix seconds.

        Raises BadRequest when they are more than the account has room for; none is noted then.
        """
        with self._db.write() as tx:
            moment = read_clock(tx)
            mine = select(func.coalesce(func.sum(assets.c.size), 0)).where(assets.c.account_id == account_id)
            taken = tx.execute(mine.where(assets.c.expires_at > moment)).scalar_one()
            wanted = sum(sizes.values())
            if taken + wanted > self._quota:
                words = f"{wanted} bytes were sent, and {taken} are taken: an account's uploads may have {self._quota}"
                raise BadRequest(f"{words}; each is kept for {self._life / 86_400:g} days")
            common = {"account_id": account_id, "expires_at": moment + self._life}
            tx.execute(insert(assets), [{"name": name, "size": size, **common} for name, size in sizes.items()])
            return moment + self._life

    def expire(self) -> int:
        """Forget those whose time is over; how many."""
        with self._db.write() as tx:
            return tx.execute(delete(assets).where(assets.c.expires_at <= now())).rowcount
