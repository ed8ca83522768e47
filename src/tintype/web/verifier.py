"""Images whose marks are read, without a key too: one at a time, and apart from what accounts' calls need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import Request as HttpRequest

from tintype.errors import TooSlow
from tintype.media.provenance.detector import Detector
from tintype.media.provenance.findings import Findings
from tintype.media.provenance.verify import Anchors, trusted
from tintype.settings import Settings
from tintype.store.store import Store
from tintype.web.body import Bodies, Sent
from tintype.web.generate.watcher import ConcurrentWaits
from tintype.web.threads import holder, in_thread

#: Images in hand, the one that is read and those that wait for it; and of one caller, so that others have room.
MAX_IMAGES, MAX_PER_CALLER = 9, 5
#: Bodies of the largest size that may be here together: a caller may have one such, or several smaller ones.
MAX_BODIES = 2
#: Seconds for a body to arrive: 25 MB at 3.4 megabits per second. Calls with a key have longer elsewhere.
BODY_TIMEOUT = 60.0
#: In errors.
WORDS = "images to verify", "Wait for the answer to one before you send another"


class Verifier:
    """For one event loop only."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Raises ConfigurationInvalid where the certificates that are trusted can't be read."""
        max_body, inputs = settings.limits.max_body, settings.inputs
        self.bodies = Bodies(per_account=max_body, total=MAX_BODIES * max_body, declared=False, whose="this caller's")
        self._waits = ConcurrentWaits(MAX_PER_CALLER, MAX_IMAGES, WORDS, "one caller")
        self._turn = asyncio.Lock()
        self._detector = Detector(inputs.max_pixels, inputs.decode_timeout)
        self._others = trusted(settings.provenance)
        self._store = store
        self._max_body = max_body

    def close(self) -> None:
        """End its child process."""
        self._detector.close()

    @property
    def in_hand(self) -> int:
        """Images that are read, or wait for that."""
        return self._waits.open

    @asynccontextmanager
    async def body(self, http: HttpRequest) -> AsyncIterator[Sent]:
        """What a call sends; raises what `Bodies.read` does, TooManyRequests and TooSlow."""
        whose = holder(http)
        with self._waits.counted(whose):
            pass  # there would be no room: none of its body is asked for
        async with AsyncExitStack() as stack:
            reading = self.bodies.read(http, whose, max_size=self._max_body)
            try:
                async with asyncio.timeout(BODY_TIMEOUT):
                    sent = await stack.enter_async_context(reading)
            except TimeoutError:
                raise TooSlow(f"The body did not arrive within {BODY_TIMEOUT:g} seconds") from None
            yield sent

    async def read(self, http: HttpRequest, data: bytes) -> Findings:
        """What an image's file says, once it is its turn; raises BadPicture, TooManyRequests, StoreUnavailable."""
        with self._waits.counted(holder(http)):
            async with self._turn:
                return await in_thread(http, partial(self._read, data))

    def _read(self, data: bytes) -> Findings:
        signers = self._store.signers
        found = self._detector.read(data, Anchors.of(signers.list(), self._others), signers.tag())
        return found.with_log(data, self._store.image_log)
