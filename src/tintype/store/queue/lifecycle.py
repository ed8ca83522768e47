"""The worker's side of a request: claim it, renew the lease, end it or give it back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Double,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    or_,
    select,
    update,
)

from tintype.store.billing import ledger
from tintype.store.db.database import Database, after, now, read_clock
from tintype.store.db.notify import ring
from tintype.store.db.records import CANCELLED, Failure, Json, LeaseStatus, Progress, Request, Status
from tintype.store.db.tables import api_keys, requests
from tintype.store.ops.time_series import add_end
from tintype.store.queue import inputs
from tintype.store.queue import log as life
from tintype.store.queue.affinity import idle_elsewhere, left_to_others
from tintype.store.queue.eta import learn
from tintype.store.queue.fairness import columns, due, head, lapsed, take_turn
from tintype.store.webhooks.events import announce


class Leases:
    """Requests as workers see them. Every call that names an attempt is fenced: a late worker changes nothing.

    A lease that ran out stays its holder's until another worker claims the request.

    lease: seconds a claim lasts unless renewed. retention: seconds a record is kept after its end.
    max_attempts: claims after which a request is given up, those handed back not counted. warm_wait: seconds for which
    a new request is left to a worker that has its model loaded, and room. discard: is told the name of an input file
    whose request has ended; where it can't remove that at once, a sweep does later.
    """

    def __init__(
        self,
        db: Database,
        *,
        lease: float,
        retention: float,
        max_attempts: int = 3,
        warm_wait: float = 0.0,
        discard: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._db = db
        self._lease = lease
        self._retention = retention
        self._max_attempts = max_attempts
        self._warm_wait = warm_wait
        self._discard = discard

    def claim(
        self,
        worker: str,
        *,
        idle: bool,
        loaded: Collection[str] = (),
        passing_over: Collection[str] = (),
        test: bool = False,
    ) -> Request | None:
        """The request whose turn it is, now this worker's; None when there is none, or all are left to others.

        idle: whether the worker has nothing else in hand. A retry runs alone, so that a request which kills its worker
        takes no others down: while a retry is first in the queue, a worker that isn't idle gets None and drains.
        loaded: slugs of the models that it has loaded; what it has not and another has, it leaves to that for a moment.
        passing_over: accounts that have enough in its hands already.
        test: the requests of test keys instead, which are the stand-in's.
        """
        own = (worker, frozenset(loaded), self._warm_wait, test)
        passed = {"passed": [*passing_over]}
        with self._db.read() as view:  # an empty queue is looked at many times a second: not under the lock
            if not view.scalar(_look(*own), passed):
                return None
        with self._db.write() as tx:
            moment = read_clock(tx)
            self._give_up(tx, moment)
            first = tx.execute(_first(*own), {"moment": moment, **passed}).one_or_none()
            if first is None or (Request.of(first).counted >= 1 and not idle):
                return None
            take_turn(tx, first.account_id, first.key_id)
            request = self._change(tx, first.id, **self._claimed(worker, moment))
            life.claimed(tx, request, first.worker)
            return request

    def renew(self, marks: Sequence[Progress]) -> dict[str, LeaseStatus]:
        """Write the progress of all of a worker's requests and extend their leases; a verdict for each, by id."""
        if not marks:
            return {}
        with self._db.note() as tx:
            moment = read_clock(tx)
            running = {row.id: row for row in tx.execute(_held([mark.id for mark in marks]))}
            mine = [mark for mark in marks if mark.id in running and running[mark.id].attempt == mark.attempt]
            if mine:
                until = {"lease_until": moment + self._lease}
                told = [{"own": mark.id, "at": mark.step, "of": mark.steps} for mark in mine]
                tx.execute(RENEWED.values(until), told)
            lost = {mark.id: LeaseStatus.LOST for mark in marks}
            return lost | {mark.id: _verdict(running[mark.id], moment) for mark in mine}

    def unwanted(self, ids: Sequence[str]) -> set[str]:
        """Those of them that are cancelled or past their deadline: for whoever can't wait for the next renewal."""
        with self._db.read() as view:
            left = or_(columns.cancel_requested, columns.cancel_at <= now())
            return set(view.scalars(select(columns.id).where(columns.id.in_(ids), left)))

    def complete(self, id: str, attempt: int, result: Json, steps: int | None = None) -> bool:
        """End the request as COMPLETED and charge it; `steps` is how many there were, if that was not known.

        False when it was not this attempt's any more, or was cancelled meanwhile: then it ends FAILED, uncharged.
        """
        with self._db.write() as tx:
            request = self._running(tx, id, attempt)
            if request is None:
                return False
            counted = replace(request, steps=request.steps if steps is None else steps)
            self._end(tx, counted, CANCELLED if request.cancel_requested else None, result)
            return not request.cancel_requested

    def fail(self, id: str, attempt: int, error: str, status: int, kind: str | None = None) -> bool:
        """End the request as FAILED, uncharged; False when it was not this attempt's any more."""
        with self._db.write() as tx:
            request = self._running(tx, id, attempt)
            if request is not None:
                self._end(tx, request, Failure(error, status, kind))
            return request is not None

    def end_cancelled(self, held: Sequence[tuple[str, int]]) -> None:
        """End attempts as cancelled, uncharged; all of them in one transaction, so that the disk is waited for once."""
        with self._db.write() as tx:
            for request in self._still_running(tx, held):
                self._end(tx, request, CANCELLED)

    def retry(self, id: str, attempt: int, error: str) -> bool:
        """Queue the request again after a failure that may not repeat; FAILED with this error after the last attempt.

        False when it was not this attempt's any more.
        """
        with self._db.write() as tx:
            request = self._running(tx, id, attempt)
            if request is None:
                return False
            if request.counted >= self._max_attempts and not request.cancel_requested:
                self._end(tx, request, Failure(error, 500))
            else:
                self._requeue(tx, request, "it failed")
            return True

    def hand_back(self, id: str, attempt: int) -> bool:
        """Queue the request again without counting the attempt: the worker stops or has no room; nothing went wrong.

        False when it was not this attempt's any more.
        """
        return self.hand_all_back([(id, attempt)]) == 1

    def hand_all_back(self, held: Sequence[tuple[str, int]]) -> int:
        """The same with many attempts at once, so that the disk is waited for once; how many were still these."""
        with self._db.write() as tx:
            mine = self._still_running(tx, held)
            for request in mine:
                self._requeue(tx, request, "handed back", hand_backs=request.hand_backs + 1)
            return len(mine)

    def idle_elsewhere(self, worker: str, needed: int) -> bool:
        """Whether another worker has nothing in hand, and a memory of so many bytes."""
        with self._db.read() as view:
            return bool(view.scalar(select(exists().where(idle_elsewhere(worker, needed, now())))))

    def pixel_limit(self, key_id: str) -> int | None:
        """The pixels that one request of the key may ask for; None for any number."""
        with self._db.read() as view:
            return view.scalar(select(api_keys.c.max_pixels).where(api_keys.c.id == key_id))

    def _running(self, tx: Connection, id: str, attempt: int) -> Request | None:
        """The fence: the request, if it is this attempt that runs it."""
        mine = (columns.id == id, columns.attempt == attempt, columns.status == Status.PROCESSING)
        row = tx.execute(select(requests).where(*mine)).one_or_none()
        return None if row is None else Request.of(row).at(read_clock(tx))

    def _still_running(self, tx: Connection, held: Sequence[tuple[str, int]]) -> list[Request]:
        """Those of the requests that these attempts run still."""
        return [request for id, attempt in held if (request := self._running(tx, id, attempt))]

    def _claimed(self, worker: str, moment: float) -> dict[str, Any]:
        taken = {"status": Status.PROCESSING, "attempt": columns.attempt + 1, "worker": worker, "step": 0}
        return taken | {"started_at": moment, "lease_until": moment + self._lease}

    def _requeue(self, tx: Connection, request: Request, why: str, **changes: object) -> None:
        if request.cancel_requested:
            self._end(tx, request, CANCELLED)
        else:
            free = {"status": Status.QUEUED, "worker": None, "lease_until": None, "started_at": None, "step": 0}
            self._change(tx, request.id, **free, **changes)
            life.queued_again(tx, request, why)
            ring(tx)

    def _give_up(self, tx: Connection, moment: float) -> None:
        """End what is lost."""
        gave_up = Failure(f"gave up after {self._max_attempts} attempts", 500)
        found = tx.execute(_left_over(self._max_attempts), {"moment": moment}).all()
        for request in (Request.of(row).at(moment) for row in found):
            self._end(tx, request, CANCELLED if request.cancel_requested else gave_up)

    def _end(self, tx: Connection, request: Request, failure: Failure | None, result: Json | None = None) -> None:
        """The only place where a request ends: its state, the account's money and the outbox change together."""
        moment = read_clock(tx)
        ended: dict[str, Any] = {"ended_at": moment, "expires_at": moment + self._retention, "lease_until": None}
        if failure is None:
            cost = ledger.settle(tx, request, (result or {}).get("inference_time", 0.0))
            ended |= {"status": Status.COMPLETED, "result": result, "cost": cost}
            ended |= {"step": request.steps, "steps": request.steps}
            inputs.note_outputs(tx, result or {}, ended["expires_at"])
        else:
            ledger.release(tx, request)
            why = {"error": failure.error, "error_status": failure.status, "error_kind": failure.kind}
            ended |= {"status": Status.FAILED, **why}
        final = self._change(tx, request.id, **ended)
        if unneeded := inputs.let_go(tx, request.id):
            after(tx, partial(self._discard, unneeded))
        announce(tx, final, moment)
        add_end(tx, final)
        life.ended(tx, final)
        learn(tx, final)

    def _change(self, tx: Connection, id: str, **values: Any) -> Request:
        changed = update(requests).where(columns.id == id).values(values).returning(requests)
        return Request.of(tx.execute(changed).one())


#: This moment, in statements that are built once: building one takes longer than having it answered.
MOMENT: BindParameter[float] = bindparam("moment", type_=Double())
#: Accounts that are passed over, in the same. By their keys: the index of claims has no accounts.
PASSED = select(api_keys.c.id).where(api_keys.c.account_id.in_(bindparam("passed", expanding=True)))


def _meant(
    worker: str, loaded: frozenset[str], wait: float, test: bool, moment: ColumnElement[float]
) -> ColumnElement[bool]:
    """What this worker may claim at this moment, but for PASSED."""
    everybody = and_(due(moment, test=test), columns.key_id.not_in(PASSED))
    if test or not wait:
        return everybody
    return and_(everybody, ~left_to_others(worker, loaded, wait, moment))


@lru_cache(16)
def _look(worker: str, loaded: frozenset[str], wait: float, test: bool) -> Select[tuple[bool]]:
    """Whether there is any of it, now."""
    return select(exists().where(_meant(worker, loaded, wait, test, now())))


@lru_cache(16)
def _first(worker: str, loaded: frozenset[str], wait: float, test: bool) -> Select[Any]:
    """The first of it in turn, at MOMENT."""
    return head(_meant(worker, loaded, wait, test, MOMENT))


@lru_cache(16)
def _left_over(max_attempts: int) -> Select[Any]:
    """What is lost, at MOMENT."""
    return select(requests).where(lost(max_attempts, MOMENT)).order_by(columns.id)


def lost(max_attempts: int, moment: ColumnElement[float]) -> ColumnElement[bool]:
    """What is in nobody's hands and will be claimed by nobody: cancelled, past its deadline, or out of attempts."""
    overdue = columns.cancel_at <= moment
    used_up = columns.attempt - columns.hand_backs >= max_attempts
    # Apart, so that a long queue isn't read: what waits was neither cancelled nor is it out of attempts, since
    # `cancel` and `retry` end it then.
    left_behind = and_(lapsed(moment), or_(columns.cancel_requested, used_up, overdue))
    return or_(and_(columns.status == Status.QUEUED, overdue), left_behind)


#: Progress and lease of one request; executed for all of a worker's at once.
RENEWED = update(requests).where(columns.id == bindparam("own")).values(step=bindparam("at"), steps=bindparam("of"))


def _held(ids: Sequence[str]) -> Select[Any]:
    """Those that run, by whatever attempt, locked in one order so that two who want the same don't wait in a circle."""
    fence = (columns.id, columns.attempt, columns.cancel_requested, columns.cancel_at)
    running = select(*fence).where(columns.id.in_(ids), columns.status == Status.PROCESSING)
    return running.order_by(columns.id).with_for_update()


def _verdict(row: Row[Any], moment: float) -> LeaseStatus:
    overdue = row.cancel_at is not None and row.cancel_at <= moment
    return LeaseStatus.CANCEL if row.cancel_requested or overdue else LeaseStatus.KEEP
