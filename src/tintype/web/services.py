"""What the routes use: the store, the files and the settings, put together once per server."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from fastapi import Request as HttpRequest

from tintype.catalog.blocked import BlockedPhrases
from tintype.catalog.spec import ModelSpec, Tariff
from tintype.errors import NotFound, StoreUnavailable
from tintype.hub.registry import Registry
from tintype.media.images import check
from tintype.media.storage import Storage, open_storage
from tintype.settings import Settings
from tintype.store.billing.ledger import tariff
from tintype.store.ops.processes import WorkerRow
from tintype.store.store import Store
from tintype.telemetry.exposition import Metrics
from tintype.telemetry.traces import Tracing, open_tracing
from tintype.web.body import Bodies
from tintype.web.clients import DenialLog
from tintype.web.generate.watcher import ConcurrentWaits, Watcher
from tintype.web.readiness import STORAGE_TIMEOUT, Readiness
from tintype.web.shutdown import Shutdown
from tintype.web.threads import Threads

#: Seconds that a signed address of an image works: enough to follow it.
SIGNED_FOR = 300.0
#: Timeout in seconds of a call to a storage that is away: it occupies a thread meanwhile, of which there are few.
CALLERS_TIMEOUT = 5.0


@dataclass(frozen=True)
class Services:
    """One of each per server."""

    settings: Settings
    registry: Registry
    store: Store
    #: What the database knows this server as; empty where it isn't told of it.
    name: str
    inputs: Storage
    outputs: Storage
    uploads: Storage
    waits: ConcurrentWaits
    watcher: Watcher
    denials: DenialLog
    bodies: Bodies
    threads: Threads
    metrics: Metrics
    tracing: Tracing
    #: Phrases that prompts are refused for.
    blocked: BlockedPhrases
    #: Set when a test key's request has been queued here, for the fake worker.
    test_accepted: threading.Event
    shutdown: Shutdown
    readiness: Readiness

    @classmethod
    def open(cls, settings: Settings, registry: Registry, shutdown: Shutdown, name: str = "") -> Services:
        """Connect to what the settings name; the database must have been migrated."""
        files, ttl = partial(open_storage, settings.storage), settings.retention
        inputs = files(settings.inputs_folder, ttl.input_ttl, CALLERS_TIMEOUT)
        store = Store.open(settings, process="web", discard=inputs.discard)
        # Its own, with a short timeout: readiness is answered before a slow storage is.
        probed = files(settings.outputs_folder, ttl.effective_output_ttl, STORAGE_TIMEOUT)
        return cls(
            settings=settings,
            registry=registry,
            store=store,
            name=name,
            inputs=inputs,
            outputs=files(settings.outputs_folder, ttl.effective_output_ttl, CALLERS_TIMEOUT),
            uploads=files(settings.assets_folder, ttl.upload_ttl, CALLERS_TIMEOUT),
            waits=ConcurrentWaits(settings.limits.account_waits, settings.limits.waits),
            watcher=Watcher(store.queue, settings.web.events_poll, shutdown),
            denials=DenialLog(),
            threads=Threads(),
            bodies=Bodies(per_account=settings.limits.account_bodies, total=settings.limits.bodies),
            metrics=Metrics(
                partial(store.ops.metrics, registry.catalogue),
                [store.db.times],
                {"database": store.db.kind},
                settings.data,
            ),
            tracing=open_tracing(settings.telemetry.traces, "web", name),
            blocked=BlockedPhrases.read(settings.safety.blocked_prompts),
            test_accepted=threading.Event(),
            shutdown=shutdown,
            readiness=Readiness(store, probed, shutdown),
        )

    def price(self, spec: ModelSpec) -> Tariff:
        """A model's price: the operator's own, or the catalogue's; nothing without billing."""
        return tariff(spec, self.registry.prices.get(spec.slug), billing=self.settings.billing.enabled)

    def find_file(self, name: str) -> tuple[Storage, int]:
        """Where a finished or uploaded image of that unguessable name is, and its bytes; raises NotFound."""
        try:
            return self.outputs, self.outputs.size(name)
        except NotFound:
            return self.uploads, self.uploads.size(name)

    def file_size(self, name: str) -> tuple[int, int]:
        """Width and height in pixels of such an image; raises NotFound, and BadPicture for what is none.

        Its file is read only where they were not noted: by an earlier version, or until its request's record expired.
        """
        size = self.store.uploads.size_of(name)
        place, _ = self.find_file(name)
        return check(place.get(name), self.settings.inputs.max_pixels) if size is None else size

    def file_address(self, name: str) -> str | None:
        """Where the storage serves that image itself, if the operator has enabled that; raises NotFound."""
        if not self.settings.storage.redirect:
            return None
        try:
            return self.outputs.signed_url(name, SIGNED_FOR)
        except NotFound:
            return self.uploads.signed_url(name, SIGNED_FOR)

    def heartbeat(self) -> None:
        self.store.ops.servers.heartbeat(self.name, self.registry.identities)

    def leave(self) -> None:
        """Note that it stops."""
        with suppress(StoreUnavailable):  # it counts as gone soon
            self.store.ops.servers.leave(self.name)

    def has_worker(self) -> bool:
        """Whether a worker that takes requests is alive."""
        return bool(self.taking())

    def taking(self) -> list[WorkerRow]:
        """The workers that are alive and take requests."""
        return [worker for worker in self._alive() if worker.takes]

    def _alive(self) -> list[WorkerRow]:
        return self.store.ops.workers.alive(max(5.0, 10 * self.settings.queue.heartbeat))

    def paused(self) -> list[WorkerRow]:
        """The workers that are alive, and would take requests if their storage could be used."""
        return [worker for worker in self._alive() if worker.paused and worker.drain_at is None]

    def cleanup(self) -> None:
        """Delete what has expired: records, and files but for those that requests still need."""
        store = self.store
        store.webhooks.outbox.expire()
        store.queue.previews.expire()
        store.ops.preloads.expire()
        store.queue.history.expire()
        store.uploads.expire()
        store.delegation.expire()
        store.audit.expire()
        store.queue.expire()
        # Last: a storage that is away delays these until a later cleanup.
        needed = store.queue.needed_inputs()
        for files in (self.outputs, self.inputs, self.uploads):
            files.expire(needed)


def services(http: HttpRequest) -> Services:
    """The services of the server that a call came to."""
    found: Services = http.app.state.services
    return found
