"""Which workers are alive, what they do and have done, and which of them an operator has told to leave."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack, get_args
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, insert, or_, select, update

from tintype import __version__
from tintype.errors import BadRequest, WorkerUnknown
from tintype.store.db import counters
from tintype.store.db.audit import record
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.tables import workers
from tintype.store.ops import time_series as samples
from tintype.store.queue.eta import ALIVE
from tintype.telemetry.metrics import COLD_SECONDS, COLD_STARTS, FORWARD_PASSES, ROOM, ROWS, STEP_SECONDS

#: Seconds for which a worker that fell silent is shown.
SHOWN = 300.0
#: What is counted since a worker's start: columns, under the same names as the sums.
COUNTED = tuple(one.name for one in (FORWARD_PASSES, ROWS, STEP_SECONDS, COLD_STARTS, COLD_SECONDS))

State = Literal["working", "idle", "paused", "draining", "drained", "silent"]
STATES: tuple[State, ...] = get_args(State)


class Told(TypedDict, total=False):
    """What a worker tells of itself at a heartbeat; tables.py explains the columns."""

    step_seconds: float
    cold_starts: int
    cold_seconds: float
    max_rows: int
    about: Mapping[str, Any]
    counts: Mapping[str, float]


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
    step_seconds: float = 0.0
    cold_starts: int = 0
    cold_seconds: float = 0.0
    max_rows: int = 0
    about: Mapping[str, Any] | None = None
    drain_at: float | None = None
    left_at: float | None = None
    released: bool = False
    counts: Mapping[str, float] | None = None
    #: Of tintype; empty where it is from before this was noted.
    version: str = ""

    @property
    def host(self) -> str:
        """Its machine, or its place in a fleet: the part of its name that its successor has too."""
        return self.id.rpartition("-")[0] or self.id

    @property
    def paused(self) -> str | None:
        """Why it takes nothing although nobody told it so: what its storage of pictures says."""
        return (self.about or {}).get("storage")

    @property
    def takes(self) -> bool:
        """Whether it takes requests while it lives."""
        return self.drain_at is None and not self.paused

    def state(self, moment: float) -> State:
        """What it does at this moment, in unix seconds."""
        gone = self.left_at is not None or self.seen_at < moment - ALIVE
        if self.drain_at is not None:
            return "drained" if gone else "draining"
        if gone:
            return "silent"
        if self.paused:
            return "paused"
        return "working" if (self.about or {}).get("tasks") else "idle"


class Workers:
    """The workers' signs of life, and what an operator wants of them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def beat(self, id: str, device: str, forward_passes: int, rows: int, **told: Unpack[Told]) -> bool:
        """Note that the worker lives, and count what it did since the last time; the first time makes it known.

        Returns whether it is to drain: take nothing more, and leave when it has ended what it has.
        """
        said = {"device": device, "forward_passes": forward_passes, "rows": rows, **told}
        with self._db.note() as tx:
            moment = read_clock(tx)
            before = tx.execute(select(workers).where(workers.c.id == id)).one_or_none()
            if before is None:
                born = {"id": id, "version": __version__, "seen_at": moment, "started_at": moment}
                tx.execute(insert(workers).values(**said, **born))
                return False
            tx.execute(update(workers).where(workers.c.id == id).values(**said, seen_at=moment))
            _count(tx, moment, before, said)
            return before.drain_at is not None

    def alive(self, within: float) -> list[WorkerRow]:
        """Those seen in the last `within` seconds that have not left, the oldest first."""
        return self._those(and_(workers.c.seen_at >= now() - within, workers.c.left_at.is_(None)))

    def shown(self) -> tuple[float, list[WorkerRow]]:
        """This moment, and those that an operator should see: alive, lately fallen silent, or drained."""
        seen = self._those(or_(workers.c.seen_at >= now() - SHOWN, workers.c.drain_at.is_not(None)))
        with self._db.read() as view:
            return read_clock(view), seen

    def leave(self, id: str) -> None:
        """Forget a worker that stopped, unless it was drained: it stays known until it is recalled."""
        with self._db.write() as tx:
            tx.execute(delete(workers).where(workers.c.id == id, workers.c.drain_at.is_(None)))
            tx.execute(update(workers).where(workers.c.id == id).values(left_at=now()))

    def drain(self, which: str) -> WorkerRow:
        """Have a worker, named by its id or by how that begins or ends, take nothing more, and leave.

        Nothing new takes its place until it is recalled. Raises WorkerUnknown, and BadRequest where several are meant.
        """
        with self._db.write() as tx:
            id = _meant(tx, which)
            if _told_to_leave(tx, id, released=False):
                record(tx, "worker.drain", id)
            return WorkerRow(**tx.execute(select(workers).where(workers.c.id == id)).one()._mapping)

    def release(self, id: str) -> None:
        """Have a worker leave as if drained, since its fleet has no use for it; what an operator drained stays so."""
        with self._db.write() as tx:
            _told_to_leave(tx, id, released=True)

    def recall(self, which: str) -> str:
        """Let a fresh worker take the place of a drained one, once that has left; the drained one's id.

        Raises as `drain` does, and BadRequest for one that was not drained.
        """
        with self._db.write() as tx:
            id = _meant(tx, which)
            mine = and_(workers.c.id == id, workers.c.drain_at.is_not(None))
            if not tx.scalar(select(exists().where(mine))):
                raise BadRequest(f"Worker {id} was not drained: there is nothing to take back")
            tx.execute(
                delete(workers).where(mine, or_(workers.c.left_at.is_not(None), workers.c.seen_at < now() - ALIVE))
            )
            tx.execute(update(workers).where(mine).values(drain_at=None, released=False))
            record(tx, "worker.recall", id)
            return id

    def is_drained(self, id: str) -> bool:
        """Whether this worker, which has ended, is to have no successor."""
        with self._db.read() as view:
            return bool(view.scalar(select(exists().where(workers.c.id == id, workers.c.drain_at.is_not(None)))))

    def forget(self, id: str) -> None:
        """Forget a worker whatever its state."""
        with self._db.write() as tx:
            tx.execute(delete(workers).where(workers.c.id == id))

    def _those(self, meant: ColumnElement[bool]) -> list[WorkerRow]:
        wanted = select(workers).where(meant).order_by(workers.c.started_at, workers.c.id)
        with self._db.read() as view:
            return [WorkerRow(**row._mapping) for row in view.execute(wanted)]


def new_id() -> str:
    """A name for a new worker: its machine, and what tells it from others there."""
    return f"{socket.gethostname()}-{uuid4().hex[:8]}"


def _told_to_leave(tx: Connection, id: str, *, released: bool) -> bool:
    """Whether that is news; an operator's word stands over the fleet's, whichever came first."""
    own, told = workers.c.id == id, workers.c.drain_at.is_not(None)
    over = update(workers).where(own, told, workers.c.released).values(released=False)
    changed = 0 if released else tx.execute(over).rowcount
    fresh = update(workers).where(own, ~told).values(drain_at=now(), released=released)
    return bool(changed + tx.execute(fresh).rowcount)


def _count(tx: Connection, moment: float, before: Row[Any], said: Mapping[str, Any]) -> None:
    """Add what a worker did since its last sign to the samples and the sums, if it did anything."""
    earlier = before.counts or {}
    more = {key: count - earlier.get(key, 0) for key, count in said.get("counts", {}).items()}
    gained = {name: said[name] - before._mapping[name] for name in COUNTED if name in said}
    if any(gained.values()):
        room = gained["forward_passes"] * said.get("max_rows", 0)
        samples.add(tx, moment, **gained, room=room)
        more |= {**gained, ROOM.key(): room}
    counters.add(tx, more)


def _meant(tx: Connection, which: str) -> str:
    known = tx.scalars(select(workers.c.id).order_by(workers.c.id)).all()
    meant = [id for id in known if id == which] or [
        id for id in known if which and (id.startswith(which) or id.endswith(which))
    ]
    if not meant:
        raise WorkerUnknown(which)
    if len(meant) > 1:
        raise BadRequest(f"{which[:80]} means several workers: {', '.join(meant)}")
    return str(meant[0])
