"""How many requests stand at one moment, in as many statements for hundreds as for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from tintype.store.database import Database
from tintype.store.outlook import Outlook, outlooks
from tintype.store.records import Request, Status
from tintype.store.tables import previews, requests

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
            return Look(states, _whole(view, fresh) if fresh else {})


def _states(view: Connection, ids: Sequence[str]) -> Iterator[tuple[str, State]]:
    latest = select(func.coalesce(func.max(p.look), 0)).where(p.request_id == c.id, p.attempt == c.attempt)
    for id, *state in view.execute(
        select(c.id, c.status, c.attempt, c.step, latest.scalar_subquery()).where(c.id.in_(ids))
    ):
        yield id, State(*state)


def _whole(view: Connection, states: Mapping[str, State]) -> dict[str, Seen]:
    found = [Request.of(row) for row in view.execute(select(requests).where(c.id.in_(states)))]
    ahead = outlooks(view, found)
    return {request.id: Seen(states[request.id], request, ahead[request.id]) for request in found}
