"""Which web processes are at the database, of which version, and which models they offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import delete, insert, or_, select, update

from tintype import __version__
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.tables import servers

#: Seconds between two signs of life of a server, and without one until it counts as gone.
BEAT, ALIVE = 10.0, 35.0


@dataclass(frozen=True)
class ServerRow:
    """One row of `servers`: times in unix seconds."""

    #: The machine and the port that it listens on, so that who takes its place takes its row.
    id: str
    version: str
    #: By slug, what a model is: equal where servers offer the same.
    models: Mapping[str, str]
    started_at: float
    seen_at: float
    left_at: float | None = None

    def state(self, moment: float) -> Literal["serving", "silent", "stopped"]:
        """What it does at this moment, in unix seconds."""
        if self.left_at is not None:
            return "stopped"
        return "serving" if self.seen_at >= moment - ALIVE else "silent"


class Servers:
    """The web processes' signs of life."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def start(self, id: str, models: Mapping[str, str]) -> None:
        """Make a server known; those that are gone by now are forgotten."""
        with self._db.write() as tx:
            moment = read_clock(tx)
            gone = or_(servers.c.seen_at < moment - ALIVE, servers.c.left_at.is_not(None))
            tx.execute(delete(servers).where(or_(servers.c.id == id, gone)))
            times = {"started_at": moment, "seen_at": moment}
            tx.execute(insert(servers).values(id=id, version=__version__, models=dict(models), **times))

    def beat(self, id: str, models: Mapping[str, str]) -> None:
        """Note that it lives; one that was taken for gone is known again."""
        with self._db.note() as tx:
            known = tx.execute(update(servers).where(servers.c.id == id).values(seen_at=now(), left_at=None)).rowcount
        if not known:
            self.start(id, models)

    def leave(self, id: str) -> None:
        """Note that it stopped; what it offered is known until another one starts."""
        with self._db.write() as tx:
            tx.execute(update(servers).where(servers.c.id == id).values(left_at=now()))

    def shown(self) -> tuple[float, list[ServerRow]]:
        """This moment, and all that are known, the oldest first."""
        with self._db.read() as view:
            rows = view.execute(select(servers).order_by(servers.c.started_at, servers.c.id))
            return read_clock(view), [ServerRow(**row._mapping) for row in rows]

    def alive(self) -> list[ServerRow]:
        """Those that give signs of life; where none does, the one that did last: it may come back as it was."""
        moment, known = self.shown()
        serving = [one for one in known if one.state(moment) == "serving"]
        return serving or sorted(known, key=lambda one: one.seen_at)[-1:]
