"""The processes at the database: workers with what they do and have done, which are drained; and web servers."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack, get_args
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, exists, insert, or_, select, update

from tintype import __version__
from tintype.core import WorkerReport
from tintype.errors import BadRequest, WorkerUnknown
from tintype.store.db import measurements
from tintype.store.db.audit import record
from tintype.store.db.conditions import ALIVE
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.notify import Channel, notify
from tintype.store.db.tables import servers, workers
from tintype.telemetry.metrics import COLD_SECONDS, COLD_STARTS, FORWARD_PASSES, ROOM, ROWS, STEP_SECONDS

#: Seconds for which a worker without heartbeats is shown.
SHOWN = 300.0
#: Seconds between two heartbeats of a server, and without one until it counts as gone.
SERVER_HEARTBEAT, SERVER_ALIVE = 10.0, 35.0
#: What is counted since a worker's start: columns, under the same names as the sums.
COUNTED = tuple(one.name for one in (FORWARD_PASSES, ROWS, STEP_SECONDS, COLD_STARTS, COLD_SECONDS))

WorkerState = Literal["working", "idle", "paused", "draining", "drained", "silent"]
STATES: tuple[WorkerState, ...] = get_args(WorkerState)
ServerState = Literal["serving", "silent", "stopped"]


class WorkerStats(TypedDict, total=False):
    """What a worker has counted since its start, in addition to its forward passes and their rows."""

    step_seconds: float
    cold_starts: int
    cold_seconds: float
    #: Rows that fit into one forward pass; not a count.
    max_rows: int
    #: Further counts, by the keys of `counters`.
    counts: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One row of `workers`: times in unix seconds, counts since the worker started."""

    id: str
    device: str
    started_at: float
    #: Its last heartbeat.
    seen_at: float
    forward_passes: int
    #: Rows of all forward passes: images, twice with guidance.
    rows: int
    #: Seconds of the steps that they were in.
    step_seconds: float = 0.0
    #: Loads of weights, and the seconds that they took.
    cold_starts: int = 0
    cold_seconds: float = 0.0
    #: Rows that fit into one forward pass.
    max_rows: int = 0
    report: WorkerReport = field(default_factory=WorkerReport)
    #: When it was drained, and when it left.
    drain_at: float | None = None
    left_at: float | None = None
    #: Whether its fleet drained it, not an operator.
    released: bool = False
    counts: Mapping[str, float] | None = None
    #: Of tintype; empty where it is from before this was noted.
    version: str = ""

    @classmethod
    def of(cls, row: Row[Any]) -> WorkerRow:
        """The worker of a whole row."""
        values = dict(row._mapping)
        return cls(report=WorkerReport.from_json(values.pop("about")), **values)

    @property
    def host(self) -> str:
        """Its machine, or its slot in a fleet: the part of its id that its successor has too."""
        return self.id.rpartition("-")[0] or self.id

    @property
    def paused(self) -> str | None:
        """Why it takes nothing although it isn't drained: what its storage answers."""
        return self.report.storage

    @property
    def takes(self) -> bool:
        """Whether it takes requests while it lives."""
        return self.drain_at is None and not self.paused

    def state(self, moment: float) -> WorkerState:
        """What it does at this moment, in unix seconds."""
        gone = self.left_at is not None or self.seen_at < moment - ALIVE
        if self.drain_at is not None:
            return "drained" if gone else "draining"
        if gone:
            return "silent"
        if self.paused:
            return "paused"
        return "working" if self.report.running else "idle"


# Built once: building a statement takes longer than running it. What they set is what they are executed with.
MINE = select(workers, now().label("moment")).where(workers.c.id == bindparam("own"))
BEGIN = insert(workers).values(seen_at=now(), started_at=now())
HEARTBEAT = update(workers).where(workers.c.id == bindparam("own")).values(seen_at=now())
SERVER_SEEN = update(servers).where(servers.c.id == bindparam("own")).values(seen_at=now(), left_at=None)


class Workers:
    """The workers' heartbeats, and draining them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def heartbeat(
        self,
        id: str,
        device: str,
        forward_passes: int,
        rows: int,
        *,
        report: WorkerReport | None = None,
        **stats: Unpack[WorkerStats],
    ) -> bool:
        """Note a heartbeat, and add what the worker has counted since the last one; the first makes it known.

        Returns whether it is to drain: take nothing more, and leave when it has ended what it has.
        """
        about = {} if report is None else {"about": report.to_json()}
        values = {"device": device, "forward_passes": forward_passes, "rows": rows, **stats, **about}
        with self._db.note() as tx:
            before = tx.execute(MINE, {"own": id}).one_or_none()
            if before is None:
                tx.execute(BEGIN, {**values, "id": id, "version": __version__})
                return False
            tx.execute(HEARTBEAT, {**values, "own": id})
            _count(tx, before, values)
            return before.drain_at is not None

    def alive(self, within: float) -> list[WorkerRow]:
        """Those seen in the last `within` seconds that have not left, the oldest first."""
        return self._those(and_(workers.c.seen_at >= now() - within, workers.c.left_at.is_(None)))

    def shown(self) -> tuple[float, list[WorkerRow]]:
        """This moment, and the workers that an operator should see: alive, recently silent, or drained."""
        seen = self._those(or_(workers.c.seen_at >= now() - SHOWN, workers.c.drain_at.is_not(None)))
        with self._db.read() as view:
            return read_clock(view), seen

    def leave(self, id: str) -> None:
        """Remove a worker that stopped, unless it was drained: then it stays known until it is recalled."""
        with self._db.write() as tx:
            tx.execute(delete(workers).where(workers.c.id == id, workers.c.drain_at.is_(None)))
            tx.execute(update(workers).where(workers.c.id == id).values(left_at=now()))

    def drain(self, which: str) -> WorkerRow:
        """Have a worker, named by its id or a prefix or suffix of it, take nothing more, and leave.

        It isn't replaced until it is recalled. Raises WorkerUnknown, and BadRequest where several are meant.
        """
        with self._db.write() as tx:
            id = _find(tx, which)
            if _drain(tx, id, released=False):
                record(tx, "worker.drain", id)
                notify(tx, Channel.WORKERS)
            return WorkerRow.of(tx.execute(select(workers).where(workers.c.id == id)).one())

    def release(self, id: str) -> None:
        """Drain a worker that its fleet has no use for; one that an operator drained stays so."""
        with self._db.write() as tx:
            if _drain(tx, id, released=True):
                notify(tx, Channel.WORKERS)

    def recall(self, which: str) -> str:
        """Have a drained worker replaced by a fresh one, once it has left; the drained one's id.

        Raises as `drain` does, and BadRequest for one that was not drained.
        """
        with self._db.write() as tx:
            id = _find(tx, which)
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
        """Whether this worker, which has ended, isn't to be replaced."""
        with self._db.read() as view:
            return bool(view.scalar(select(exists().where(workers.c.id == id, workers.c.drain_at.is_not(None)))))

    def remove(self, id: str) -> None:
        """Remove a worker whatever its state."""
        with self._db.write() as tx:
            tx.execute(delete(workers).where(workers.c.id == id))

    def _those(self, which: ColumnElement[bool]) -> list[WorkerRow]:
        wanted = select(workers).where(which).order_by(workers.c.started_at, workers.c.id)
        with self._db.read() as view:
            return [*map(WorkerRow.of, view.execute(wanted))]


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One row of `servers`: times in unix seconds."""

    #: The machine and the port that it listens on, so that its successor takes its row.
    id: str
    version: str
    #: By slug, what a model is: equal where servers offer the same.
    models: Mapping[str, str]
    started_at: float
    seen_at: float
    left_at: float | None = None

    def state(self, moment: float) -> ServerState:
        """What it does at this moment, in unix seconds."""
        if self.left_at is not None:
            return "stopped"
        return "serving" if self.seen_at >= moment - SERVER_ALIVE else "silent"


class Servers:
    """The web processes' heartbeats."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def start(self, id: str, models: Mapping[str, str]) -> None:
        """Make a server known, and remove those that are gone."""
        with self._db.write() as tx:
            moment = read_clock(tx)
            gone = or_(servers.c.seen_at < moment - SERVER_ALIVE, servers.c.left_at.is_not(None))
            tx.execute(delete(servers).where(or_(servers.c.id == id, gone)))
            times = {"started_at": moment, "seen_at": moment}
            tx.execute(insert(servers).values(id=id, version=__version__, models=dict(models), **times))

    def heartbeat(self, id: str, models: Mapping[str, str]) -> None:
        """Note a heartbeat; one that was taken for gone is known again."""
        with self._db.note() as tx:
            known = tx.execute(SERVER_SEEN, {"own": id}).rowcount
        if not known:
            self.start(id, models)

    def leave(self, id: str) -> None:
        """Note that it stopped; its models are known until another one starts."""
        with self._db.write() as tx:
            tx.execute(update(servers).where(servers.c.id == id).values(left_at=now()))

    def shown(self) -> tuple[float, list[ServerRow]]:
        """This moment, and all that are known, the oldest first."""
        with self._db.read() as view:
            rows = view.execute(select(servers).order_by(servers.c.started_at, servers.c.id))
            return read_clock(view), [ServerRow(**row._mapping) for row in rows]

    def alive(self) -> list[ServerRow]:
        """Those that are alive; where none is, the last one: it may come back as it was."""
        moment, known = self.shown()
        serving = [one for one in known if one.state(moment) == "serving"]
        return serving or sorted(known, key=lambda one: one.seen_at)[-1:]


def new_id() -> str:
    """An id for a new worker: its machine, and random digits."""
    return f"{socket.gethostname()}-{uuid4().hex[:8]}"


def _drain(tx: Connection, id: str, *, released: bool) -> bool:
    """Whether it changed anything; an operator's drain overrides the fleet's, whichever came first."""
    own, told = workers.c.id == id, workers.c.drain_at.is_not(None)
    over = update(workers).where(own, told, workers.c.released).values(released=False)
    changed = 0 if released else tx.execute(over).rowcount
    fresh = update(workers).where(own, ~told).values(drain_at=now(), released=released)
    return bool(changed + tx.execute(fresh).rowcount)


def _count(tx: Connection, before: Row[Any], values: Mapping[str, Any]) -> None:
    """Add what a worker did since its last heartbeat to the time series and the counters, if anything."""
    earlier = before.counts or {}
    more = {key: count - earlier.get(key, 0) for key, count in values.get("counts", {}).items()}
    gained = {name: values[name] - before._mapping[name] for name in COUNTED if name in values}
    if any(gained.values()):
        room = gained["forward_passes"] * values.get("max_rows", 0)
        measurements.add_to_bucket(tx, before.moment, {**gained, "room": room})
        more |= {**gained, ROOM.key(): room}
    measurements.add(tx, more)


def _find(tx: Connection, which: str) -> str:
    known = tx.scalars(select(workers.c.id).order_by(workers.c.id)).all()
    meant = [id for id in known if id == which] or [
        id for id in known if which and (id.startswith(which) or id.endswith(which))
    ]
    if not meant:
        raise WorkerUnknown(which)
    if len(meant) > 1:
        raise BadRequest(f"{which[:80]} means several workers: {', '.join(meant)}")
    return str(meant[0])
