"""The state of requests that clients follow, and previews: as many statements for hundreds as for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from tintype.store.db.conditions import PROCESSING
from tintype.store.db.database import Database, now
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import previews, requests
from tintype.store.queue.eta import Eta, etas

c, r = previews.c, requests.c


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
            tx.execute(update(requests).where(r.id.in_(ids)).values(watched_until=now() + seconds))

    def followed(self, ids: Sequence[str]) -> set[str]:
        """Those of the requests that a client follows."""
        if not ids:
            return set()
        with self._db.read() as view:
            return set(view.scalars(select(r.id).where(r.id.in_(ids), r.watched_until > now())))

    def put(self, id: str, fresh: Sequence[Preview]) -> None:
        """Store the latest of some of a request's images."""
        with self._db.write() as tx:
            for one in fresh:
                tx.execute(delete(previews).where(c.request_id == id, c.picture == one.image))
                row = insert(previews).values(
                    request_id=id,
                    picture=one.image,
                    attempt=one.attempt,
                    look=one.number,
                    step=one.step,
                    finished=one.finished,
                    jpeg=one.jpeg,
                )
                tx.execute(row)

    def expire(self) -> int:
        """Delete those of requests that no longer run; how many."""
        running = select(r.id).where(PROCESSING)
        with self._db.write() as tx:
            return tx.execute(delete(previews).where(c.request_id.not_in(running))).rowcount


def poll(view: Connection, followed: Mapping[str, RequestState | None], *, positions: bool) -> Poll:
    """The state of up to 30,000 requests, and updates of those whose state differs from the one last seen.

    positions: also of those that are queued, whose position changes though their state doesn't.
    """
    states = dict(_states(view, [*followed]))
    fresh = {
        id: state
        for id, state in states.items()
        if state != followed[id] or (positions and state.status is Status.QUEUED)
    }
    if not fresh:
        return Poll(states, {})
    found = [Request.of(row) for row in view.execute(select(requests).where(r.id.in_(fresh)))]
    with_previews = [id for id, state in fresh.items() if _has_new_preview(state, followed[id])]
    ahead, shown = etas(view, found), latest(view, with_previews)
    return Poll(
        states, {one.id: RequestUpdate(states[one.id], one, ahead[one.id], shown.get(one.id, {})) for one in found}
    )


def latest(view: Connection, ids: Sequence[str]) -> dict[str, dict[int, Preview]]:
    """The previews of these requests' present attempts: id → image → preview."""
    if not ids:
        return {}
    of_attempt = previews.join(requests, (r.id == c.request_id) & (r.attempt == c.attempt))
    columns = (c.attempt, c.look, c.picture, c.step, c.jpeg, c.finished)
    rows = select(c.request_id, *columns).select_from(of_attempt).where(c.request_id.in_(ids)).order_by(c.look)
    found: dict[str, dict[int, Preview]] = {}
    for id, *values in view.execute(rows):
        preview = Preview(*values)
        found.setdefault(id, {})[preview.image] = preview
    return found


def _has_new_preview(state: RequestState, seen: RequestState | None) -> bool:
    return state.preview > 0 and (seen is None or (state.attempt, state.preview) != (seen.attempt, seen.preview))


def _states(view: Connection, ids: Sequence[str]) -> Iterator[tuple[str, RequestState]]:
    number = select(func.coalesce(func.max(c.look), 0)).where(c.request_id == r.id, c.attempt == r.attempt)
    states = select(r.id, r.status, r.attempt, r.step, number.scalar_subquery())
    for id, *state in view.execute(states.where(r.id.in_(ids))):
        yield id, RequestState(*state)
