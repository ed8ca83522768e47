"""The state of requests that clients follow, and previews: as many statements for hundreds as for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Double, bindparam, delete, func, select, update

from tintype.store.db.conditions import PROCESSING
from tintype.store.db.database import Database, now
from tintype.store.db.measurements import INSERT
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import previews, requests
from tintype.store.queue.eta import Eta, Etas

c, r = previews.c, requests.c

# Built once: building a statement takes longer than running it.
AMONG = r.id.in_(bindparam("ids", expanding=True))
REQUESTS = select(requests).where(AMONG)
STATUSES = select(r.id, r.status).where(AMONG)
FOLLOW = update(requests).where(AMONG).values(watched_until=now() + bindparam("seconds", type_=Double()))
FOLLOWED = select(r.id).where(AMONG, r.watched_until > now())
_NUMBER = select(func.coalesce(func.max(c.look), 0)).where(c.request_id == r.id, c.attempt == r.attempt)
STATES = select(r.id, r.status, r.attempt, r.step, _NUMBER.scalar_subquery()).where(AMONG)
#: The fields of `Preview`, of the present attempts.
LATEST = (
    select(c.request_id, c.attempt, c.look, c.picture, c.step, c.jpeg, c.finished)
    .join_from(previews, requests, (r.id == c.request_id) & (r.attempt == c.attempt))
    .where(AMONG)
    .order_by(c.look)
)


@dataclass(frozen=True, slots=True)
class Preview:
    """A small JPEG of one of a request's images after a step of an attempt, or at its end."""

    attempt: int
    #: Counts the attempt's previews from 1.
    number: int
    #: Which image, from 0.
    image: int
    step: int
    jpeg: bytes
    finished: bool = False


class RequestState(NamedTuple):
    """What differs when there is news of a request."""

    status: Status
    attempt: int
    step: int
    #: The number of the attempt's latest preview; 0 for none.
    preview: int


class RequestUpdate(NamedTuple):
    """A request as a poll found it."""

    state: RequestState
    request: Request
    eta: Eta
    #: The latest preview of each of its images, where there are new ones.
    previews: Mapping[int, Preview]

    @classmethod
    def of_ended(cls, request: Request) -> RequestUpdate:
        """Of a request that has ended: it has neither an ETA nor previews."""
        return cls(RequestState(request.status, request.attempt, request.step, 0), request, Eta(), {})

    def after(self, before: RequestUpdate | None) -> RequestUpdate:
        """With the previews of an earlier update that was not delivered."""
        if before is None or before.state.attempt != self.state.attempt:
            return self
        return self._replace(previews={**before.previews, **self.previews})


class Poll(NamedTuple):
    """The state of each followed request that is still there, and updates of those with news."""

    states: Mapping[str, RequestState]
    news: Mapping[str, RequestUpdate]


class Previews:
    """Written by workers while a client follows the request, read by whichever web process the client asks."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def follow(self, ids: Sequence[str], seconds: float) -> None:
        """Have previews of these requests made for `seconds`."""
        with self._db.write() as tx:
            tx.execute(FOLLOW, {"ids": ids, "seconds": seconds})

    def followed(self, ids: Sequence[str]) -> set[str]:
        """Those of the requests that a client follows."""
        if not ids:
            return set()
        with self._db.read() as view:
            return set(view.scalars(FOLLOWED, {"ids": ids}))

    def latest(self, id: str) -> dict[int, Preview]:
        """The latest of each of a request's images, where there are any."""
        with self._db.read() as view:
            return latest(view, [id]).get(id, {})

    def put(self, id: str, fresh: Sequence[Preview]) -> None:
        """Store the latest of some of a request's images, unless a later attempt has; not under the lock."""
        with self._db.note() as tx:
            tx.execute(_put(tx.dialect.name), [_row(id, one) for one in fresh])

    def expire(self) -> int:
        """Delete those of requests that no longer run; how many."""
        running = select(r.id).where(PROCESSING)
        with self._db.write() as tx:
            return tx.execute(delete(previews).where(c.request_id.not_in(running))).rowcount


def poll(db: Database, etas: Etas, followed: Mapping[str, RequestState | None], *, positions: bool) -> Poll:
    """The state of up to 30,000 requests, and updates of those whose state differs from the one last seen.

    positions: also of those that are queued, whose position changes though their state doesn't.
    """
    with db.read() as view:
        states = dict(_states(view, [*followed]))
        fresh = {
            id: state
            for id, state in states.items()
            if state != followed[id] or (positions and state.status is Status.QUEUED)
        }
        if not fresh:
            return Poll(states, {})
        found = [Request.of(row) for row in view.execute(REQUESTS, {"ids": [*fresh]})]
        shown = latest(view, [id for id, state in fresh.items() if _has_new_preview(state, followed[id])])
    news = {one.id: RequestUpdate(states[one.id], one, etas.of(one), shown.get(one.id, {})) for one in found}
    return Poll(states, news)


def latest(view: Connection, ids: Sequence[str]) -> dict[str, dict[int, Preview]]:
    """The previews of these requests' present attempts: id → image → preview."""
    if not ids:
        return {}
    found: dict[str, dict[int, Preview]] = {}
    for id, *values in view.execute(LATEST, {"ids": ids}):
        preview = Preview(*values)
        found.setdefault(id, {})[preview.image] = preview
    return found


@cache
def _put(dialect: str) -> Any:
    """Of one image, the latest preview in the place of the one before."""
    row = INSERT[dialect](previews)
    fresh = {name: row.excluded[name] for name in ("attempt", "look", "step", "finished", "jpeg")}
    place = [c.request_id, c.picture]
    return row.on_conflict_do_update(index_elements=place, set_=fresh, where=c.attempt <= row.excluded.attempt)


def _row(id: str, one: Preview) -> dict[str, object]:
    place = {"request_id": id, "picture": one.image, "attempt": one.attempt, "look": one.number}
    return {**place, "step": one.step, "finished": one.finished, "jpeg": one.jpeg}


def _has_new_preview(state: RequestState, seen: RequestState | None) -> bool:
    return state.preview > 0 and (seen is None or (state.attempt, state.preview) != (seen.attempt, seen.preview))


def _states(view: Connection, ids: Sequence[str]) -> Iterator[tuple[str, RequestState]]:
    for id, *state in view.execute(STATES, {"ids": ids}):
        yield id, RequestState(*state)
