"""The autoscaler's leader lease: several may stand by at one database, and one decides how many workers there are."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, or_, select, update

from tintype import __version__
from tintype.errors import StoreUnavailable
from tintype.store.db import facts
from tintype.store.db.clock import LEASES
from tintype.store.db.database import Database, now
from tintype.store.db.tables import keepers

RAY = "ray"


class LeaderLease:
    """The lease on leading the Ray fleet, for this holder; it expires unless it is renewed within `seconds`."""

    def __init__(self, db: Database, holder: str, seconds: float) -> None:
        self._db = db
        self._holder = holder
        self._seconds = seconds

    def take(self) -> bool:
        """Take or renew the lease; False while another holder has it."""
        mine = {"holder": self._holder, "version": __version__, "lease_until": now() + self._seconds}
        with self._db.write() as tx:
            if tx.scalar(select(keepers.c.fleet).where(keepers.c.fleet == RAY)) is None:
                tx.execute(insert(keepers).values(fleet=RAY, wanted=0, **mine))
                return True
            over = keepers.c.lease_until < now()
            # Further ahead than any lease lasts: the clock was set back since.
            never = keepers.c.lease_until > now() + LEASES * self._seconds
            free = or_(keepers.c.holder == self._holder, over, never)
            return tx.execute(update(keepers).where(keepers.c.fleet == RAY, free).values(mine)).rowcount == 1

    def set_wanted(self, wanted: int) -> None:
        """Note how many workers are wanted, while it has the lease."""
        with self._db.write() as tx:
            tx.execute(update(keepers).where(keepers.c.holder == self._holder).values(wanted=wanted))

    def set_waits(self, why: str) -> None:
        """Note why workers get no machine; empty once they do."""
        with self._db.write() as tx:
            facts.write(tx, facts.WAITS, why=why)

    def release(self) -> None:
        """Give it up; where the database is away, it expires instead."""
        with suppress(StoreUnavailable), self._db.write() as tx:
            tx.execute(delete(keepers).where(keepers.c.holder == self._holder))


def fleet_name(db: Database) -> str:
    """The name of this database's fleet, drawn once. A copy of the database has the same."""
    with db.write() as tx:
        known = facts.read(tx, facts.FLEET)
        if known is None:
            facts.write(tx, facts.FLEET, **(known := {"id": uuid4().hex[:8]}))
    return str(known["id"])


def leading(view: Connection) -> tuple[str, str] | None:
    """The autoscaler that leads, and its version; None where none does."""
    led = select(keepers.c.holder, keepers.c.version).where(keepers.c.fleet == RAY, keepers.c.lease_until >= now())
    found = view.execute(led).one_or_none()
    return None if found is None else (found.holder, found.version)


def wanted(view: Connection) -> int | None:
    """How many workers the autoscaler wants; None where none leads."""
    led = select(keepers.c.wanted).where(keepers.c.fleet == RAY, keepers.c.lease_until >= now())
    return view.scalar(led)


def waits(view: Connection) -> str:
    """Why workers of the fleet get no machine; empty where they do, and where no autoscaler leads."""
    known = facts.read(view, facts.WAITS) if leading(view) else None
    return str(known["why"]) if known else ""
