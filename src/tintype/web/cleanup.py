"""The cleanup, which runs again and again: what has expired is deleted, and of more images than may be, the oldest."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from heapq import nsmallest

import structlog

from tintype.media.storage import Stored
from tintype.settings.groups import RetentionSettings
from tintype.store.store import Store
from tintype.telemetry.logs import Outage
from tintype.web.files import Files

log = structlog.get_logger()

#: Images that are removed to make room in one run: they are in memory together. A further run removes more.
MAX_OLDEST = 100_000
#: Seconds between two lists of all images, at most, and their part of a record's or image's time. They are listed less
#: often than other files, as there may be very many, and by one process only.
MAX_INTERVAL, PART_OF_TTL = 600.0, 1 / 6
#: Seconds by which a file may be older than its request's end; of a short record's time, as many as that.
SLACK = 5.0


class Cleanup:
    """One per web process; it may run in all of them at the same time."""

    def __init__(self, store: Store, files: Files, retention: RetentionSettings) -> None:
        self._store, self._files, self._retention = store, files, retention
        self._slack = min(SLACK, retention.record_ttl)
        self._over = Outage("images take more than their budget", "images are within their budget again")

    def run(self) -> None:
        """Delete what has expired: records, and files but for those that requests still need."""
        store = self._store
        store.webhooks.outbox.expire()
        store.queue.previews.expire()
        store.ops.preloads.expire()
        store.queue.history.expire()
        store.images.expire()
        store.image_log.expire()
        store.uploads.expire()
        store.delegation.expire()
        store.audit.expire()
        store.queue.expire()
        # Last: a storage that is away delays these until a later run.
        needed = store.queue.needed_inputs()
        self._files.inputs.expire(needed)
        self._files.uploads.expire(needed)
        shortest = min(self._retention.record_ttl, self._retention.image_ttl)
        interval = min(MAX_INTERVAL, PART_OF_TTL * shortest)
        if store.images.claim_listing(max(interval, self._retention.cleanup_interval)):
            self._files.outputs.thin(self._choose)

    def _choose(self, stored: Iterator[Stored]) -> Collection[str]:
        """The images to remove: expired ones, and the oldest of those beyond the budget."""
        pile = Pile(self._spared(), self._retention, self._slack)
        oldest = nsmallest(MAX_OLDEST, pile.sorted_out(stored))
        budget = self._retention.images_budget
        surplus = max(pile.size - budget, self._files.outputs.missing_space()) if budget else 0
        removed = [*_first(oldest, surplus)]
        if removed:
            # A request ends after its files are written, yet mostly before the next one's are.
            following = (one.written for one in oldest[len(removed) : len(removed) + 1])
            self._store.images.make_room(min([removed[-1].written + self._slack, *following]))
        self._tell(pile, removed, surplus)
        # Again: one may have been marked since, as it was still there.
        return {*pile.expired, *(one.name for one in removed)} - self._spared()

    def _spared(self) -> frozenset[str]:
        return self._store.images.kept_names() | self._store.queue.needed_inputs()

    def _tell(self, pile: Pile, removed: Collection[Stored], surplus: int) -> None:
        made = sum(one.size for one in removed)
        if pile.expired or removed:
            log.info("images removed", expired=len(pile.expired), to_make_room=len(removed), bytes=made)
        if surplus > made:
            self._over.failed("the rest is kept by accounts, or its records have not expired")
        else:
            self._over.succeeded()


class Pile:
    """All images, sorted out as they are listed."""

    def __init__(self, spared: Collection[str], retention: RetentionSettings, slack: float) -> None:
        self._spared, self._retention = spared, retention
        self._fresh = retention.record_ttl + slack
        #: Names.
        self.expired: list[str] = []
        #: Bytes of all others.
        self.size = 0

    def sorted_out(self, stored: Iterator[Stored]) -> Iterator[Stored]:
        """Those that may be removed to make room: not those whose record hasn't expired."""
        moment = time.time()
        for one in stored:
            age = moment - one.written
            if one.name not in self._spared and age >= self._retention.file_ttl:
                self.expired.append(one.name)
                continue
            self.size += one.size
            if one.name not in self._spared and age >= self._fresh:
                yield one


def _first(oldest: Collection[Stored], surplus: int) -> Iterator[Stored]:
    """The first of them that have this number of bytes together, or all."""
    for one in oldest:
        if surplus <= 0:
            return
        surplus -= one.size
        yield one
