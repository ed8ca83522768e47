"""Keys that were found by their secrets, cached for seconds, so that most calls are authenticated without a statement.

Every change of what a key may do adds 1 to the counter CHANGES of the database. While calls come in, one of them reads
it each CHECK seconds, with its own key; that makes what was cached before a change invalid, in every process, in less
than a second. A process of an earlier version, as during an upgrade, changes keys without counting that: its changes
are seen within TTL.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tintype.store.accounts.keys import Key

#: The counter's key.
CHANGES = "key_changes"
#: Seconds since the counter was last read: after CHECK, one call reads it while others go on; after LATE, each does.
CHECK, LATE = 0.5, 0.9
#: Seconds for which a key is cached, and how many are.
TTL, MAX_KEYS = 5.0, 4096


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key as it was found by a secret."""

    key: Key
    #: Whether by the secret before the last rotation.
    replaced: bool
    #: The database's clock, in unix seconds, and its counter of changes.
    moment: float
    version: float

    def works(self, moment: float) -> bool:
        """Whether the secret works at this moment, in unix seconds."""
        return self.key.state(moment) == "in force" and not (self.replaced and (self.key.old_until or 0) <= moment)


class KeyCache:
    """The keys of a process by the digests of their secrets, the least recently used first. Threads share it.

    The database is asked about a secret that doesn't work each time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: With the moment, on this clock, until which each may be used.
        self._known: OrderedDict[str, tuple[FoundKey, float]] = OrderedDict()
        #: When the read began that found this counter of changes, and this difference between the database's clock and
        #: ours; when a call last set out to read it again; when this process itself last changed a key.
        self._checked = self._asked = self._changed = float("-inf")
        self._version = self._ahead = 0.0

    def get(self, digest: str) -> Key | None:
        """The key, as it was read up to TTL seconds ago, `spent` among it; None where the database must be asked."""
        moment = self._clock()
        with self._lock:
            found, until = self._known.get(digest, (None, 0.0))
            age = moment - self._checked
            if found is None or found.version != self._version or moment >= until or age >= LATE:
                return None
            if age >= CHECK and self._asked <= self._checked:
                self._asked = moment
                return None
            self._known.move_to_end(digest)
            return found.key if found.works(moment + self._ahead) else None

    def put(self, digest: str, found: FoundKey, began: float) -> None:
        """Cache what was found, whether or not it works, by a read that began at this moment of our clock."""
        with self._lock:
            if began <= self._changed:
                return
            if began > self._checked:
                self._checked, self._version, self._ahead = began, found.version, found.moment - began
            self._known[digest] = found, began + TTL
            self._known.move_to_end(digest)
            if len(self._known) > MAX_KEYS:
                self._known.popitem(last=False)

    def now(self) -> float:
        """The moment on our clock."""
        return self._clock()

    def forget(self) -> None:
        """This process has changed a key: its next call must see that."""
        with self._lock:
            self._changed = self._clock()
            self._known.clear()
