"""How many requests stand at one moment, in as many statements for hundreds as for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from tintype.store.db.database import Database
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import previews, requests
from tintype.store.queue.eta import Outlook, outlooks
from tintype.store.queue.previews import Preview, latest

c, p = requests.c, previews.c


class State(NamedTuple):
    """What tells that there is news of a request."""

    status: Status
    attempt: int
    step: int
    #: The number of the attempt's latest preview; 0 for none.
    look: int

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in (Status.COMPLETED, Status.FAILED)


class Seen(NamedTuple):
    """A request as it was at a look."""

    state: State
    request: Request
    outlook: Outlook
    #: The latest preview of each of its pictures, where there are new ones.
    previews: Mapping[int, Preview]

    def after(self, before: Seen | None) -> Seen:
        """With the previews of an earlier look that nobody was told of."""
        if before is None or before.state.attempt != self.state.attempt:
            return self
        return self._replace(previews={**before.previews, **self.previews})


class Look(NamedTuple):
    """What a look found: how each request stands that is still there, and the whole of those with news."""

    states: Mapping[str, State]
    news: Mapping[str, Seen]


class Looks:
    """Looks at requests that somebody waits for or follows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def look(self, waited: Sequence[str], followed: Mapping[str, State | None], *, places: bool) -> Look:
        """How requests stand; the whole of those followed that stand differently than they did when last seen.

        places: also of those that are queued, whose place changes though they don't. Up to 30,000 ids in all.
        """
        with self._db.read() as view:
            states = dict(_states(view, [*{*waited, *followed}]))
            fresh = {
                id: state
                for id, state in states.items()
                if id in followed and (state != followed[id] or (places and state.status is Status.QUEUED))
            }
            looks = [id for id, state in fresh.items() if _shows(state, followed[id])]
            return Look(states, _whole(view, fresh, looks) if fresh else {})


def _shows(state: State, seen: State | None) -> bool:
    """Whether there are previews that were not there when it was last seen."""
    return state.look > 0 and (seen is None or state[1::2] != seen[1::2])


def _states(view: Connection, ids: Sequence[str]) -> Iterator[tuple[str, State]]:
    look = select(func.coalesce(func.max(p.look), 0)).where(p.request_id == c.id, p.attempt == c.attempt)
    stands = select(c.id, c.status, c.attempt, c.step, look.scalar_subquery())
    for id, *state in view.execute(stands.where(c.id.in_(ids))):
        yield id, State(*state)


def _whole(view: Connection, states: Mapping[str, State], looks: Sequence[str]) -> dict[str, Seen]:
    found = [Request.of(row) for row in view.execute(select(requests).where(c.id.in_(states)))]
    ahead, shown = outlooks(view, found), latest(view, looks)
    return {one.id: Seen(states[one.id], one, ahead[one.id], shown.get(one.id, {})) for one in found}
