"""What a web process has in memory, one of each: its limits and what counts towards them, its metrics, its phase."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from tintype.catalog.blocked import BlockedPhrases
from tintype.catalog.spec import Tariff
from tintype.hub.registry import Registry
from tintype.media.storage import open_storage
from tintype.settings import Settings
from tintype.store.billing.ledger import tariff
from tintype.store.db.notify import can_wake
from tintype.store.store import Store
from tintype.telemetry.exposition import Metrics
from tintype.telemetry.traces import Tracing, open_tracing
from tintype.web.body import Bodies
from tintype.web.clients import DenialLog
from tintype.web.generate.watcher import DOWNLOADS, ConcurrentWaits, Watcher
from tintype.web.readiness import STORAGE_TIMEOUT, Readiness
from tintype.web.shutdown import Shutdown
from tintype.web.threads import Threads
from tintype.web.verifier import Verifier

#: Concurrent downloads of several images, of one account and of all: each has some hundred kilobytes in memory.
ACCOUNT_DOWNLOADS, MAX_DOWNLOADS = 2, 32


@dataclass(frozen=True)
class Runtime:
    """What isn't durable. For one event loop, but for what says that threads share it."""

    settings: Settings
    registry: Registry
    #: By slug: the operator's own prices, or the catalogue's; nothing without billing.
    tariffs: Mapping[str, Tariff]
    threads: Threads
    bodies: Bodies
    #: Images whose marks are read, for callers without a key too.
    verifier: Verifier
    waits: ConcurrentWaits
    #: Calls that download several images.
    downloads: ConcurrentWaits
    watcher: Watcher
    denials: DenialLog
    metrics: Metrics
    tracing: Tracing
    #: Phrases that prompts are refused for.
    blocked: BlockedPhrases
    shutdown: Shutdown
    readiness: Readiness
    #: Requests whose calls have ended, to be cancelled once the database is back: their accounts by id.
    abandoned: dict[str, str] = field(default_factory=dict)
    #: When this process started, in unix seconds.
    started_at: float = field(default_factory=time.time)
    #: Set when a test key's request has been queued, for the fake worker.
    test_accepted: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(cls, settings: Settings, registry: Registry, store: Store, shutdown: Shutdown, name: str) -> Self:
        """name: the server's in the database, and in traces."""
        # Its own, with a short timeout: readiness is answered before a slow storage is.
        probed = open_storage(settings.storage, settings.outputs_folder, settings.retention.file_ttl, STORAGE_TIMEOUT)
        prices, billed = registry.prices, settings.billing.enabled
        snapshot = partial(store.ops.metrics, registry.catalogue)
        return cls(
            settings=settings,
            registry=registry,
            tariffs={slug: tariff(spec, prices.get(slug), billing=billed) for slug, spec in registry.catalogue.items()},
            threads=Threads(),
            bodies=Bodies(per_account=settings.limits.account_bodies, total=settings.limits.bodies),
            verifier=Verifier(settings, store),
            waits=ConcurrentWaits(settings.limits.account_waits, settings.limits.waits),
            downloads=ConcurrentWaits(ACCOUNT_DOWNLOADS, MAX_DOWNLOADS, DOWNLOADS),
            watcher=_watcher(settings, store, shutdown),
            denials=DenialLog(),
            metrics=Metrics(snapshot, [store.db.times], {"database": store.db.kind}, settings.data),
            tracing=open_tracing(settings.telemetry.traces, "web", name),
            blocked=BlockedPhrases.read(settings.safety.blocked_prompts),
            shutdown=shutdown,
            readiness=Readiness(store, probed, shutdown, settings.queue.heartbeat),
        )


def _watcher(settings: Settings, store: Store, shutdown: Shutdown) -> Watcher:
    queue = settings.queue
    notified = queue.poll_with_notify if can_wake(store.db) else queue.poll
    return Watcher(
        store.queue, shutdown, follow_poll=settings.web.events_poll, poll=queue.poll, poll_with_notify=notified
    )
