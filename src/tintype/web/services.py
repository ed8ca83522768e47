"""What the routes work with: the store, the files and the settings, put together once per server."""

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
from tintype.settings import Safety, Settings
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.assets import Assets
from tintype.store.accounts.delegation import OwnKeys
from tintype.store.accounts.keys import Key
from tintype.store.billing.accounting import Accounting
from tintype.store.billing.prices import tariff
from tintype.store.billing.statement import Statements
from tintype.store.billing.usage import Usage
from tintype.store.db.audit import Audit
from tintype.store.db.database import Database
from tintype.store.ops.metrics import read_figures
from tintype.store.ops.preload import Warmups
from tintype.store.ops.servers import Servers
from tintype.store.ops.time_series import Samples
from tintype.store.ops.workers import WorkerRow, Workers
from tintype.store.queue.control import Controls
from tintype.store.queue.eta import Outlooks
from tintype.store.queue.history import History
from tintype.store.queue.limits import Ceilings
from tintype.store.queue.previews import Previews
from tintype.store.queue.progress import Looks
from tintype.store.queue.requests import Requests
from tintype.store.webhooks.outbox import Outbox
from tintype.store.webhooks.subscriptions import Webhooks
from tintype.telemetry.exposition import Metrics
from tintype.telemetry.traces import Tracing, open_tracing
from tintype.web.body import Bodies
from tintype.web.readiness import TRIAL, Readiness
from tintype.web.shutdown import Shutdown
from tintype.web.strangers import Strangers
from tintype.web.threads import Threads
from tintype.web.waits import Waits
from tintype.web.watcher import Watcher
from tintype.webhooks import outbox

#: Seconds that a signed address of a picture works: enough to follow it.
SIGNED_FOR = 300.0
#: Seconds for which a call waits for a storage that is away: it holds a thread meanwhile, of which there are few.
CALLERS_PATIENCE = 5.0


@dataclass(frozen=True)
class Services:
    """One of each, for the life of a server."""

    settings: Settings
    registry: Registry
    db: Database
    requests: Requests
    accounts: Accounts
    audit: Audit
    own_keys: OwnKeys
    statements: Statements
    usage: Usage
    accounting: Accounting
    #: What the database knows this server as; empty where it isn't told of it.
    name: str
    servers: Servers
    workers: Workers
    controls: Controls
    samples: Samples
    history: History
    assets: Assets
    outlooks: Outlooks
    previews: Previews
    warmups: Warmups
    webhooks: Webhooks
    outbox: Outbox
    inputs: Storage
    outputs: Storage
    uploads: Storage
    waits: Waits
    watcher: Watcher
    strangers: Strangers
    bodies: Bodies
    threads: Threads
    metrics: Metrics
    tracing: Tracing
    #: Phrases that prompts are refused for.
    blocked: BlockedPhrases
    #: Set when a test key's request has been queued here, for the stand-in.
    test_accepted: threading.Event
    shutdown: Shutdown
    readiness: Readiness

    @classmethod
    def open(cls, settings: Settings, registry: Registry, shutdown: Shutdown, name: str = "") -> Services:
        """Connect to what the settings name; the database must have been migrated."""
        db = Database(settings.database, patience=settings.database_patience, process="web")
        inputs = open_storage(settings, settings.inputs_folder, settings.input_life, CALLERS_PATIENCE)
        ceilings, previews, controls, samples = _ceilings(settings), Previews(db), Controls(db), Samples(db)
        # Its own, with little patience: who asks whether all is well shall not wait until it is.
        looked_at = open_storage(settings, settings.outputs_folder, settings.picture_life, TRIAL)
        return cls(
            settings=settings,
            registry=registry,
            db=db,
            requests=Requests(
                db,
                lease=settings.lease,
                retention=settings.retention,
                discard=inputs.discard,
                ceilings=ceilings,
                input_quota=settings.input_quota,
            ),
            accounts=Accounts(db),
            audit=Audit(db, settings.audit_life),
            own_keys=OwnKeys(db, most=settings.account_keys, daily=settings.account_keys_daily, ceilings=ceilings),
            statements=Statements(db),
            usage=Usage(db),
            accounting=Accounting(db, settings.history_life),
            name=name,
            servers=Servers(db),
            workers=Workers(db),
            controls=controls,
            samples=samples,
            history=History(db, settings.history_life),
            assets=Assets(db, life=settings.asset_life, quota=settings.asset_quota),
            outlooks=Outlooks(db),
            previews=previews,
            warmups=Warmups(db),
            webhooks=Webhooks(db, overlap=settings.webhook_overlap),
            outbox=outbox(db, settings),
            inputs=inputs,
            outputs=open_storage(settings, settings.outputs_folder, settings.picture_life, CALLERS_PATIENCE),
            uploads=open_storage(settings, settings.assets_folder, settings.asset_life, CALLERS_PATIENCE),
            waits=Waits(settings.account_waits, settings.waits),
            watcher=Watcher(Looks(db), previews, settings.events_poll, shutdown),
            strangers=Strangers(),
            threads=Threads(),
            bodies=Bodies(per_account=settings.account_bodies, together=settings.bodies),
            metrics=Metrics(
                partial(read_figures, db, registry.catalogue), [db.times], {"database": db.kind}, settings.data
            ),
            tracing=open_tracing(settings.traces, "web", name),
            blocked=BlockedPhrases.read(settings.blocked_prompts),
            test_accepted=threading.Event(),
            shutdown=shutdown,
            readiness=Readiness(db, controls, samples, looked_at, shutdown),
        )

    def price(self, spec: ModelSpec) -> Tariff:
        """What a model costs: by the operator's own price, or the catalogue's; nothing without billing."""
        return tariff(spec, self.registry.prices.get(spec.slug), billing=self.settings.billing)

    def safety(self, key: Key) -> Safety:
        """How strict the safety check is with a key: by its own setting, stricter or laxer, or the server's."""
        return key.safety or self.settings.safety

    def find_file(self, name: str) -> tuple[Storage, int]:
        """Where a finished or uploaded picture of that unguessable name is, and its bytes; raises NotFound."""
        try:
            return self.outputs, self.outputs.size(name)
        except NotFound:
            return self.uploads, self.uploads.size(name)

    def file_size(self, name: str) -> tuple[int, int]:
        """Width and height in pixels of such a picture; raises NotFound, and BadPicture for what is none any more.

        It is read only where they were never noted: it came from an earlier version, or outlived its request's record.
        """
        size = self.assets.size_of(name)
        place, _ = self.find_file(name)
        return check(place.get(name), self.settings.max_picture_pixels) if size is None else size

    def file_address(self, name: str) -> str | None:
        """Where the storage gives that picture out itself, if the operator wants that; raises NotFound."""
        if not self.settings.storage_redirect:
            return None
        try:
            return self.outputs.signed_url(name, SIGNED_FOR)
        except NotFound:
            return self.uploads.signed_url(name, SIGNED_FOR)

    def beat(self) -> None:
        """Say that this server lives."""
        self.servers.beat(self.name, self.registry.identities)

    def leave(self) -> None:
        """Say that it stops, if it can be said."""
        with suppress(StoreUnavailable):  # it counts as gone soon
            self.servers.leave(self.name)

    def has_worker(self) -> bool:
        """Whether a worker that takes requests has given a sign of life lately."""
        return bool(self.taking())

    def taking(self) -> list[WorkerRow]:
        """The workers that take requests, and have given a sign of life lately."""
        return [worker for worker in self._alive() if worker.takes]

    def _alive(self) -> list[WorkerRow]:
        return self.workers.alive(max(5.0, 10 * self.settings.heartbeat))

    def paused(self) -> list[WorkerRow]:
        """The workers that live, and would take requests, but for their storage of pictures, which can't be used."""
        return [worker for worker in self._alive() if worker.paused and worker.drain_at is None]

    def sweep(self) -> None:
        """Forget what has outlived its time: records, and files but for those that requests still need."""
        self.outbox.expire()
        self.previews.expire()
        self.warmups.expire()
        self.history.expire()
        self.assets.expire()
        self.own_keys.expire()
        self.audit.expire()
        self.requests.expire()
        # Last, what a storage that is away holds up until a later sweep.
        needed = self.requests.needed_inputs()
        for files in (self.outputs, self.inputs, self.uploads):
            files.expire(needed)


def _ceilings(settings: Settings) -> Ceilings:
    of_keys = settings.key_rpm, settings.key_concurrency, settings.key_max_queued
    return Ceilings(*of_keys, settings.queue, settings.queue_share)


def services(http: HttpRequest) -> Services:
    """The services of the server that a call came to."""
    found: Services = http.app.state.services
    return found
