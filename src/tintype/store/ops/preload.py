"""Preload: models to load ahead of requests, and how far each worker is with them; affinity goes by it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from tintype.store.db.audit import current_actor, record
from tintype.store.db.database import Database, read_clock
from tintype.store.db.notify import Channel, notify
from tintype.store.db.records import PreloadState
from tintype.store.db.tables import warmups, workers


@dataclass(frozen=True, slots=True)
class Preload:
    """One row of `warmups`: how far a worker is with a model."""

    slug: str
    worker: str
    state: PreloadState
    #: Seconds that loading took; None unless it is WARM.
    seconds: float | None
    #: Words for the caller; None unless it FAILED.
    error: str | None
    #: When it was asked for, or changed by itself, in unix seconds.
    changed_at: float
    #: Whether the denoiser is on the device.
    loaded: bool = False


#: Built once: a worker asks this with each heartbeat.
ASKED = (
    select(warmups.c.slug)
    .where(warmups.c.worker == bindparam("own"), warmups.c.state == PreloadState.WARMING)
    .order_by(warmups.c.changed_at)
)


class Preloads:
    """What was asked for, and the workers' answers."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def ask(self, slug: str, workers: Iterable[str]) -> None:
        """Ask these workers to load the model, except those that are doing so."""
        with self._db.write() as tx:
            for worker in workers:
                own = warmups.c.slug == slug, warmups.c.worker == worker
                if tx.scalar(select(warmups.c.state).where(*own)) is not PreloadState.WARMING:
                    _put(tx, slug, worker, PreloadState.WARMING)
            notify(tx, Channel.WORKERS)
            if current_actor.get().is_operator:  # other callers' use of the server isn't audited
                record(tx, "model.warm", slug, repeats=True)

    def asked(self, worker: str) -> list[str]:
        """The models that this worker was asked to load and hasn't answered for, the oldest first."""
        with self._db.read() as view:
            return list(view.scalars(ASKED, {"own": worker}))

    def answer(
        self, worker: str, slug: str, state: PreloadState, seconds: float | None = None, error: str | None = None
    ) -> None:
        """Note the state of a model, whether it was asked for or not."""
        with self._db.write() as tx:
            _put(tx, slug, worker, state, seconds, error)

    def note(self, worker: str, loaded: Collection[str]) -> None:
        """Note which models' denoisers the worker has on the device, and no others."""
        own = warmups.c.worker == worker
        with self._db.write() as tx:
            known = set(tx.scalars(select(warmups.c.slug).where(own)))
            for slug in set(loaded) - known:
                _put(tx, slug, worker, PreloadState.COLD)
            tx.execute(update(warmups).where(own).values(loaded=warmups.c.slug.in_(loaded)))

    def of(self, slug: str, workers: Iterable[str]) -> list[Preload]:
        """How far these workers are with the model; workers that never had it are left out."""
        named = warmups.c.slug == slug, warmups.c.worker.in_(list(workers))
        with self._db.read() as view:
            found = view.execute(select(warmups).where(*named).order_by(warmups.c.worker)).all()
        return [Preload(**row._mapping) for row in found]

    def warm(self, slugs: Iterable[str]) -> set[str]:
        """The workers that have any of these models loaded."""
        ready = warmups.c.slug.in_(list(slugs)), warmups.c.loaded
        with self._db.read() as view:
            return set(view.scalars(select(warmups.c.worker).where(*ready)))

    def expire(self) -> None:
        """Delete the rows of workers that are no longer known."""
        with self._db.write() as tx:
            tx.execute(delete(warmups).where(warmups.c.worker.not_in(select(workers.c.id))))


def _put(
    tx: Connection, slug: str, worker: str, state: PreloadState, seconds: float | None = None, error: str | None = None
) -> None:
    own = warmups.c.slug == slug, warmups.c.worker == worker
    values = {"state": state, "seconds": seconds, "error": error, "changed_at": read_clock(tx)}
    if tx.execute(update(warmups).where(*own).values(values)).rowcount == 0:
        tx.execute(insert(warmups).values(slug=slug, worker=worker, **values))
