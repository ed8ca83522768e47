"""The writers of one process: they take turns, and those that wait while one writes are committed together with it.

A commit waits for the disk, which takes longer than all that is in it. So a writer that is done while another one waits
doesn't commit: it hands the open transaction over. The last one commits for all of them, and only then does each hear
of its own success, or of its own refusal, which may rest on what the others changed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Histogram
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tintype.errors import PerhapsDone, StoreUnavailable
from tintype.store.db.statements import LATER, execute, execute_waiting
from tintype.telemetry.metrics import Transactions

#: Changes that are committed together at most: PostgreSQL keeps 64 savepoints of a transaction at hand.
MAX_GROUP = 50
#: Seconds after which a transaction takes no further change: other processes wait for the lock.
MAX_HELD = 0.05


@dataclass(frozen=True, slots=True)
class Kind:
    """How a change is made. durable: whether it survives a power cut from its commit on.

    alone: whether nothing else is committed with it: it may take long, and its statements have no timeout.
    """

    durable: bool = True
    alone: bool = False


@dataclass(slots=True, eq=False)
class Change:
    """One of several changes that one thread makes."""

    #: Its statements.
    work: Callable[[Connection], Any]
    #: What `after` adds.
    callbacks: list[Callable[[], None]] = field(default_factory=list)
    #: What its work has returned, or the exception that has undone it.
    outcome: Any = None
    began: float = 0.0


class Group:
    """One transaction under the lock, and the changes that are committed with it."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._until = 0.0
        self._size = 0
        #: What the present writer wants called after the commit, and has PostgreSQL notify: channels and payloads.
        self.callbacks: list[Callable[[], None]] = []
        self.notices: list[tuple[str, str]] = []
        #: Those of all whose changes are to be committed; repetitions are one.
        self._notices: dict[tuple[str, str], None] = {}
        self._over = threading.Event()
        #: Why it is not committed; and whether it may be all the same.
        self._failure: BaseException | None = None
        self._unsure = False

    def begun(self, tx: Connection) -> None:
        """Its transaction has the lock."""
        self._tx = tx
        self._until = time.monotonic() + MAX_HELD

    def takes(self, kind: Kind) -> bool:
        """Whether a change of this kind may be committed with those it has."""
        if self._over.is_set() or self.kind.alone or kind.alone or kind.durable > self.kind.durable:
            return False
        return self._size < MAX_GROUP and time.monotonic() < self._until

    def join(self, callbacks: list[Callable[[], None]]) -> Connection:
        """Begin one change. The first has no savepoint: if it is undone, there is nothing to commit."""
        self.callbacks, self.notices = callbacks, []
        self._size += 1
        if self._size > 1:
            execute(self._tx, f"SAVEPOINT {self._savepoint}")
        return self._tx

    def keep(self) -> None:
        """The change is made, and to be committed."""
        execute_waiting(self._tx)
        self._notices |= dict.fromkeys(self.notices)

    def undo(self, error: BaseException) -> None:
        """Undo the change that has just failed with this error; where that is impossible, all of them."""
        if self._size > 1:
            try:
                self._tx.info[LATER] = []
                execute(self._tx, f"ROLLBACK TO SAVEPOINT {self._savepoint}")
            except BaseException as broken:  # noqa: BLE001 - the connection is, or SQLite has rolled everything back
                self._failure = error if isinstance(error, SQLAlchemyError) else broken
            else:
                return
        self._end(commit=False)

    @property
    def _savepoint(self) -> str:
        """Of the present change alone: where it can't be made, no rollback may find the one of the change before."""
        return f"change_{self._size}"

    def commit(self) -> None:
        """Commit what isn't undone; `outcome` says whether that succeeded."""
        if not self._over.is_set():
            self._end(commit=True)

    def outcome(self, *, undone: bool) -> None:
        """Wait until it is over; raises StoreUnavailable and, to a writer whose change isn't undone, PerhapsDone."""
        self._over.wait()
        if self._unsure and not undone:
            raise PerhapsDone from self._failure
        if isinstance(self._failure, SQLAlchemyError):
            raise StoreUnavailable from self._failure
        if self._failure:
            raise self._failure

    def _end(self, *, commit: bool) -> None:
        """The connection goes back to the pool, where what isn't committed is rolled back."""
        try:
            with self._tx as tx:
                if commit:
                    self._commit(tx)
        except BaseException as error:  # noqa: BLE001 - each of its writers is to hear of it
            # What the database itself refuses, for lack of space say, is not committed.
            self._unsure = commit and isinstance(error, DBAPIError) and error.connection_invalidated
            self._failure = self._failure or error
        finally:
            self._over.set()

    def _commit(self, tx: Connection) -> None:
        try:
            if self._notices:
                driver: Any = tx.connection.driver_connection
                driver.notices = [*self._notices]
            tx.commit()
        except BaseException:
            tx.invalidate()  # SQLite may have left the transaction open
            raise


class Writers:
    """Gives a process's writers their turns, in order of arrival. timeout: seconds that one waits for its turn.

    begin: begins a group's transaction under the lock; raises what the driver raises.
    """

    def __init__(self, begin: Callable[[Group], Connection], timeout: float, times: Transactions) -> None:
        self._begin = begin
        self._timeout = timeout
        self._times = times
        self._lock = threading.Lock()
        self._waiting: deque[_Waiter] = deque()
        self._busy = False

    @contextmanager
    def change(self, kind: Kind, took: Histogram, callbacks: list[Callable[[], None]]) -> Iterator[Connection]:
        """One change: committed at the end of the block, or undone by its exception; raises StoreUnavailable.

        took: observes its seconds, commit included. callbacks: what `after` adds. Raises PerhapsDone.
        """
        with self._times.turn.time():
            group = self._wait_for_turn(kind)
        if group is None:
            group = self._new_group(kind)
        with took.time():
            refusal = None
            try:
                yield group.join(callbacks)
                group.keep()
            except BaseException as error:  # noqa: BLE001 - raised again, once the others' changes are committed
                refusal = error
                group.undo(error)
            self._finish(group)
            group.outcome(undone=refusal is not None)
            if refusal:
                raise refusal

    def change_each(self, kind: Kind, took: Histogram, changes: Sequence[Change]) -> None:
        """Several changes, committed together as far as one group takes them: their `outcome` says what came of each.

        It is as if each had a thread, but none has to be woken for its turn, nor for its outcome.
        """
        made, until = 0, time.monotonic() + self._timeout
        while made < len(changes):
            made += self._change_some(kind, took, changes[made:])
            if made < len(changes) and time.monotonic() > until:
                for late in changes[made:]:
                    late.outcome = self._too_late()
                return

    def _change_some(self, kind: Kind, took: Histogram, changes: Sequence[Change]) -> int:
        """Make the first of them, at least one; how many."""
        try:
            with self._times.turn.time():
                group = self._wait_for_turn(kind)
            group = group or self._new_group(kind)
        except BaseException as error:  # noqa: BLE001 - each is to hear of it: the others would wait as long again
            for one in changes:
                one.outcome = error
            return len(changes)
        made = 0
        for one in changes:
            one.began, one.outcome, made = time.perf_counter(), _make(group, one.work, one.callbacks), made + 1
            if not group.takes(kind):
                break
        self._finish(group)
        for one in changes[:made]:
            one.outcome = _concluded(group, one.outcome)
            took.observe(time.perf_counter() - one.began)
        return made

    def _finish(self, group: Group) -> None:
        """This writer is done: the next one goes on, or what there is is committed."""
        if not self._hand_over(group):
            group.commit()
            self._hand_over(None)

    def _new_group(self, kind: Kind) -> Group:
        group = Group(kind)
        try:
            group.begun(self._begin(group))
        except BaseException:
            self._hand_over(None)
            raise
        return group

    def _wait_for_turn(self, kind: Kind) -> Group | None:
        """Returns with the turn, and the group that it comes with."""
        with self._lock:
            if not self._busy:
                self._busy = True
                return None
            mine = _Waiter(kind)
            self._waiting.append(mine)
        if not mine.called.wait(self._timeout):
            with self._lock:
                if not mine.called.is_set():
                    self._waiting.remove(mine)
                    raise self._too_late()
        return mine.group

    def _too_late(self) -> StoreUnavailable:
        error = StoreUnavailable()
        error.__cause__ = TimeoutError(f"its lock is taken, and wasn't free within {self._timeout:g} s")
        return error

    def _hand_over(self, group: Group | None) -> bool:
        """Give the turn to the next writer, with the group if there is one and it takes the writer's change.

        False where no writer has it now: none waits, or the group has to be committed before.
        """
        with self._lock:
            if self._waiting and (group is None or group.takes(self._waiting[0].kind)):
                next = self._waiting.popleft()
                next.group = group
                next.called.set()
                return True
            self._busy = group is not None
            return False


def _make(group: Group, work: Callable[[Connection], Any], callbacks: list[Callable[[], None]]) -> Any:
    """One change: what its work returns, or the exception that has undone it."""
    try:
        made = work(group.join(callbacks))
        group.keep()
    except BaseException as error:  # noqa: BLE001 - its caller's
        group.undo(error)
        return error
    return made


def _concluded(group: Group, outcome: Any) -> Any:
    """The outcome of a change once its group is over."""
    try:
        group.outcome(undone=isinstance(outcome, BaseException))
    except BaseException as error:  # noqa: BLE001 - its caller's
        return error
    return outcome


@dataclass(slots=True, eq=False)
class _Waiter:
    kind: Kind
    group: Group | None = None
    called: threading.Event = field(default_factory=threading.Event)
