"""The queue's two sides: `Queue` for callers and operators, `Leases` for workers. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Self

from sqlalchemy import Connection, and_, bindparam, case, func, literal, select, tuple_

from tintype.core import LoggedFile, Result, Size
from tintype.errors import PerhapsDone, PerhapsQueued, RequestUnknown
from tintype.store.accounts.accounts import remaining
from tintype.store.accounts.keys import Key
from tintype.store.db import measurements
from tintype.store.db.conditions import PROCESSING, QUEUED, UNENDED, kept
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.records import CANCELLED, Failure, LeaseStatus, Progress, Request
from tintype.store.db.statements import Statement
from tintype.store.db.tables import api_keys, inputs, requests
from tintype.store.queue import claim, eta, history, lifecycle, progress, submit
from tintype.store.queue.claim import MAX_BUNCH, Claim, NextClaim
from tintype.store.queue.eta import Demand, Eta, Etas
from tintype.store.queue.history import History
from tintype.store.queue.lifecycle import Held, Rules
from tintype.store.queue.progress import Poll, Previews, RequestState
from tintype.store.queue.submit import NewRequest

columns = requests.c

#: While nothing is queued or running, one call of `end_overdue` in SPARED reads the database.
SPARED = 4


# Built once: building a statement takes longer than running it.
_OWN = select(requests).where(columns.id == bindparam("own"), columns.account_id == bindparam("whose"), kept(now()))
OWN = Statement(_OWN)
FOUND = Statement(_OWN.add_columns(remaining(bindparam("whose", type_=columns.account_id.type)).label("remaining")))
CANCELLED_ONES = select(columns.id).where(
    columns.id.in_(bindparam("held", expanding=True)), lifecycle.is_cancelled(now())
)

#: Seconds until the first of the test requests is due whose time has not come.
TEST_DUE = select(func.min(columns.due_at) - now()).where(QUEUED, columns.test, columns.due_at > now())
PIXEL_LIMIT = select(api_keys.c.max_pixels).where(api_keys.c.id == bindparam("own"))


#: A key's requests by one API that have not ended.
_OF_KEY = (UNENDED, columns.test == bindparam("tests"), columns.key_id == bindparam("own"))
_BY_API = and_(*_OF_KEY, columns.dialect == bindparam("api"))
_WATCHED = func.coalesce(columns.watched_until - now(), 0.0)
#: Of one row alone the whole: the others are only sorted and counted, and there may be thousands.
_FIRST = (
    select(columns.id, func.count().over().label("number"))
    .where(_BY_API)
    .order_by(case((PROCESSING, 0), else_=1), columns.seq)
    .limit(1)
    .subquery()
)
FIRST = Statement(select(requests, _FIRST.c.number, _WATCHED.label("watched")).join(_FIRST, _FIRST.c.id == columns.id))
OLDEST = Statement(select(columns.id).where(_BY_API, ~columns.cancel_requested).order_by(columns.seq))
THOSE = Statement(select(requests).where(columns.id.in_(bindparam("those", expanding=True)), UNENDED))
#: Requests that one transaction cancels: others wait for it.
CANCELLED_TOGETHER = 50


class Current(NamedTuple):
    """The request that a key waits for."""

    request: Request
    eta: Eta
    #: Of the key's by the same API, those that have not ended.
    number: int
    #: Seconds for which previews of it are made at least.
    watched: float


class Found(NamedTuple):
    """A request as a poll of its caller finds it."""

    request: Request
    eta: Eta
    #: Micro-dollars that its account can still spend.
    remaining: int


class Place(NamedTuple):
    """Where a request stands among its account's."""

    submitted_at: float
    seq: int

    @classmethod
    def of(cls, request: Request) -> Self:
        return cls(request.timing.submitted_at, request.seq)


class Queue:
    """Requests as their callers see them, and the queue as operators do. `history` has those of any age."""

    def __init__(self, db: Database, rules: Rules, history: History) -> None:
        self._db = db
        self._rules = rules
        self.history = history
        self.previews = Previews(db)
        self._etas = Etas(db)
        #: Whether anything was queued or running at the last `end_overdue`, or was queued here since; calls spared.
        self._expects, self._spared = True, 0

    def submit(self, new: NewRequest) -> Request:
        """Queue a request and hold its price; or return the one that its idempotency key was sent with before.

        Raises OutOfCredits, TooManyRequests, Forbidden, IdempotencyMismatch, StoreUnavailable: then nothing is queued;
        and PerhapsQueued.
        """
        return self.submitted(new, *self.submit_each([new]))

    def submit_each(self, news: Sequence[NewRequest]) -> list[Request | BaseException]:
        """The same of several, of any accounts, committed together; of each what `submitted` is to be told."""
        try:
            return self._db.write_each([partial(submit.submit, new=new, rules=self._rules) for new in news])
        finally:
            self._expects = True

    def submitted(self, new: NewRequest, outcome: Request | BaseException) -> Request:
        """What `submit` returns or raises, by an outcome of `submit_each`; a refusal may ask the database more."""
        try:
            if isinstance(outcome, submit.Repeated):
                with self._db.write() as tx:
                    return submit.submit_again(tx, new, self._rules)
            if isinstance(outcome, BaseException):
                raise outcome
        except submit.Full as full:  # estimates need no lock
            raise full.refusal(self._etas.first_end(full.which)) from None
        except PerhapsDone as error:
            raise PerhapsQueued.of(new.id, once=new.metadata.idempotency_key is not None) from error.__cause__
        else:
            return outcome
        finally:
            self._expects = True
            del outcome  # its traceback refers to this frame

    def repeated(self, key: Key, idempotency_key: str, fingerprint: str) -> Request | None:
        """The request that the API key sent with this idempotency key, if it did; raises IdempotencyMismatch."""
        with self._db.read() as view:
            return submit.repeated(view, key.id, idempotency_key, fingerprint)

    def find(self, id: str, account_id: str) -> Request:
        """The account's request; raises RequestUnknown where there is none, it has expired, or is another account's."""
        with self._db.read() as view:
            return _own(view, id, account_id)

    def poll_one(self, id: str, account_id: str) -> Found:
        """The same, by one statement, with what its caller asks next; raises RequestUnknown."""
        rows = self._db.ask(FOUND, {"own": id, "whose": account_id})
        if not rows:
            raise RequestUnknown(id)
        row = rows[0]
        request = Request.of(row[:-1])
        return Found(request, self._etas.of(request), row.remaining)

    def recent(self, account_id: str, size: int, place: Place | None = None, *, newer: bool = False) -> list[Request]:
        """The account's newest requests that have a record, at most `size`, the newest first.

        Those before a place or, if `newer`, the first ones after it.
        """
        order = columns.submitted_at, columns.seq
        wanted = select(requests).where(columns.account_id == account_id, kept(now()))
        if place is not None:
            here, there = tuple_(*order), tuple_(*map(literal, place))
            wanted = wanted.where(here > there if newer else here < there)
        wanted = wanted.order_by(*(one if newer else one.desc() for one in order)).limit(size)
        with self._db.read() as view:
            found = [*map(Request.of, view.execute(wanted))]
        return found[::-1] if newer else found

    def current(self, key: Key, dialect: str) -> Current | None:
        """Of the key's requests by this API the one that runs, else the oldest; None where all have ended."""
        rows = self._db.ask(FIRST, {"own": key.id, "tests": key.test, "api": dialect})
        if not rows:
            return None
        *values, number, watched = rows[0]
        request = Request.of(values)
        return Current(request, self._etas.of(request), number, watched)

    def cancel_own(self, key: Key, dialect: str, limit: int | None = None) -> None:
        """Cancel the key's requests by this API that have not ended, the oldest first; up to `limit`."""
        found = self._db.ask(OLDEST, {"own": key.id, "tests": key.test, "api": dialect})
        ids = [id for (id,) in found[:limit]]
        for begin in range(0, len(ids), CANCELLED_TOGETHER):
            with self._db.write() as tx:
                for row in THOSE.all(tx, {"those": ids[begin : begin + CANCELLED_TOGETHER]}):
                    lifecycle.cancel(tx, Request.of(row), self._rules)

    def cancel(self, id: str, account_id: str) -> Request:
        """End a queued request; have a running one's worker stop it, by its next renewal; leave an ended one.

        Returns the request after that; raises RequestUnknown as `find` does.
        """
        with self._db.write() as tx:
            return lifecycle.cancel(tx, _own(tx, id, account_id), self._rules)

    def duration(self, speed_key: str, steps: int) -> float | None:
        """Seconds that `steps` take on an idle server; None when nothing was measured yet."""
        step = self._etas.speeds.step(speed_key)
        return None if step is None else round(step * steps, 2)

    def measured(self, slug: str) -> dict[str, float]:
        """Seconds of an evaluation of the model, by speed key without the slug."""
        return self._etas.speeds.of_model(slug)

    def ended(self, ids: Sequence[str]) -> dict[str, Request]:
        """Those of up to 30,000 requests that have ended, by id, in one statement."""
        with self._db.read() as view:
            found = [Request.of(row) for row in view.execute(progress.REQUESTS, {"ids": [*ids]})]
        return {request.id: request for request in found if request.ended}

    def unended(self, ids: Sequence[str]) -> set[str]:
        """Those of up to 30,000 requests that haven't ended, in one statement."""
        with self._db.read() as view:
            found = view.execute(progress.STATUSES, {"ids": [*ids]})
            return {id for id, status in found if not status.ended}

    def poll(self, followed: Mapping[str, RequestState | None], *, positions: bool) -> Poll:
        """The state of requests that clients follow, and updates of those with news: `progress.poll`."""
        return progress.poll(self._db, self._etas, followed, positions=positions)

    def depth(self) -> tuple[int, int, float | None]:
        """Live requests that are queued and that run, and the seconds of the longest wait; None where none waits.

        A request that a dead worker left behind counts as running until another one takes it.
        """
        live = select(func.count(), func.min(columns.submitted_at)).where(~columns.test)
        with self._db.read() as view:
            queued, oldest = view.execute(live.where(QUEUED)).one()
            running, _ = view.execute(live.where(PROCESSING)).one()
            return queued, running, None if oldest is None else max(0.0, read_clock(view) - oldest)

    def demand(self) -> Demand:
        """The work that live requests ask for, for the autoscaler."""
        with self._db.read() as view:
            return eta.demand(view)

    def pause(self) -> float:
        """Pause the queue, unless it is paused; since when it is, in unix seconds."""
        with self._db.write() as tx:
            return claim.pause(tx)

    def resume(self) -> None:
        """Resume the queue, if it is paused."""
        with self._db.write() as tx:
            claim.resume(tx)

    def paused_since(self) -> float | None:
        """Since when the queue is paused, in unix seconds; None while it is not."""
        with self._db.read() as view:
            return claim.paused_since(view)

    def end_overdue(self) -> None:
        """End queued and abandoned requests that no worker will finish; running ones end by their next renewal.

        And fold the journal of those that have ended. To be called each second. While nothing could be overdue, few of
        the calls read the database.
        """
        self._spared = 0 if self._expects else (self._spared + 1) % SPARED
        if self._spared:
            return
        self._expects = False  # before the read: what is queued meanwhile sets it again
        with self._db.read() as view:  # often, and mostly for nothing: not under the lock
            overdue, unended, unfolded = lifecycle.overdue(view, self._rules)
        self._expects |= unended
        if overdue:
            with self._db.write() as tx:
                lifecycle.give_up(tx, read_clock(tx), self._rules)
        if unfolded:
            with self._db.write() as tx:
                measurements.fold(tx)

    def needed_inputs(self) -> frozenset[str]:
        """The names of the files that requests which have not ended need as their input images."""
        with self._db.read() as view:
            rows = view.execute(select(inputs.c.name, inputs.c.further)).all()
        return frozenset(name for row in rows for name in (row.name, *(row.further or "").split()))

    def input_size(self, id: str) -> Size | None:
        """Width and height in pixels of a request's input image, where that is stored here and it has not ended.

        None too where they were never noted.
        """
        size = select(inputs.c.width, inputs.c.height).where(inputs.c.request_id == id)
        with self._db.read() as view:
            row = view.execute(size).one_or_none()
        return None if row is None or row.width is None else (row.width, row.height)

    def expire(self, before: float | None = None) -> int:
        """Clean up: move expired records to the history, and what `history.expire` does; how many records."""
        with self._db.write(no_timeout=True) as tx:
            return history.expire(tx, self._rules, before)


class Leases:
    """Requests as workers see them. Every call that names an attempt is fenced: a late worker changes nothing."""

    def __init__(self, db: Database, rules: Rules) -> None:
        self._db = db
        self._rules = rules
        #: After which a request is given up.
        self.max_attempts = rules.max_attempts

    def claim(
        self,
        worker: str,
        *,
        idle: bool,
        loaded: Collection[str] = (),
        passing_over: Collection[str] = (),
        test: bool = False,
    ) -> Request | None:
        """The next request in claim order, now this worker's; None when there is none, or all are left to others.

        The arguments are those of `Claim`.
        """
        asked = Claim(worker=worker, idle=idle, loaded=frozenset(loaded), passing_over=passing_over, test=test)
        return next(iter(self.claim_bunch(lambda _: asked, 1)), None)

    def claim_bunch(self, following: NextClaim, limit: int = MAX_BUNCH) -> Sequence[Request]:
        """The next requests in claim order, now this worker's, in one transaction; none where all are left to others.

        following: says what to claim after the request that it is told, if any, or None for nothing more; it is called
        under the lock. At most `limit`; where there are fewer than it asks for, there are no more.
        """
        first = following(None)
        if first is None:
            return []
        found = claim.claimable(self._db, first, self._rules, limit)
        if not found.number:
            return []
        with self._db.write() as tx:
            return claim.claim(tx, following, found, self._rules)

    def test_due(self) -> float | None:
        """Seconds until a request of a test key is claimable that is not yet; None where none is delayed."""
        with self._db.read() as view:
            return view.scalar(TEST_DUE)

    def renew(self, progress: Sequence[Progress]) -> dict[str, LeaseStatus]:
        """Write the progress of all of a worker's requests and extend their leases; a status for each, by id."""
        if not progress:
            return {}
        with self._db.note() as tx:
            return lifecycle.renew(tx, progress, self._rules)

    def cancelled(self, ids: Sequence[str]) -> set[str]:
        """Those of them that are cancelled or past their deadline: to learn of it before the next renewal."""
        with self._db.read() as view:
            return set(view.scalars(CANCELLED_ONES, {"held": ids}))

    def complete(
        self, id: str, attempt: int, result: Result, steps: int | None = None, files: Sequence[LoggedFile] = ()
    ) -> bool:
        """End the request as COMPLETED and charge it; `steps` is how many there were, if that was not known.

        files: what is noted in the log of images.
        False when it is no longer this attempt's, or was cancelled meanwhile: then it ends FAILED, uncharged.
        """
        with self._db.write() as tx:
            return lifecycle.complete(tx, id, attempt, result, self._rules, steps, files)

    def fail(self, id: str, attempt: int, error: str, status: int, kind: str | None = None) -> bool:
        """End the request as FAILED, uncharged; False when it is no longer this attempt's."""
        with self._db.write() as tx:
            return lifecycle.fail(tx, id, attempt, Failure(error, status, kind), self._rules)

    def end_cancelled(self, held: Sequence[Held]) -> None:
        """End attempts as cancelled, uncharged; all of them in one transaction."""
        with self._db.write() as tx:
            for id, attempt in held:
                lifecycle.fail(tx, id, attempt, CANCELLED, self._rules)

    def retry(self, id: str, attempt: int, error: str) -> bool:
        """Queue the request again after a failure that may not repeat; FAILED with this error after the last attempt.

        False when it is no longer this attempt's.
        """
        with self._db.write() as tx:
            return lifecycle.retry(tx, id, attempt, error, self._rules)

    def hand_back(self, id: str, attempt: int) -> bool:
        """Queue the request again without counting the attempt: its worker stops or has no room; nothing went wrong.

        False when it is no longer this attempt's.
        """
        return self.hand_all_back([(id, attempt)]) == 1

    def hand_all_back(self, held: Sequence[Held]) -> int:
        """The same of several, in one transaction; how many were still these attempts'."""
        with self._db.write() as tx:
            return sum(lifecycle.hand_back(tx, id, attempt, self._rules) for id, attempt in held)

    def idle_elsewhere(self, worker: str, needed: int) -> bool:
        """Whether another worker has nothing in hand, and `needed` bytes of memory for weights and activations."""
        with self._db.read() as view:
            return claim.idle_elsewhere(view, worker, needed)

    def pixel_limit(self, key_id: str) -> int | None:
        """The pixels that one request of the key may ask for; None for any number."""
        with self._db.read() as view:
            return view.scalar(PIXEL_LIMIT, {"own": key_id})


def _own(view: Connection, id: str, account_id: str) -> Request:
    row = OWN.first(view, {"own": id, "whose": account_id})
    if row is None:
        raise RequestUnknown(id)
    return Request.of(row)
