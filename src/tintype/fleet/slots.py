"""Places for worker processes on this machine, which stay empty once an operator has drained them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from tintype.errors import StoreUnavailable
from tintype.fleet.children import Child, Children
from tintype.store.db.database import Database
from tintype.store.ops.processes import Workers, new_id

#: Seconds between looks whether a worker that was drained is recalled.
RECALL = 1.0


class Slot(Child):
    """One place for a worker, which stays empty once its worker was drained, until an operator recalls it.

    prefix: how the names begin that its workers have in the store.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], workers: Workers, prefix: str = "") -> None:
        super().__init__("worker", command, env)
        self.workers = workers
        self.prefix = prefix
        #: What the worker is called in the store.
        self.id = ""
        #: When it was last asked whether the worker that ended was drained.
        self.asked = 0.0

    def end(self, patience: float) -> None:
        """Wait for it as any child is waited for, and forget it, whatever it was told."""
        super().end(patience)
        with suppress(StoreUnavailable):  # it only stays in a list for longer
            self.workers.remove(self.id)

    def _may_return(self) -> bool:
        if time.monotonic() < self.asked + RECALL:
            return False
        self.asked = time.monotonic()
        return not self.workers.is_drained(self.id)

    def _start(self, further: Sequence[str]) -> None:
        self.id = self.prefix + new_id()
        super()._start([*further, "--id", self.id])


@contextmanager
def worker_slots(
    commands: Sequence[Sequence[str]], env: Mapping[str, str], grace: float, database: str, prefix: str = ""
) -> Iterator[list[Slot]]:
    """One worker per command, kept alive while the block lasts; `database` is their store's URL."""
    db = Database(database, process="fleet")
    slots = [Slot(command, env, Workers(db), prefix) for command in commands]
    with Children(slots, grace):
        yield slots
    db.close()
