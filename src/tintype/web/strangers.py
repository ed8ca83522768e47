"""Who sent what is no key, or may not do what it asks for: log lines by which an operator, or fail2ban, finds them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog

from tintype.store.accounts.keys import Key

log = structlog.get_logger()

#: Seconds between two lines about one address; lines a second about all of them; addresses that are remembered. So a
#: flood from anywhere fills neither disk nor memory.
PAUSE, MOST_LINES, REMEMBERED = 1.0, 20, 1024


class Strangers:
    """Calls that were turned away, by address, in this process; safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: When the last line about an address was written, and what has failed since.
        self._known: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        #: The second that lines are counted in, and their number.
        self._second, self._lines = 0, 0

    def note(self, client: str, why: str) -> None:
        """One more from this address; what was sent is not told, since it may be a key with a slip in it."""
        self._note("authentication failed", client, why)

    def note_forbidden(self, client: str, why: str, key: Key) -> None:
        """One more that a key may not do; of several keys at one address, the last is named."""
        self._note("not allowed", client, why, account=key.account_id, key_id=key.id, key=key.begins)

    def _note(self, event: str, client: str, why: str, **whose: str) -> None:
        with self._lock:
            times = self._count((event, client))
        if times:
            log.warning(event, client=client, times=times, why=why, **whose)

    def _count(self, client: tuple[str, str]) -> int:
        """How many failures a line written now tells of; 0 where none is to be written."""
        moment = self._clock()
        last, failed = self._known.pop(client, (-PAUSE, 0))
        speaks = moment >= last + PAUSE and self._has_room(int(moment))
        self._known[client] = (moment, 0) if speaks else (last, failed + 1)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return failed + 1 if speaks else 0

    def _has_room(self, second: int) -> bool:
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= MOST_LINES
