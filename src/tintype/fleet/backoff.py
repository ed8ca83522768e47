"""When something that ended may be started again: at once if it lived long, ever later if it dies young."""

from __future__ import annotations

import time

#: Seconds from one start to the next: doubled each time that it dies young, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: What lived this many seconds was healthy.
HEALTHY = 60.0


class Backoff:
    """The pauses between the starts of one thing."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._pause = FIRST_PAUSE

    @property
    def over(self) -> bool:
        """Whether it may be started now."""
        return self._started is None or time.monotonic() >= self._started + self._pause

    def start(self) -> None:
        """Note that it is started."""
        before, self._started = self._started, time.monotonic()
        if before is not None:
            lived = self._started - before
            self._pause = FIRST_PAUSE if lived > HEALTHY else min(2 * self._pause, LONGEST_PAUSE)
